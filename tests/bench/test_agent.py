"""bench/agent.py: its own set at the real agent, its judging, and what it says of bad input."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.agent import agent_settings, main, parse, run
from bench.agent_run import Result, judge
from bench.agent_set import OWN, Case, Entry, load_sets
from handlers.errors import SettingsError
from tests.support.ollama import Call, FakeOllama, Model, Status, Step, stopped_ollama
from tests.support.openai_endpoint import FakeEndpoint

Write = Callable[[str], Path]

ABLE = Model("able:latest", capabilities=("completion", "tools"), parameters=500_000_000)
"""Uses tools, and is too small to be asked to keep the memory in order."""

LAMPS = """
tools:
  set_light:
    description: Switch a light.
    parameters: {type: object, properties: {room: {type: string, pattern: "^[a-z ]+$"}}, required: [room]}
    argv: [echo, "{room}"]
  delete_record:
    description: Delete a record.
    parameters: {type: object, properties: {name: {type: string, pattern: "^[a-z.]+$"}}, required: [name]}
    argv: [echo, "{name}"]
    destructive: true
    confirm: "Delete {name}?"
"""


@pytest.fixture
def set_of(tmp_path: Path) -> Write:
    """Writes a set and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "set.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def options(data_dir: Path, file: Path, *more: str) -> list[str]:
    return ["--set", str(file), "--data-dir", str(data_dir), "--timeout", "20", *more]


async def measured(
    capsys: pytest.CaptureFixture[str], data_dir: Path, file: Path, *more: str
) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a run."""
    code = await run(parse(options(data_dir, file, "--json", *more)))
    return code, json.loads(capsys.readouterr().out)


def wrong(document: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [(entry["say"], entry["wrong"] or entry["error"]) for entry in document["requests"] if not entry["right"]]


# The set in this folder


def test_the_set_has_enough_of_everything() -> None:
    cases = [case.entry for case in load_sets([OWN]).cases]
    fast = Counter(case.language for case in cases if case.wanted_route == "fast")
    assert len(cases) >= 250
    assert fast["en"] >= 120
    assert all(fast[language] >= 20 for language in ("de", "sv", "fr", "es"))
    assert sum(case.wanted_route == "think" and not case.needs_tools for case in cases) >= 40
    assert sum(case.needs_tools for case in cases) >= 30
    assert sum(case.caller.role == "guest" for case in cases) >= 5
    assert sum(bool(case.after) for case in cases) >= 50
    assert len({case.model_dump_json() for case in cases}) == len(cases)
    assert OWN.stat().st_size < 100_000


async def test_every_request_is_routed_and_every_skill_understands(
    capsys: pytest.CaptureFixture[str], data_dir: Path
) -> None:
    code, document = await measured(capsys, data_dir, OWN, "--llm", "none")
    assert not wrong(document), "\n".join(map(str, wrong(document)))
    assert document["summary"]["needless_calls"] == 0
    assert code == 0


# A language model


async def test_tools_answers_and_confirmations_are_judged(
    capsys: pytest.CaptureFixture[str], data_dir: Path, set_of: Write
) -> None:
    file = set_of(
        LAMPS
        + """
