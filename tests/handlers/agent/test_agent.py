"""The agent as a whole: which model answers, what is remembered, what is said when nothing works."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import HttpUrl

from handlers.agent.agent import Agent
from handlers.agent.conversations import Conversations, Turn
from handlers.agent.llm.builtin import BuiltinModel
from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.llm.thinker import Thinker
from handlers.agent.safety.audit import Audit
from handlers.agent.skills import Skills
from handlers.agent.skills.stage import Skill
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import AgentSettings, AnswerPart, Filler, LanguageModel, Request
from handlers.agent.tools.stage import ToolSource
from handlers.agent.tools.toolbox import Toolbox
from handlers.session import ANYBODY, Session
from handlers.timeline import Mark, Timeline
from tests.support.ollama import SOON, Cut, FakeOllama, Model, Status, Step, Thought, stopped_ollama

KITCHEN = Session(language="en", conversation="kitchen")
NOW = datetime(2026, 6, 3, 15, 5, tzinfo=UTC)
NO_MODEL = "Sorry, I can't think right now. My language model doesn't answer."
BROKEN_OFF = "Sorry, I lost my train of thought."

MakeAgent = Callable[..., Agent]


@pytest.fixture
async def agent_of(tmp_path: Path) -> AsyncIterator[MakeAgent]:
    """Makes an agent in front of an Ollama, and of the built-in model where one is given."""
    async with contextlib.AsyncExitStack() as opened:

        def make(
            fake: FakeOllama,
            builtin: BuiltinModel | None = None,
            ollama: dict[str, object] | None = None,
            now: Callable[[], datetime] = lambda: NOW,
            sources: Sequence[ToolSource] = (),
            skills: Sequence[Skill] = (),
            **settings: object,
        ) -> Agent:
            first = OllamaModel(OllamaSettings.model_validate({"url": HttpUrl(fake.url), **(ollama or {})}))
            read = AgentSettings.model_validate({"longest_answer": 16, "think": {"retry_seconds": 0.01}, **settings})
            thinker = Thinker([first, _kept(builtin)] if builtin else [first], read.think)
            opened.push_async_callback(thinker.close)
            audit = Audit(tmp_path / "audit", 30)
            opened.push_async_callback(audit.close)
            toolbox = Toolbox(sources, read.tools, audit)
            opened.push_async_callback(toolbox.close)
            return Agent(Skills([*standard_skills(), *skills]), thinker, toolbox, read, audit, now=now)

        yield make


def _kept(model: BuiltinModel) -> LanguageModel:
    """The model that all tests share, for an agent that will close it."""

    class Kept(BuiltinModel):
        def __init__(self) -> None:
            self.__dict__.update(model.__dict__)

        async def close(self) -> None:
            pass

    return Kept()


async def ask(
    agent: Agent,
    text: str,
    conversation: str = "kitchen",
    language: str = "en",
    session: Session = ANYBODY,
    events: list[AnswerPart] | None = None,
) -> tuple[str, Timeline]:
    """One turn; what was not words goes to `events`."""
    timeline = Timeline("t")
    answer = ""
    async with asyncio.timeout(SOON):
        response = agent.respond(
            Request(text, replace(session, language=language, conversation=conversation)), timeline
        )
        async for part in response.parts():
            if isinstance(part, str):
                answer += part
            elif events is not None:
                events.append(part)
    response.remember(answer)
    return answer, timeline


# Who answers


async def test_a_skill_answers_without_any_model(agent_of: MakeAgent) -> None:
    async with stopped_ollama() as nobody:
        text, timeline = await ask(agent_of(nobody), "What time is it?")
    assert text == "It's 3:05 PM."
    assert timeline.route == "skill/GetTime"
    assert {Mark.ROUTE, Mark.FIRST_TOKEN} <= timeline.marks.keys()


async def test_ollama_answers_first(fake_ollama: FakeOllama, agent_of: MakeAgent, builtin: BuiltinModel) -> None:
    fake_ollama.will_answer("Because", " of the air.")
    text, timeline = await ask(agent_of(fake_ollama, builtin), "Why is the sky blue?")
    assert text == "Because of the air."
    assert timeline.route == "ollama/llama3.2:latest"
    assert timeline.marks[Mark.ROUTE] <= timeline.marks[Mark.FIRST_TOKEN]


async def test_words_are_given_out_while_the_answer_is_written(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer("One", go_on, " two.")
    agent = agent_of(fake_ollama)
    async with contextlib.aclosing(agent.respond(Request("Count"), Timeline("t")).parts()) as answer:
        assert await anext(answer) == "One"
        assert fake_ollama.finished == 0
        go_on.set()
        assert [piece async for piece in answer] == [" two."]


@pytest.mark.parametrize(
    "steps",
    [
        [Status(500, "no")],
        [Status(404, "no such model")],
        [],
        [Thought("only thoughts")],
        ["<think>only thoughts"],
        ["\n\n"],
        [Cut()],
    ],
    ids=repr,
)
async def test_the_builtin_model_answers_when_ollama_fails(
    fake_ollama: FakeOllama, agent_of: MakeAgent, builtin: BuiltinModel, steps: list[Step]
) -> None:
    for _ in range(2):  # what fails at once is tried once more
        fake_ollama.will_answer(*steps)
    text, timeline = await ask(agent_of(fake_ollama, builtin), "Name a colour.")
    assert text.strip()
    assert text != NO_MODEL
    assert timeline.route == builtin.name


async def test_the_builtin_model_answers_when_nobody_listens(agent_of: MakeAgent, builtin: BuiltinModel) -> None:
    async with stopped_ollama() as nobody:
        _, timeline = await ask(agent_of(nobody, builtin), "Name a colour.")
    assert timeline.route == builtin.name


async def test_the_builtin_model_answers_when_the_first_word_is_late(
    fake_ollama: FakeOllama, agent_of: MakeAgent, builtin: BuiltinModel
) -> None:
    fake_ollama.will_answer(asyncio.Event())
    agent = agent_of(fake_ollama, builtin, ollama={"first_token_seconds": 0.2})
    _, timeline = await ask(agent, "Name a colour.")
    assert timeline.route == builtin.name
    await fake_ollama.until(abandoned=1)


async def test_ollama_answers_again_when_it_is_started(agent_of: MakeAgent, builtin: BuiltinModel) -> None:
    async with stopped_ollama() as ollama:
        agent = agent_of(ollama, builtin)
        assert (await ask(agent, "Name a colour."))[1].route == builtin.name
        async with ollama, asyncio.timeout(SOON):
            while (await ask(agent, "Name a colour."))[1].route != "ollama/llama3.2:latest":
                """It is looked for in the background; no turn waits for it."""


async def test_it_says_so_when_nothing_answers(agent_of: MakeAgent) -> None:
    async with stopped_ollama() as nobody:
        text, timeline = await ask(agent_of(nobody), "Name a colour.")
    assert text == NO_MODEL
    assert timeline.route == "none"


@pytest.mark.parametrize("fault", [Cut(), Status(0, "out of memory")], ids=repr)
async def test_an_answer_that_breaks_off_says_so(
    fake_ollama: FakeOllama, agent_of: MakeAgent, builtin: BuiltinModel, fault: Step
) -> None:
    """Another model would begin anew, and nobody wants to hear the first half again."""
    fake_ollama.will_answer("The colour", fault)
    text, timeline = await ask(agent_of(fake_ollama, builtin), "Name a colour.")
    assert text == f"The colour {BROKEN_OFF}"
    assert timeline.route == "ollama/llama3.2:latest"


async def test_an_answer_that_stalls_says_so(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    fake_ollama.will_answer("The colour", asyncio.Event())
    text, _ = await ask(agent_of(fake_ollama, ollama={"silence_seconds": 0.2}), "Name a colour.")
    assert text == f"The colour {BROKEN_OFF}"


# What the log says


async def test_the_log_tells_once_that_ollama_went_and_came_back(
    fake_ollama: FakeOllama, agent_of: MakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handlers.agent")
    agent = agent_of(fake_ollama)
    for _ in range(3):
        fake_ollama.will_answer(Status(500, "gone"))
    for _ in range(5):
        await ask(agent, "A secret question?")
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert "secret" not in caplog.text


# Conversations


async def test_a_conversation_is_remembered_by_its_id(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama)
    fake_ollama.will_answer("Paris.")
    await ask(agent, "What is the capital of France?", "kitchen")
    await ask(agent, "And of Italy?", "kitchen")
    await ask(agent, "Who am I?", "bedroom")
    _, second, other = fake_ollama.chats
    assert [(message["role"], message["content"]) for message in second["messages"][1:]] == [
        ("user", "What is the capital of France?"),
        ("assistant", "Paris."),
        ("user", "And of Italy?"),
    ]
    assert [message["content"] for message in other["messages"][1:]] == ["Who am I?"]


async def test_only_the_last_turns_are_sent(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama, remembered_turns=2)
    for number in range(5):
        await ask(agent, f"Question {number}")
    questions = [m["content"] for m in fake_ollama.chats[-1]["messages"] if m["role"] == "user"]
    assert questions == ["Question 2", "Question 3", "Question 4"]


async def test_nothing_is_sent_again_when_nothing_is_remembered(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama, remembered_turns=0)
    await ask(agent, "One?")
    await ask(agent, "Two?")
    assert len(fake_ollama.chats[-1]["messages"]) == 2
    assert (await ask(agent, "Repeat that."))[0] == "Certainly."


async def test_a_conversation_is_over_after_some_silence(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama, conversation_minutes=1e-9)
    await ask(agent, "One?")
    await ask(agent, "Two?")
    assert len(fake_ollama.chats[-1]["messages"]) == 2


async def test_without_an_id_nothing_is_remembered(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama)
    await ask(agent, "One?", "")
    await ask(agent, "Two?", "")
    assert len(fake_ollama.chats[-1]["messages"]) == 2
    assert len(agent.conversations) == 0


async def test_what_a_skill_said_is_part_of_the_conversation(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama)
    await ask(agent, "What time is it?")
    await ask(agent, "Is that late?")
    assert fake_ollama.chats[0]["messages"][2] == {"role": "assistant", "content": "It's 3:05 PM."}
    assert (await ask(agent, "Say that again."))[0] == "Certainly."


async def test_an_apology_is_not_remembered(agent_of: MakeAgent) -> None:
    """A small model that reads its own apology goes on apologising."""
    async with stopped_ollama() as nobody:
        agent = agent_of(nobody)
        await ask(agent, "Name a colour.")
    assert agent.conversations.turns("kitchen") == []


async def test_a_draft_that_is_dropped_stops_the_model_and_is_not_remembered(
    fake_ollama: FakeOllama, agent_of: MakeAgent
) -> None:
    fake_ollama.will_answer("One", " two", asyncio.Event(), " three.")
    agent = agent_of(fake_ollama)
    answer = agent.respond(Request("Count.", KITCHEN), Timeline("t")).parts()
    assert [await anext(answer), await anext(answer)] == ["One", " two"]
    await answer.aclose()
    await fake_ollama.until(abandoned=1)
    assert agent.conversations.turns("kitchen") == []


def test_made_up_ids_do_not_fill_the_memory() -> None:
    conversations = Conversations(turns=3, idle_seconds=600)
    for number in range(1100):
        conversations.add(Session(conversation=str(number)), Turn("q", "a"))
    assert len(conversations) == 1000
    assert conversations.turns("0") == []
    assert conversations.turns("1099") == [Turn("q", "a")]


def test_a_conversation_in_use_is_kept() -> None:
    conversations = Conversations(turns=3, idle_seconds=600)
    conversations.add(Session(conversation="used"), Turn("q", "a"))
    for number in range(999):
        conversations.add(Session(conversation=str(number)), Turn("q", "a"))
    conversations.add(Session(conversation="used"), Turn("r", "b"))
    conversations.add(Session(conversation="one more"), Turn("q", "a"))
    assert conversations.turns("used") == [Turn("q", "a"), Turn("r", "b")]
    assert conversations.turns("0") == []


def test_words_of_an_ended_conversation_are_dropped() -> None:
    conversations = Conversations(turns=3, idle_seconds=0)
    conversations.add(Session(conversation="a"), Turn("q", "a"))
    assert conversations.turns("b") == []
    assert len(conversations) == 0


# The prompt


async def test_the_model_is_told_to_write_for_the_ear(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    await ask(agent_of(fake_ollama, persona="You are a parrot."), "Hi you")
    system = fake_ollama.chats[0]["messages"][0]
    assert system["role"] == "system"
    assert system["content"].startswith("You are a parrot.")
    for words in ("read aloud", "short sentences", "no markdown", "Wednesday, 3 June 2026", "Answer in English."):
        assert words in system["content"]


@pytest.mark.parametrize(
    ("tag", "named"), [("de", "German"), ("pt-BR", "Portuguese (Brazil)"), ("en-xyzzy", "English")]
)
async def test_the_language_is_named_in_words(
    fake_ollama: FakeOllama, agent_of: MakeAgent, tag: str, named: str
) -> None:
    await ask(agent_of(fake_ollama), "Hallo du da", language=tag)
    assert f"Answer in {named}." in fake_ollama.chats[0]["messages"][0]["content"]


async def test_the_system_prompt_is_the_same_all_day(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    """Otherwise every turn pays for reading it again."""
    times = iter([NOW, NOW, NOW.replace(hour=23, minute=59), NOW.replace(hour=23, minute=59)])
    agent = agent_of(fake_ollama, now=lambda: next(times))
    await ask(agent, "One?")
    await ask(agent, "Two?")
    first, second = fake_ollama.chats
    assert first["messages"][0] == second["messages"][0]


# Warm-up


async def test_warm_up_reads_the_prompt_of_the_first_turn(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    agent = agent_of(fake_ollama)
    await agent.warm_up()
    await ask(agent, "Name a colour.", "")
    warm_up, turn = fake_ollama.chats
    assert warm_up["messages"][0] == turn["messages"][0]
    assert warm_up["keep_alive"] == turn["keep_alive"] == "30m"
    assert warm_up["options"]["num_ctx"] == turn["options"]["num_ctx"]  # another size loads the model again
    assert warm_up["options"]["num_predict"] == 1
    assert len(agent.conversations) == 0


async def test_a_warm_up_that_fails_is_not_heard_of(agent_of: MakeAgent, fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer(Status(500, "no memory"))
    agent = agent_of(fake_ollama)
    await agent.warm_up()
    assert (await ask(agent, "Name a colour."))[0] == "Certainly."
    async with stopped_ollama() as nobody:
        lonely = agent_of(nobody)
        await lonely.warm_up()
        assert (await ask(lonely, "Name a colour."))[0] == NO_MODEL


# What a model without tools is not asked


@pytest.mark.parametrize(
    ("text", "language", "answer"),
    [
        ("Turn on the kitchen light.", "en", "I can't do that."),
        ("Mach das Licht an.", "de", "Das kann ich nicht."),
        ("Lock the front door!", "en", "I can't do that."),
        ("What turns milk into cheese?", "en", "Certainly."),
        ("Tell me about locks.", "en", "Certainly."),
    ],
)
async def test_a_model_without_tools_does_not_claim_to_have_acted(
    fake_ollama: FakeOllama, agent_of: MakeAgent, text: str, language: str, answer: str
) -> None:
    assert (await ask(agent_of(fake_ollama), text, language=language))[0] == answer


async def test_a_model_with_tools_is_asked_to_act(fake_ollama: FakeOllama, agent_of: MakeAgent) -> None:
    fake_ollama.models = [Model("able:latest", capabilities=("completion", "tools"))]
    agent = agent_of(fake_ollama)
    await agent.thinker.start()
    assert (await ask(agent, "Turn on the kitchen light."))[0] == "Certainly."


async def test_a_short_sentence_fills_the_time_of_a_model_that_is_late(
    fake_ollama: FakeOllama, agent_of: MakeAgent
) -> None:
    begin = asyncio.Event()
    fake_ollama.will_answer(begin, "Paris.")
    agent = agent_of(fake_ollama, quick_sentence_seconds=0.05)
    parts: list[AnswerPart] = []
    response = agent.respond(Request("What is the capital of France?", KITCHEN), Timeline("t"))
    async with asyncio.timeout(SOON):
        async for part in response.parts():
            parts.append(part)
            begin.set()
    assert parts == [Filler("One moment."), "Paris."]
