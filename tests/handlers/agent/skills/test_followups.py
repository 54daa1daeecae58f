"""Questions that lean on the one before."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from handlers.agent.skills.followups import FollowUps
from handlers.agent.skills.stage import Match

CASES = [
    ("en", "What time is it?", "And in London?", "GetTimeThere", {"place": "London"}),
    ("en", "What time is it in Tokyo?", "And in New York?", "GetTimeThere", {"place": "New York"}),
    ("en", "What time is it in Tokyo, please?", "What about the UK?", "GetTimeThere", {"place": "the UK"}),
    ("en", "What day is it today?", "And tomorrow?", "GetDateOf", {"day": "tomorrow"}),
    ("en", "What day is it tomorrow?", "What about Friday?", "GetDateOf", {"day": "Friday"}),
    ("en", "How many days until Christmas?", "And until Easter?", "GetDaysUntil", {"day": "Easter"}),
    ("en", "What is 15 percent of 80?", "And 20 percent of it?", "Calculate", {"expression": "20 percent of 80"}),
    ("en", "What is 15 percent of 80?", "And 20 percent?", "Calculate", {"expression": "20 percent of 80"}),
    ("en", "What's 20% off 50?", "And 30 percent?", "Calculate", {"expression": "30 percent off 50"}),
    ("en", "What is 12 plus 7?", "And half of that?", "Calculate", {"expression": "half of (12 plus 7)"}),
    ("en", "12 plus 7", "And times 2?", "Calculate", {"expression": "(12 plus 7) times 2"}),
    ("en", "What is 12 times 7?", "How about 12 times 8?", "Calculate", {"expression": "12 times 8"}),
    ("en", "70 Fahrenheit in Celsius", "And 80?", "ConvertUnits", {"quantity": "80 Fahrenheit", "unit": "Celsius"}),
    ("en", "5 miles in kilometres", "And in meters?", "ConvertUnits", {"quantity": "5 miles", "unit": "meters"}),
    ("de", "Wie spät ist es in Tokio?", "Und in Rom?", "GetTimeThere", {"place": "Rom"}),
    ("de", "Welcher Tag ist morgen?", "Und übermorgen?", "GetDateOf", {"day": "übermorgen"}),
    ("de", "Was ist 15 Prozent von 80?", "Und 20 Prozent davon?", "Calculate", {"expression": "20 Prozent von 80"}),
    ("sv", "Vad är klockan i Tokyo?", "Och i London?", "GetTimeThere", {"place": "London"}),
    ("sv", "Vad är 12 gånger 7?", "Och plus 3?", "Calculate", {"expression": "(12 gånger 7) plus 3"}),
    ("fr", "Quelle heure est-il à Tokyo ?", "Et au Portugal ?", "GetTimeThere", {"place": "Portugal"}),
    ("fr", "Combien de jours avant Noël ?", "Et avant Pâques ?", "GetDaysUntil", {"day": "Pâques"}),
    ("es", "¿Qué hora es en Tokio?", "¿Y en Londres?", "GetTimeThere", {"place": "Londres"}),
    ("es", "¿Qué día es mañana?", "¿Y pasado mañana?", "GetDateOf", {"day": "pasado mañana"}),
]

NOT_COMPLETE = [
    ("What time is it?", "And in the bedroom?"),
    ("What time is it in Tokyo?", "And what is the weather like?"),
    ("What is 12 times 7?", "And why?"),
    ("Turn it up.", "And now?"),
    ("Thank you.", "And you?"),
    ("5 miles in kilometres", "And in litres?"),
    ("What time is it in Tokyo?", "In London?"),
]


@pytest.fixture(scope="module")
def follow_ups(skills: Skills) -> FollowUps:
    return FollowUps(skills)


@pytest.mark.parametrize(("tag", "before", "said", "intent", "slots"), CASES)
def test_a_follow_up_is_completed(
    skills: Skills, follow_ups: FollowUps, tag: str, before: str, said: str, intent: str, slots: dict[str, str]
) -> None:
    previous = skills.match(before, tag)
    assert previous is not None
    assert skills.match(said, tag) is None
    assert follow_ups.looks_like_followup(said, tag)
    match = follow_ups.complete(previous, said, tag)
    assert match is not None
    assert (match.intent, dict(match.slots)) == (intent, slots)


@pytest.mark.parametrize(("before", "said"), NOT_COMPLETE)
def test_what_makes_no_known_sentence_is_left(skills: Skills, follow_ups: FollowUps, before: str, said: str) -> None:
    previous = skills.match(before, "en")
    assert previous is not None
    assert follow_ups.complete(previous, said, "en") is None


def test_a_follow_up_may_follow_a_follow_up(skills: Skills, follow_ups: FollowUps) -> None:
    match: Match | None = skills.match("What time is it?", "en")
    for said in ("And in London?", "And in Tokyo?", "What about New York?"):
        assert match is not None
        match = follow_ups.complete(match, said, "en")
    assert match is not None
    assert dict(match.slots) == {"place": "New York"}


@pytest.mark.parametrize(
    "said", ["And in the bedroom?", "What about tomorrow?", "How about the red one?", "and 20 percent of it"]
)
def test_it_is_seen_that_a_sentence_leans_on_another(follow_ups: FollowUps, said: str) -> None:
    assert follow_ups.looks_like_followup(said, "en")


@pytest.mark.parametrize("said", ["Turn on the light.", "Andy is here.", "What is love?", "", "And", "Whatabout it"])
def test_other_sentences_stand_for_themselves(follow_ups: FollowUps, said: str) -> None:
    assert not follow_ups.looks_like_followup(said, "en")
