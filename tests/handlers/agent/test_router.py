"""Which way a sentence goes, how sure that is, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from handlers.agent.conversations import Turn
from handlers.agent.house.house import House
from handlers.agent.router import SURE, Kind, Route, Router
from handlers.agent.schedule.entry import Entry, Heard
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.skills import Skills, locale_of
from handlers.agent.skills.memory import MemorySkill
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.stage import Occasion
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import Request
from handlers.session import Session
from tests.handlers.agent.skills import test_english
from tests.support.skills import NOW


async def _nobody(due: Entry) -> Heard:
    return Heard.NOBODY


@pytest.fixture(scope="module")
def skills(tmp_path_factory: pytest.TempPathFactory) -> Skills:
    """All that a server has, and a sentence of the household."""
    folder = tmp_path_factory.mktemp("router")
    custom = folder / "custom.yaml"
    custom.write_text(
        'language: en\nintents: {Movie: {data: [{sentences: ["movie night"]}]}}\nresponses: {Movie: "Enjoy."}\n'
    )
    schedule = Schedule(folder / "schedule.db", _nobody)
    return Skills([*standard_skills(), ScheduleSkill(schedule), MemorySkill(None)], custom=[custom])


@pytest.fixture
def router(skills: Skills) -> Router:
    return Router(skills, House(), lambda: 0.5, patience_seconds=1.5)


def said(router: Router, text: str, *history: Turn, tag: str = "en", confirming: bool = False) -> Route:
    return router.route(Request(text, Session(language=tag, conversation="kitchen")), history, confirming)


def skill_turn(skills: Skills, question: str, answer: str, tag: str = "en") -> Turn:
    match = skills.match(question, tag)
    assert match is not None
    return Turn(question, answer, match=match)


# Fast, think, hybrid


@pytest.mark.parametrize("text", ["What time is it?", "Set a timer for 5 minutes.", "Movie night!", "Stop."])
def test_a_sentence_that_a_skill_knows_whole_is_fast_and_sure(router: Router, text: str) -> None:
    route = said(router, text)
    assert (route.kind, route.confidence) == (Kind.FAST, 1.0)
    assert route.match is not None
    assert route.reason == "a skill knows the whole sentence"


@pytest.mark.parametrize("text", test_english.NOT_FOR_SKILLS)
def test_anything_else_is_thought_about(router: Router, text: str) -> None:
    route = said(router, text)
    assert (route.kind, route.confidence, route.match) == (Kind.THINK, 0.0, None)
    assert route.reason


@pytest.mark.parametrize(
    ("expected", "patience", "kind"),
    [(0.5, 1.5, Kind.THINK), (1.5, 1.5, Kind.HYBRID), (9.0, 1.5, Kind.HYBRID), (9.0, 0.0, Kind.THINK)],
)
def test_a_slow_model_gets_a_quick_sentence_first(skills: Skills, expected: float, patience: float, kind: Kind) -> None:
    router = Router(skills, House(), lambda: expected, patience)
    route = said(router, "Why is the sky blue?")
    assert (route.kind, route.match) == (kind, None)
    assert ("take long" in route.reason) == (kind is Kind.HYBRID)
    assert said(router, "What time is it?").kind is Kind.FAST  # a skill needs no filler


def test_the_speed_is_asked_for_each_time(skills: Skills) -> None:
    seconds = iter([9.0, 0.1])
    router = Router(skills, House(), lambda: next(seconds), 1.5)
    assert said(router, "Why is the sky blue?").kind is Kind.HYBRID
    assert said(router, "Why is the sky blue?").kind is Kind.THINK


# Yes and no


@pytest.mark.parametrize("text", ["Yes.", "Yes please do it", "No!", "No, thank you.", "Go ahead."])
def test_yes_and_no_are_for_a_skill_only_when_an_action_waits(router: Router, text: str) -> None:
    waiting, idle = said(router, text, confirming=True), said(router, text)
    assert waiting.kind is Kind.FAST
    assert waiting.match is not None
    assert waiting.match.intent in ("Yes", "No")
    assert idle.kind is Kind.THINK
    assert idle.confidence < SURE
    asked = Turn("I am bored.", "Shall I tell you a joke?")
    assert said(router, text, asked).kind is Kind.THINK
    assert said(router, text, asked, confirming=True).kind is Kind.FAST


@pytest.mark.parametrize(
    ("tag", "yes", "no"),
    [
        ("en-GB", "Yes, please.", "No."),
        ("de", "Ja, bitte.", "Nein."),
        ("fr", "Oui.", "Non merci."),
        ("es", "Sí.", "No."),
        ("sv", "Ja tack.", "Nej."),
    ],
)
def test_every_language_can_say_yes_and_no(router: Router, tag: str, yes: str, no: str) -> None:
    for text, intent in ((yes, "Yes"), (no, "No")):
        match = said(router, text, tag=tag, confirming=True).match
        assert match is not None, text
        assert match.intent == intent


@pytest.mark.parametrize("text", ["Yes, but what does it delete?", "Why?", "What time is it?", "Yes, delete the other"])
def test_what_is_no_clear_yes_is_none(router: Router, text: str) -> None:
    route = said(router, text, confirming=True)
    assert route.match is None or route.match.intent not in ("Yes", "No")


# After a question of the assistant


@pytest.mark.parametrize("text", ["Time.", "Date", "My timers", "Hello"])
def test_one_or_two_words_after_a_question_are_its_answer(router: Router, text: str) -> None:
    asked = Turn("Let us play.", "Which word shall I explain?")
    assert said(router, text).kind is Kind.FAST
    route = said(router, text, asked)
    assert route.kind is Kind.THINK
    assert 0 < route.confidence < SURE
    assert "answer" in route.reason


@pytest.mark.parametrize("text", ["Stop.", "Never mind", "Louder", "Say again", "What time is it?"])
def test_some_words_mean_the_same_after_a_question(router: Router, text: str) -> None:
    assert said(router, text, Turn("Let us play.", "Which word shall I explain?")).kind is Kind.FAST


def test_the_question_of_a_skill_is_none_of_the_model(router: Router, skills: Skills) -> None:
    greeted = skill_turn(skills, "Hello", "Hello! How can I help?")
    assert said(router, "Time.", greeted).kind is Kind.FAST


def test_only_the_last_answer_counts(router: Router) -> None:
    asked, told = Turn("Let us play.", "Which word?"), Turn("Stop", "Okay.")
    assert said(router, "Time.", asked, told).kind is Kind.FAST


async def test_a_bare_answer_is_one_only_where_a_skill_has_asked(router: Router, skills: Skills) -> None:
    asking = skills.match("Set a timer", "en")
    assert asking is not None
    asked = await skills.perform(
        asking,
        Occasion(Request("Set a timer", Session(language="en", conversation="kitchen")), [], NOW, locale_of("en")),
    )
    assert asked.text.endswith("?")
    here = Turn("Set a timer", asked.text, match=asking)
    answer = said(router, "Ten minutes.", here)
    assert (answer.kind, answer.confidence) == (Kind.FAST, 1.0)
    elsewhere = said(router, "Ten minutes.")
    assert elsewhere.kind is Kind.THINK
    later = said(router, "Ten minutes.", here, Turn("What is the best tea?", "Which one do you mean?"))
    assert later.kind is Kind.THINK


# Follow-ups


@pytest.mark.parametrize(
    ("question", "answer", "then", "sentence"),
    [
        ("What time is it in London?", "In London it's 2 PM.", "And in Tokyo?", "What time is it in Tokyo?"),
        ("What is 12 times 12?", "144.", "And times 2?", None),
        ("Wie spät ist es in London?", "14 Uhr.", "Und in Tokio?", None),
    ],
)
def test_a_follow_up_completes_what_a_skill_answered(
    router: Router, skills: Skills, question: str, answer: str, then: str, sentence: str | None
) -> None:
    tag = "de" if "spät" in question else "en"
    before = skill_turn(skills, question, answer, tag)
    route = said(router, then, before, tag=tag)
    assert route.kind is Kind.FAST
    assert SURE <= route.confidence < 1.0
    assert route.match is not None
    assert before.match is not None
    assert route.match.intent == before.match.intent
    if sentence is not None:
        assert route.match.sentence == sentence
    assert "follow-up" in route.reason


def test_a_follow_up_of_a_follow_up_goes_on(router: Router, skills: Skills) -> None:
    first = skill_turn(skills, "What time is it in London?", "In London it's 2 PM.")
    second = said(router, "And in Tokyo?", first)
    third = said(router, "And in Paris?", first, Turn("And in Tokyo?", "In Tokyo it's 10 PM.", match=second.match))
    assert third.match is not None
    assert third.match.sentence == "What time is it in Paris?"


@pytest.mark.parametrize(
    "history",
    [
        (),
        (Turn("What is the capital of France?", "Paris."),),
        (Turn("Hello", "Hello! How can I help?"),),
    ],
    ids=["nothing", "model", "words"],
)
def test_another_follow_up_goes_to_the_model(router: Router, history: Sequence[Turn]) -> None:
    route = said(router, "And in the bedroom?", *history)
    assert (route.kind, route.confidence, route.match) == (Kind.THINK, 0.0, None)
    assert ("follow-up" in route.reason) == bool(history)


def test_a_follow_up_needs_the_turn_before_not_one_before_that(router: Router, skills: Skills) -> None:
    there = skill_turn(skills, "What time is it in London?", "In London it's 2 PM.")
    assert said(router, "And in Tokyo?", there, Turn("Who lives there?", "Nine million people.")).kind is Kind.THINK


# What an endpointer asks


@pytest.mark.parametrize(
    ("text", "complete"),
    [("What time is it?", True), ("Stop", True), ("Remind me to take out the bins", False), ("Why is it?", False)],
)
def test_only_a_sentence_that_cannot_go_on_is_complete(router: Router, text: str, complete: bool) -> None:
    assert router.is_complete(Request(text)) is complete


# What is told of a decision


def test_a_reason_has_nobody_s_words(router: Router, skills: Skills) -> None:
    before = skill_turn(skills, "What time is it in London?", "In London it's 2 PM.")
    for text in ("What time is it in Tokyo?", "And in Tokyo?", "Tell me about Tokyo", "And the food of Tokyo?"):
        assert "Tokyo" not in said(router, text, before).reason


def test_a_decision_changes_nothing_and_is_quick(router: Router, skills: Skills) -> None:
    """The same each time, so that it can be made on a guess. The time is printed: the machine decides."""
    history = [skill_turn(skills, "What time is it in London?", "In London it's 2 PM.")]
    known = [text for sentences in test_english.KNOWN.values() for text in sentences]
    texts = [*known, *test_english.NOT_FOR_SKILLS, "And in the bedroom?", "What about " + "very " * 60 + "long?"]
    times = []
    for text in texts:
        began = time.thread_time()
        first = said(router, text, *history)
        times.append((time.thread_time() - began) * 1000)
        assert said(router, text, *history) == first
    times.sort()
    print(
        f"{len(times)} decisions: p50 {times[len(times) // 2]:.2f} ms, p95 {times[len(times) * 95 // 100]:.2f} of 25 ms"
    )


def test_a_hostile_sentence_is_soon_decided(router: Router, tmp_path: Path) -> None:
    for text in ("and " * 1000, "in to " * 80, "what about " * 40, "?" * 4000, "\n\u202e\x00" * 100):
        began = time.thread_time()
        assert said(router, text, Turn("q", "a?")).kind is Kind.THINK
        print(f"{text[:12]!r}: {(time.thread_time() - began) * 1000:.1f} ms")


def test_a_skill_that_is_not_sure_does_not_answer(
    router: Router, skills: Skills, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.agent.router.SURE", 0.95)
    before = skill_turn(skills, "What time is it in Tokyo?", "It is noon.")
    route = said(router, "And in London?", before)
    assert (route.kind, route.confidence, route.match) == (Kind.THINK, 0.9, None)
    assert said(router, "What time is it?").kind is Kind.FAST