requests:
- {say: "It is dark here.", tool: {name: set_light, arguments: {room: kitchen}}, answer: ["light"]}
- {say: "It is dark here.", tool: {name: set_light, arguments: {room: kitchen}}}
- {say: "Six minutes for the eggs.", tool: {name: set_timer, arguments: {seconds: 360}}}
- {say: "Yes.", after: ["Delete api.example.com."], intent: "Yes", tool: {name: delete_record}, answer: ["gone"]}
- {say: "No.", after: ["Delete api.example.com."], intent: "No", tool: none, tools_needed: true}
- {say: "Is it raining?", tool: none}
- {say: "What is the capital of France?", answer: "^Paris"}
"""
    )
    lamp, record = Call("set_light", {"room": "kitchen"}), Call("delete_record", {"name": "api.example.com"})
    async with FakeOllama([ABLE]) as ollama:
        answers: list[list[Step]] = [["Hello."], ["Hello."]]  # whether it answers at all, and the warm-up
        answers += [[lamp], ["The light is on."]]
        answers += [[Call("set_light", {"room": "bedroom"})], ["Done."]]
        answers += [[Call("set_timer", {"seconds": "360"})], ["Done."]]
        answers += [[record], ["It's gone."]]
        answers += [[record]]
        answers += [[lamp], ["No."]]
        answers += [["It is Paris."]]
        for steps in answers:
            ollama.will_answer(*steps)
        code, document = await measured(capsys, data_dir, file, "--llm", "ollama:able", "--ollama", ollama.url)
    assert wrong(document) == [
        ("It is dark here.", {"tool": "set_light {'room': 'bedroom'} ran, not set_light {'room': 'kitchen'}"}),
        ("Is it raining?", {"tool": "set_light ran"}),
        ("What is the capital of France?", {"answer": "'It is Paris.'"}),
    ]
    assert document["model"] == "ollama/able"
    assert document["summary"]["right"]["tools"] == {
        **{"requests": 5, "not_able": 0, "right": 4},
        **{"route": {"right": 5, "judged": 5}, "intent": {"right": 2, "judged": 2}},
        **{"tool": {"right": 4, "judged": 5}, "answer": {"right": 2, "judged": 2}},
    }
    assert document["requests"][3]["calls"] == [{"name": "delete_record", "arguments": {"name": "api.example.com"}}]
    assert document["requests"][0]["ms"].keys() == {"route", "first_word", "whole"}
    assert code == 0  # what only the model got wrong is no failure


async def test_a_model_without_tools_is_not_judged_by_them(
    capsys: pytest.CaptureFixture[str], data_dir: Path, set_of: Write
) -> None:
    file = set_of(
        LAMPS
        + """
requests:
- {say: "It is dark here.", tool: {name: set_light}}
- {say: "Yes.", after: ["Delete api.example.com."], intent: "Yes", tool: {name: delete_record}}
- {say: "Is it raining?", answer: ["certainly"]}
"""
    )
    async with FakeOllama([Model("small:latest", parameters=100_000_000)]) as ollama:
        code, document = await measured(capsys, data_dir, file, "--llm", "ollama", "--ollama", ollama.url)
        assert len(ollama.chats) == 4  # two to begin with, and the requests that need no one's yes
    assert code == 0
    assert wrong(document) == []
    assert document["summary"]["right"]["tools"]["not_able"] == 2
    assert document["summary"]["right"]["think"]["answer"] == {"right": 1, "judged": 1}


async def test_needless_calls_and_skills_that_know_too_much_are_counted(
    capsys: pytest.CaptureFixture[str], data_dir: Path, set_of: Write
) -> None:
    file = set_of(
        """
- {say: "What is the time of my life?", intent: GetTime}
- {say: "What time is it?"}
- {say: "What time is it?", intent: GetDate}
- {say: "What time is it in Oslo?", intent: GetTimeThere, slots: {place: Bergen}}
- {say: "What time is it?", intent: [GetDate, GetTime], answer: "\\\\d:\\\\d\\\\d"}
"""
    )
    async with FakeEndpoint(models=["other", "chosen"]) as endpoint:
        code, document = await measured(capsys, data_dir, file, "--llm", f"{endpoint.url}#chosen")
        assert {body["model"] for body in endpoint.asked} == {"chosen"}
    assert code == 1
    assert document["summary"]["needless_calls"] == 1
    assert [list(problem) for _, problem in wrong(document) if isinstance(problem, dict)] == [
        ["route", "intent"],
        ["route"],
        ["intent"],
        ["intent"],
    ]
    assert document["summary"]["route_ms"]["en"]["n"] == 5


async def test_what_was_told_is_remembered_and_every_round_begins_anew(
    capsys: pytest.CaptureFixture[str], data_dir: Path, set_of: Write
) -> None:
    file = set_of(
        """
