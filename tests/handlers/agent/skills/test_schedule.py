"""What people say about timers, alarms and reminders: whole evenings of it, in each language (`evenings/*.txt`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from handlers.agent.caller import Caller
from handlers.agent.schedule.entry import WEEKDAYS, Clock, Entry, Heard, Kind, Owner
from handlers.agent.schedule.schedule import MOST_ENTRIES, Schedule
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.skills import Skills, locale_of
from handlers.agent.skills.stage import Occasion
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import Request

FOLDER = Path(__file__).parents[4] / "handlers" / "agent" / "skills"
LANGUAGES = ["en", "de", "sv", "fr", "es"]
NOW = datetime(2026, 6, 3, 15, 5, tzinfo=ZoneInfo("Europe/Berlin"))
"""A Wednesday."""

NOT_OURS = {
    "en": [
        "Set a timer for the time it takes to boil an egg.",
        "Wake me when the rain stops.",
        "Remind me what I told you yesterday.",
        "What is a timer?",
        "Tell me a story about a timer.",
        "How long is left in the game?",
        "How much longer on the flight?",
        "How much time is left on the parking meter?",
        "How long until the pizza is done?",
        "When is the cake ready?",
        "Give me two more examples.",
        "Give me 5 more minutes of your time.",
        "I need 5 minutes.",
        "Is the alarm set?",
        "Is my phone set to silent?",
        "Turn on the kitchen light.",
        "Cancel my subscription.",
        "Stop the music.",
        "Set the light to 10 percent.",
        "The pasta one.",
        "10 minutes",
        "Alarming news today.",
    ],
    "de": [
        "Mach das Licht aus.",
        "Was ist ein Timer?",
        "Wie lange dauert der Film noch?",
        "Gib mir noch fünf Ideen.",
        "Noch ein Lied.",
        "Ist der Alarm an?",
        "Erinnere mich, was ich gestern gesagt habe.",
        "Stell die Heizung auf 20 Grad.",
    ],
    "sv": [
        "Tänd lampan i köket.",
        "Stäng av lampan.",
        "Ställ in värmen på 20 grader.",
        "Hur länge är det kvar på filmen?",
        "Ge mig fem idéer till.",
    ],
    "fr": [
        "Allume la lumière.",
        "Mets la musique.",
        "Arrête la musique.",
        "Il reste combien de temps pour le film ?",
        "Encore une chanson.",
    ],
    "es": [
        "Enciende la luz.",
        "Pon música.",
        "Apaga la televisión.",
        "¿Cuánto queda para el verano?",
        "¿Está activada la alarma?",
    ],
}


def lines(language: str) -> list[tuple[str, str]]:
    """What is said one after another, and the answers to it."""
    text = (Path(__file__).parent / "evenings" / f"{language}.txt").read_text(encoding="utf-8")
    return [(said.strip(), answer.strip()) for said, answer in (line.split("|") for line in text.splitlines())]


async def nobody(entry: Entry) -> Heard:
    return Heard.NOBODY


class Home:
    """A schedule at a fixed time, and what is said about it."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.skill = ScheduleSkill(schedule)
        self.skills = Skills([*standard_skills(), self.skill])

    async def say(self, text: str, language: str = "en", satellite: str = "kitchen", user: str = "") -> str | None:
        match = self.skills.match(text, language)
        if match is None or match.intent not in self.skill.intents:
            return None
        request = Request(text, language, f"at {satellite}", Caller(user, satellite))
        reply = await self.skills.perform(match, Occasion(request, [], NOW, locale_of(language)))
        return reply.text


@pytest.fixture
async def schedule(tmp_path: Path) -> AsyncIterator[Schedule]:
    begun = NOW.timestamp()
    schedule = Schedule(tmp_path / "schedule.db", nobody, clock=Clock(lambda: begun, lambda: 0.0, NOW.tzinfo))
    await schedule.start()
    yield schedule
    await schedule.close()


@pytest.fixture
def home(schedule: Schedule) -> Home:
    return Home(schedule)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_evening(home: Home, language: str) -> None:
    for said, answer in lines(language):
        assert await home.say(said, language) == answer, said


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_is_not_ours_goes_elsewhere(home: Home, language: str) -> None:
    for said in NOT_OURS[language]:
        assert await home.say(said, language) is None, said


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_complete(language: str) -> None:
    ours = yaml.safe_load((FOLDER / language / "schedule.yaml").read_text(encoding="utf-8"))
    english = yaml.safe_load((FOLDER / "en" / "schedule.yaml").read_text(encoding="utf-8"))
    for part in ("intents", "responses", "words"):
        assert set(ours[part]) == set(english[part]), part
    assert set(ours["lists"]) == set(english["lists"])
    for name, response in english["responses"].items():
        theirs = ours["responses"][name]
        assert isinstance(theirs, str) == isinstance(response, str), name
        if isinstance(response, str):
            assert {part for part in response.split() if "{" in part} or "{" not in theirs, name


