"""The picture of a turn, and the sentences of the household that it is measured with."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from bench.chart import Lane, choose, draw, lane
from bench.options import parse
from bench.record import TurnRecord
from bench.summary import summarise
from bench.turn import main, run
from handlers.agent.skills import Skills
from handlers.agent.skills.standard import standard_skills
from handlers.audio import write_wav
from tests.satellite.peer import Peer
from tests.support.bench_peers import asr, pipeline, sounds, tts
from tests.support.skills import ask

BENCH = Path(__file__).parents[2] / "bench"
SVG = "{http://www.w3.org/2000/svg}"


def _record(target: str, first_audio: float, clip: str = "a.wav", **changed: object) -> TurnRecord:
    record = TurnRecord(target, clip, 1)
    record.ms = {"transcript": first_audio - 90, "first_audio": first_audio}
    for name, value in changed.items():
        setattr(record, name, value)
    return record


def _ours() -> TurnRecord:
    return _record(
        "server",
        320.0,
        ms={"voice_stopped": 220.0, "transcript": 235.0, "first_text": 240.0, "first_audio": 320.0},
        server_ms={"endpoint": 220.0},
        timeline={"guesses": {"kept": 1}},
    )


def _bars(svg: str) -> list[list[tuple[str, float, float]]]:
    """For each lane its bars as (kind, x, width)."""
    lanes: dict[str, list[tuple[str, float, float]]] = {}
    for bar in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        if bar.get("x") and bar.find(f"{SVG}title") is not None:
            lanes.setdefault(bar.attrib["y"], []).append(
                (bar.attrib["class"], float(bar.attrib["x"]), float(bar.attrib["width"]))
            )
    return list(lanes.values())


def test_the_phases_of_a_turn_are_its_marks() -> None:
    ours, theirs = lane(_ours(), "Ours"), lane(_record("chain", 1380.0), "Theirs")
    assert [(phase.kind, phase.begin, phase.end) for phase in ours.phases[1:]] == [
        ("wait", 0.0, 220.0),
        ("transcript", 220.0, 235.0),
        ("text", 235.0, 240.0),
        ("audio", 240.0, 320.0),
    ]
    assert ours.phases[1].name == "wait, transcribing meanwhile"
    assert [(phase.kind, phase.begin, phase.end) for phase in theirs.phases[1:]] == [
        ("both", 0.0, 1290.0),
        ("audio", 1290.0, 1380.0),
    ]


def test_the_bars_of_all_lanes_have_one_scale() -> None:
    ours, theirs = lane(_ours(), "Ours <1>"), lane(_record("chain", 1380.0), "Theirs & co")
    svg = draw([ours, theirs], "what's <it>?")
    above, below = _bars(svg)
    assert [kind for kind, _, _ in above] == ["speech", "wait", "transcript", "text", "audio"]
    assert [kind for kind, _, _ in below] == ["speech", "both", "audio"]
    pixels = below[1][2] / 1290
    for bars, shown in ((above, ours), (below, theirs)):
        for (_, x, width), phase in zip(bars, shown.phases, strict=True):
            assert width == pytest.approx((phase.end - phase.begin) * pixels, abs=0.1)
            assert x == pytest.approx(bars[0][1] + (phase.begin - shown.phases[0].begin) * pixels, abs=0.1)
    texts = [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    for text in ("Ours <1>", "Theirs & co", "320 ms", "1380 ms", "first audio 80 ms", "transcription 15 ms"):
        assert text in texts


@pytest.mark.parametrize("total", [0.0, 3.0, 99.0, 25_000.0])
def test_short_and_long_waits_fit_into_the_picture(total: float) -> None:
    root = ElementTree.fromstring(draw([Lane("Ours", lane(_record("server", total), "Ours").phases, total)], "q"))
    width = float(root.attrib["width"])
    assert all(0 <= float(text.attrib["x"]) < width for text in root.iter(f"{SVG}text"))
    assert 1 <= len(list(root.iter(f"{SVG}line"))) <= 10


def test_a_mark_before_the_one_that_precedes_it_makes_no_negative_bar() -> None:
    odd = _ours()
    odd.ms["transcript"] = 100.0
    assert all(phase.begin <= phase.end for phase in lane(odd, "Ours").phases)


def test_the_turn_near_the_medians_is_shown_and_of_one_question() -> None:
    ours = [_record("server", wait, clip) for clip, wait in (("a", 300.0), ("b", 400.0), ("c", 900.0))]
    theirs = [_record("chain", wait, clip) for clip, wait in (("a", 1300.0), ("b", 1200.0), ("c", 1250.0))]
    theirs[1].fail("timeout", "late")
    summaries = {"server": summarise(ours), "chain": summarise(theirs)}
    assert [(record.target, record.clip) for record in choose([*ours, *theirs], summaries)] == [
        ("server", "a"),
        ("chain", "a"),
    ]
    assert [record.clip for record in choose(ours, {"server": summarise(ours)})] == ["b"]
    assert choose([theirs[1]], {"chain": summarise([theirs[1]])}) == []


async def test_a_run_draws_its_chart(tmp_path: Path) -> None:
    recording, file = tmp_path / "what time is it.wav", tmp_path / "turn.svg"
    write_wav(recording, sounds(0.2, 0.3, 0.3))
    ours = pipeline(0.6, 0.6, 0.6, marks={"endpoint": 550.0})
    async with Peer(ours) as server, Peer(asr("what time is it", after=0.9)) as ears, Peer(tts) as mouth:
        options = [
            *(str(recording), "--labeller", "energy", "--warmup", "0", "--server", server.uri, "--http", ""),
            *("--asr", ears.uri, "--tts", mouth.uri, "--chart", str(file)),
        ]
        assert await run(parse(options)) == 0
    above, below = _bars(file.read_text(encoding="utf-8"))
    assert sum(width for _, _, width in above) < sum(width for _, _, width in below)


def test_a_chart_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--chart", str(tmp_path / "nowhere" / "turn.svg")])
    assert ended.value.code == 2
    assert "turn.svg cannot be written" in capsys.readouterr().err


@pytest.fixture(scope="module")
def household() -> Skills:
    return Skills(standard_skills(), custom=[BENCH / "sentences.yaml"])


async def _skill(household: Skills, text: str) -> str | None:
    match, reply = household.match(text, "en"), await ask(household, text)
    return None if match is None or reply is None or reply.text != "Done." else match.intent


@pytest.mark.parametrize(
    ("text", "skill"),
    [
        ("Turn on the standing light.", "TurnOn"),
        ("Turn off all of the lights in the office.", "TurnOff"),
        ("Switch the kitchen lights off!", "TurnOff"),
        ("Set bed light brightness to 50%.", "SetBrightness"),
        ("Set bed light brightness to fifty percent", "SetBrightness"),
        ("Set kitchen lights to green.", "SetColor"),
        ("Set a timer for 3 hours and 10 minutes.", "SetTimer"),
        ("Set a ten minute timer.", "SetTimer"),
        ("Cancel all timers.", "CancelTimer"),
        ("Timer status", "TimerStatus"),
        ("Is the garage door open?", "IsIt"),
        ("Lock the front door.", "Lock"),
        ("Add milk and bread to my shopping list.", "AddToList"),
        ("What's the temperature of the Ecobee?", "Measure"),
        ("What is the outdoor humidity?", "Measure"),
        ("What's the weather like in New York?", "Weather"),
        ("Run party time.", "Scene"),
        ("Skip on TV.", "Media"),
        ("Pause.", "Media"),
        ("Never mind.", "Nevermind"),
        ("What's the date?", "GetDate"),
    ],
)
async def test_the_household_knows_its_commands(household: Skills, text: str, skill: str) -> None:
    assert await _skill(household, text) == skill


@pytest.mark.parametrize(
    "text", ["Turn on the", "Set a timer for", "Play some jazz by Miles Davis", "What's the capital of France?", "Mind"]
)
async def test_the_household_knows_nothing_else(household: Skills, text: str) -> None:
    assert await _skill(household, text) is None


def test_every_intent_of_the_household_has_the_reply_of_the_chain() -> None:
    content = yaml.safe_load((BENCH / "sentences.yaml").read_text(encoding="utf-8"))
    assert content["responses"] == dict.fromkeys(content["intents"], "Done.")
    settings = yaml.safe_load((BENCH / "house.yaml").read_text(encoding="utf-8"))
    assert settings["agent"]["custom_sentences"] == ["bench/sentences.yaml"]
    used = set(re.findall(r"[{](\w+)[}]", (BENCH / "sentences.yaml").read_text(encoding="utf-8")))
    assert used == set(content["lists"])