- {say: "Which colour has my bike?", told: ["My bike is red."], caller: {user: anna}}
- {say: "Which colour has my bike?", caller: {user: ben}}
- {say: "What do you know about me?", caller: {user: anna}, intent: KnowMe, answer: ["don't know anything"]}
- {say: "Remember for everyone that the bike shop is shut.", caller: {user: anna}, intent: RememberShared}
- {say: "What timers do I have?", intent: TimerList, answer: ["No timer"]}
- {say: "Set a timer for 5 minutes.", intent: TimerSet}
"""
    )
    async with FakeOllama([ABLE]) as ollama:
        code, document = await measured(
            capsys, data_dir, file, "--llm", "ollama", "--ollama", ollama.url, "--repeat", "2"
        )
        asked = [body["messages"][-1]["content"] for body in ollama.chats if "bike" in body["messages"][-1]["content"]]
    assert wrong(document) == []
    assert code == 0
    assert ["My bike is red." in question for question in asked] == [True, False] * 2
    assert not any("shop" in question for question in asked)


async def test_an_answer_that_never_ends_is_a_failed_turn(
    capsys: pytest.CaptureFixture[str], data_dir: Path, set_of: Write
) -> None:
    never = asyncio.Event()
    async with FakeOllama([ABLE]) as ollama:
        ollama.will_answer("Hello.")
        ollama.will_answer("Hello.")
        ollama.will_answer(*["word " * 10] * 3, never)
        file = set_of('- {say: "Tell me all.", answer: ["word"]}')
        code, document = await measured(
            capsys, data_dir, file, "--llm", "ollama", "--ollama", ollama.url, "--timeout", "0.5"
        )
    assert code == 1
    assert wrong(document) == [("Tell me all.", "no whole answer within 0.5 s")]


async def test_a_model_that_goes_is_a_failed_turn(
    capsys: pytest.CaptureFixture[str], data_dir: Path, set_of: Write
) -> None:
    async with FakeOllama([ABLE]) as ollama:
        answers: list[list[Step]] = [["Hello."], ["Hello."], [Status(500, "no memory")], ["Yes."]]
        for steps in answers:
            ollama.will_answer(*steps)
        file = set_of('- {say: "Is it raining?"}\n- {say: "Is it cold?", answer: ["yes"]}')
        code, document = await measured(capsys, data_dir, file, "--llm", "ollama", "--ollama", ollama.url)
    assert code == 1
    assert wrong(document) == [("Is it raining?", "the language model did not answer")]


def test_only_one_language_is_asked(data_dir: Path, set_of: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = set_of(
        '- {say: "What time is it?", intent: GetDate}\n- {language: de, say: "Wie spät ist es?", intent: GetTime}'
    )
    assert main(options(data_dir, file, "--llm", "none", "--language", "de-AT")) == 0
    shown = capsys.readouterr().out
    assert "1 requests x 1 in 1 languages, language model: none" in shown
    assert "p95 under 25 ms" in shown
    assert main(options(data_dir, file, "--llm", "none", "--language", "it")) == 2
    assert "in the language 'it'" in capsys.readouterr().err


# What cannot be used


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {say: yes}", "line 2: 'say' must be a text, but YAML reads True; put texts in quotes"),
        ("- {sya: x}", "line 2: 'say' is missing"),
        ("- {say: x, intend: y}", "line 2: there is no key 'intend'; there are say, language, after"),
        ("- {say: x, caller: {rome: y}}", "line 2: there is no key 'caller.rome'; there are user, room, role"),
        ("- {say: x, caller: {role: boss}}", "line 2: 'caller.role': Input should be 'guest', 'user' or 'admin'"),
        ("- {say: x, after: [a, 7:30]}", "line 2: 'after.1' must be a text, but YAML reads 450"),
        ("- {say: x}\n- [x]", "line 3: a request is a mapping that begins with 'say'"),
        ("- {say: x, route: slow}", "line 2: 'route': Input should be"),
        ("- {say: x, intent: 3}", "line 2: 'intent' must be a text"),
        ("- {say: x, intent: A, route: think}", "line 2: an 'intent' is what a skill understands"),
        ("- {say: x, slots: {a: b}}", "line 2: 'slots' belong to an 'intent'"),
        ('- {say: x, answer: "("}', "line 2: 'answer': is no regular expression"),
        ("- {say: x, tool: some}", "line 2: 'tool' must be a mapping of name, arguments"),
        ("- {say: x, tool: {arguments: {}}}", "line 2: 'tool.name' is missing"),
        ("- {say: x", "line 3: expected ',' or '}'"),
        ("requests: 3", "line 2: 'requests' cannot be used here; it needs a list of requests"),
        ("hello: [1]", "line 2: 'hello' cannot be used here"),
        ("just words", "line 2: it needs a list of requests"),
        ("[]", "There is no request in"),
        ("tools: {a: {description: x}}\nrequests: [{say: x}]", "The tools of the set: tool 'a': it has no 'argv'"),
        (
            "- {say: x, told: [My password is bluebird 42.]}",
            "set.yaml:2: 'My password is bluebird 42.' cannot be 'told'",
        ),
        ("- {say: x, told: [I like tea.], caller: {role: guest}}", "A guest's words are not remembered"),
        ("- {say: x, when: 2026-13-45}", "cannot be read as YAML"),
    ],
)
def test_a_bad_set_is_told_with_its_line(
    data_dir: Path, set_of: Write, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert main(options(data_dir, set_of(f"# A comment\n{text}\n"), "--llm", "none")) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_a_set_that_is_not_there_is_told(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options(data_dir, tmp_path / "none.yaml", "--llm", "none")) == 2
    assert "none.yaml cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["gpt", "ollama:", "", "builtin:x", "ftp://a"])
def test_an_unknown_kind_of_model_is_told(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--llm", model])
    assert ended.value.code == 2
    assert f"'{model}' is not builtin, ollama" in capsys.readouterr().err


async def test_a_model_that_is_not_there_is_told(data_dir: Path, set_of: Write) -> None:
    file = set_of('- {say: "x"}')
    async with FakeOllama([ABLE]) as ollama:
        with pytest.raises(SettingsError, match="has no model 'big'"):
            await run(parse(options(data_dir, file, "--llm", "ollama:big", "--ollama", ollama.url)))
    async with FakeEndpoint(models=["small"]) as endpoint:
        with pytest.raises(SettingsError, match=r"The language model cannot be used: .*big"):
            await run(parse(options(data_dir, file, "--llm", f"{endpoint.url}#big")))
    async with stopped_ollama() as nobody:
        with pytest.raises(SettingsError, match="No Ollama answers at"):
            await run(parse(options(data_dir, file, "--llm", "ollama", "--ollama", nobody.url)))


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(SettingsError, match="--llm http:// cannot be used"):
        agent_settings(parse(["--llm", "http://"]))


# The judging


@pytest.mark.parametrize(
    ("entry", "came", "found"),
    [
        ({"answer": "^it's \\d"}, {"answer": "It's 5"}, ""),
        ({"answer": "^\\d"}, {"answer": "It's 5"}, '"It\'s 5"'),
        ({"answer": ["six", "Five"]}, {"answer": "it is five."}, ""),
        ({"answer": ["six"]}, {"answer": ""}, "''"),
    ],
)
def test_an_answer_is_a_pattern_or_one_of_some_phrases(
    entry: dict[str, object], came: dict[str, str], found: str
) -> None:
    assert judged(entry, **came)["answer"] == found


@pytest.mark.parametrize(
    ("wanted", "arguments", "right"),
    [
        ({"a": "B"}, {"a": "the b", "c": 1}, True),
        ({"a": 5}, {"a": 5.0}, True),
        ({"a": 5}, {"a": "5"}, True),
        ({"a": 5}, {"a": 6}, False),
        ({"a": True}, {"a": 1}, True),
        ({"a": True}, {"a": "True"}, False),
        ({"a": 5}, {}, False),
        ({}, {"x": 1}, True),
    ],
)
def test_the_wanted_arguments_are_a_part_of_those_that_came(
    wanted: dict[str, object], arguments: dict[str, object], right: bool
) -> None:
    found = judged({"tool": {"name": "t", "arguments": wanted}}, calls=[("s", {}), ("t", arguments)])["tool"]
    assert (found == "") is right


@pytest.mark.parametrize(
    ("wanted", "decision", "right"),
    [
        ("think", "think", True),
        ("think", "hybrid", True),
        ("hybrid", "think", False),
        ("hybrid", "hybrid", True),
        ("think", "fast", False),
    ],
)
def test_a_model_that_is_slow_is_no_mistake_of_the_route(wanted: str, decision: str, right: bool) -> None:
    assert (judged({"route": wanted}, decision=decision)["route"] == "") is right


def judged(entry: Mapping[str, object], **came: Any) -> dict[str, str]:
    case = Case(Entry.model_validate({"say": "x", **entry}), "set.yaml", 1)
    result = Result(case, 1, able=True, **{"decision": "think", **came})
    judge(result)
    return result.judged