async def test_a_timer_belongs_to_its_place_and_is_found_by_its_name_from_another(home: Home) -> None:
    await home.say("Set a 5 minute pasta timer.", satellite="kitchen")
    await home.say("Set a timer for 10 minutes.", satellite="bedroom")
    assert await home.say("How much time is left?", satellite="bedroom") == "10 minutes left."
    assert await home.say("How long is left on the pasta timer?", satellite="bedroom") == "5 minutes left."
    assert await home.say("How much time is left?", satellite="hall") == (
        "2 timers: pasta, 5 minutes left; 10 minutes, 10 minutes left."
    )
    assert await home.say("Cancel all timers.", satellite="bedroom") == "Timer cancelled."
    assert [entry.name for entry in home.schedule.entries()] == ["pasta"]


async def test_an_answer_counts_only_where_the_question_was_asked(home: Home) -> None:
    await home.say("Set a 5 minute pasta timer.")
    await home.say("Set a 7 minute egg timer.")
    await home.say("Cancel the timer.")
    assert await home.say("The pasta one.", satellite="bedroom") == (
        "Sorry, I don't know what that answers. Please say it in one sentence."
    )
    assert len(home.schedule.entries()) == 2
    assert await home.say("The pasta one.") == "Timer cancelled: pasta."


async def test_the_answer_of_another_place_leaves_a_question_open(home: Home) -> None:
    await home.say("Set a timer.", satellite="kitchen")
    await home.say("Set an alarm.", satellite="bedroom")
    assert "don't know" in str(await home.say("At 7.", satellite="kitchen"))
    assert await home.say("10 minutes", satellite="kitchen") == "10 minutes, starting now."
    assert await home.say("At 7.", satellite="bedroom") == "Alarm set for today at 7:00 PM."


async def test_another_sentence_withdraws_the_question(home: Home) -> None:
    await home.say("Set an alarm.")
    assert await home.say("What timers do I have?") == "No timer is set."
    assert await home.say("At 7.") is None


async def test_never_mind_withdraws_the_question(home: Home) -> None:
    await home.say("Set a timer.")
    assert await home.say("Never mind.") == "Okay."
    assert await home.say("10 minutes") is None


async def test_reminders_of_one_person_are_not_read_to_another(home: Home) -> None:
    await home.say("Remind me tomorrow at 8 to buy a present for Bert.", user="anna")
    assert await home.say("What are my reminders?", user="bert") == "There are no reminders."
    assert await home.say("Delete the reminder about the present.", user="bert") == "There are no reminders."
    assert "present" in str(await home.say("What are my reminders?", user="anna", satellite="bedroom"))


async def test_two_that_are_called_alike_are_taken_in_their_order(home: Home) -> None:
    await home.say("Set a timer for 10 minutes.")
    await home.say("Set a timer for 10 minutes.")
    assert await home.say("Cancel the timer.") == "Timer cancelled: 10 minutes."
    assert len(home.schedule.entries()) == 1


async def test_a_full_schedule_says_so(home: Home) -> None:
    for _ in range(MOST_ENTRIES):
        await home.schedule.timer(Owner("kitchen"), 600)
    assert await home.say("Set a timer for 5 minutes.") == (
        "There are too many timers, alarms and reminders here. Cancel some first."
    )


async def test_what_is_set_knows_who_where_and_in_which_language(home: Home) -> None:
    await home.say("Stell den Wecker auf werktags um 7.", "de", "bedroom", "anna")
    [alarm] = home.schedule.entries(Kind.ALARM)
    assert alarm.owner == Owner("bedroom", "anna", "de")
    assert (alarm.repeat, alarm.wall) == (WEEKDAYS, "2026-06-04T07:00:00")


@pytest.mark.parametrize("said", ["Stop the timer.", "Stop!"])
async def test_stop_ends_what_rings_here(tmp_path: Path, said: str) -> None:
    rings = asyncio.Event()

    async def ring(entry: Entry) -> Heard:
        rings.set()
        await asyncio.Event().wait()
        return Heard.HEARD

    schedule = Schedule(tmp_path / "other.db", ring)
    await schedule.start()
    home = Home(schedule)
    try:
        await home.say("Set a timer for 10 minutes.")
        await schedule.timer(Owner("kitchen"), 1, "pasta")
        async with asyncio.timeout(10):
            await rings.wait()
        assert await home.say(said) == "Okay."
        async with asyncio.timeout(10):
            while schedule.ringing("kitchen"):  # noqa: ASYNC110 -- ends with its task
                await asyncio.sleep(0.005)
        assert [entry.duration for entry in schedule.entries()] == [600]
    finally:
        await schedule.close()
