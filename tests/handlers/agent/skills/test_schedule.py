"""What people say about timers, alarms and reminders: whole evenings of it, in each language (`evenings/*.txt`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from handlers.agent.schedule.entry import WEEKDAYS, Clock, Entry, Heard, Kind, Owner
from handlers.agent.schedule.schedule import MOST_ENTRIES, Schedule
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.skills import Skills, locale_of
from handlers.agent.skills.stage import Occasion
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import Request
from handlers.session import Session

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
        request = Request(text, Session(user, satellite, language=language, conversation=f"at {satellite}"))
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
        "2 timers: pasta, 5 minutes left; 10 minutes left."
    )
    assert await home.say("Cancel all timers.", satellite="bedroom") == "Timer cancelled. One more is set elsewhere."
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


MORE = {
    # What is said one after another at 15:05, and a part of the answer; None where it goes elsewhere.
    "en": [
        ("Cancel the 3 minute timer.", "There is no timer for 3 minutes."),
        ("Set a timer for 5 minutes.", "5 minutes, starting now."),
        ("Stop the 3-minute timer.", "There is no timer for 3 minutes."),
        ("Pause the three minute timer.", "There is no timer for 3 minutes."),
        ("Resume the 3 minute timer.", "There is no timer for 3 minutes."),
        ("Add 5 minutes to the 3 minute timer.", "There is no timer for 3 minutes."),
        ("Snooze the 3 minute timer.", None),
        ("Forget about the 3 minute timer.", None),
        ("Is there a 3 minute timer?", None),
        ("Put 3 minutes on the clock.", "3 minutes, starting now."),
        ("Cancel the 3 minute timer.", "Timer cancelled: 3 minutes."),
        ("And one for 3 minutes.", "3 minutes, starting now."),
        ("Another one for 2 minutes.", "2 minutes, starting now."),
        ("And another for 4 minutes.", "4 minutes, starting now."),
        ("Another one for the road.", None),
        ("Start a ten minute countdown.", "10 minutes, starting now."),
        ("Set a timer for half past seven.", "4 hours and 25 minutes, starting now."),
        ("Set a timer till half past seven.", "4 hours and 25 minutes, starting now."),
        ("Set a timer for tomorrow.", None),
        ("Cancel tea.", None),
        ("Set a tea timer for 6 minutes.", "6 minutes for tea"),
        ("Cancel tea.", "Timer cancelled: tea."),
        ("Cancel everything.", "7 timers cancelled."),
        ("Cancel both.", "No timer is set."),
        ("Set a timer.", "For how long?"),
        ("10", "10 minutes, starting now."),
        ("Set a timer.", "For how long?"),
        ("For ten, please.", "10 minutes, starting now."),
        ("Set a timer for -5 minutes.", "A timer can run from one second to a week."),
        ("Set a timer for minus five minutes.", "A timer can run from one second to a week."),
        ("Add -5 minutes to the timer.", "A timer can run from one second to a week."),
        ("How long until my alarm?", "No alarm is set."),
        ("Set an alarm for 25 o'clock.", "There is no such time."),
        ("Set an alarm for 7:75.", "There is no such time."),
        ("Wake me at 7.", "tomorrow at 7:00 AM"),
        ("Wake me at 5.", "tomorrow at 5:00 AM"),
        ("Wake me at 7 tonight.", "today at 7:00 PM"),
        ("Wake me at 1.", "tomorrow at 1:00 AM"),
        ("Set an alarm for 7.", "today at 7:00 PM"),
        ("What time does my alarm go off?", "5 alarms: today at 7:00 PM"),
        ("Wake me up.", "For what time?"),
        ("6", "tomorrow at 6:00 AM"),
        ("Remind me.", "What shall I remind you of?"),
        ("Call mum.", "When shall I remind you?"),
        ("At 5 pm.", "today at 5:00 PM: Call mum."),
        ("Remind me.", "What shall I remind you of?"),
        ("Call dad tomorrow at 8.", "tomorrow at 8:00 AM: Call dad."),
    ],
    "de": [
        ("Lösch den 3-Minuten-Timer.", "Es gibt keinen Timer für 3 Minuten."),
        ("Brich den drei Minuten Timer ab.", "Es gibt keinen Timer für 3 Minuten."),
        ("Pausiere den 3 Minuten Timer.", "Es gibt keinen Timer für 3 Minuten."),
        ("Verlängere den 3 Minuten Timer um 5 Minuten.", "Es gibt keinen Timer für 3 Minuten."),
        ("Vergiss den 3 Minuten Timer.", None),
        ("Und noch einen auf 3 Minuten.", "3 Minuten, ab jetzt."),
        ("Noch ein Lied.", None),
        ("Stell einen Timer auf halb acht.", "4 Stunden und 25 Minuten, ab jetzt."),
        ("Stell einen Timer bis halb acht.", "4 Stunden und 25 Minuten, ab jetzt."),
        ("Lösch alles.", "3 Timer gelöscht."),
        ("Lösch Tee.", None),
        ("Stell einen Timer.", "Wie lange?"),
        ("Zehn.", "10 Minuten, ab jetzt."),
        ("Stell einen Timer auf minus fünf Minuten.", "Ein Timer kann von"),
        ("Weck mich um 7.", "morgen um 07:00 Uhr"),
        ("Stell den Wecker auf 7.", "heute um 19:00 Uhr"),
        ("Weck mich um 25 Uhr.", "So eine Uhrzeit gibt es nicht."),
        ("Erinnere mich.", "Woran soll ich dich erinnern?"),
        ("Mama anrufen.", "Wann soll ich dich erinnern?"),
    ],
    "sv": [
        ("Avbryt 3 minuters timern.", "Det finns ingen timer för 3 minuter."),
        ("Pausa timern på 3 minuter.", "Det finns ingen timer för 3 minuter."),
        ("Glöm 3 minuters timern.", None),
        ("Och en till på 3 minuter.", "3 minuter, med start nu."),
        ("Ställ en timer på kvart över sju.", "4 timmar och 10 minuter, med start nu."),
        ("Ställ en timer på en kvart.", "15 minuter, med start nu."),
        ("Avbryt alla.", "3 timrar är avbrutna."),
        ("Avbryt kaffe.", None),
        ("Ställ en timer.", "Hur länge?"),
        ("Tio.", "10 minuter, med start nu."),
        ("Ställ en timer på minus fem minuter.", "En timer kan gå från"),
        ("Väck mig klockan 7.", "imorgon klockan 07:00"),
        ("Ställ alarmet på klockan 7.", "idag klockan 19:00"),
        ("Ställ alarmet på klockan 25.", "Den tiden finns inte."),
        ("Påminn mig.", "Vad ska jag påminna dig om?"),
        ("Ringa mamma.", "När ska jag påminna dig?"),
    ],
    "fr": [
        ("Annule le minuteur de 3 minutes.", "Il n'y a pas de minuteur pour 3 minutes."),
        ("Mets en pause le minuteur de 3 minutes.", "Il n'y a pas de minuteur pour 3 minutes."),
        ("Et un autre de 3 minutes.", "3 minutes, c'est parti."),
        ("Encore une chanson.", None),
        ("Mets un minuteur de 2 heures.", "2 heures, c'est parti."),
        ("Mets un minuteur jusqu'à sept heures et demie.", "4 heures et 25 minutes, c'est parti."),
        ("Annule tout.", "3 minuteurs annulés."),
        ("Annule le thé.", None),
        ("Mets un minuteur.", "Pour combien de temps ?"),
        ("10", "10 minutes, c'est parti."),
        ("Mets un minuteur de moins cinq minutes.", "Un minuteur peut durer"),
        ("Réveille-moi à 7 heures.", "demain à 07:00"),
        ("Mets une alarme à 7 heures.", "aujourd'hui à 19:00"),
        ("Mets une alarme à 25 heures.", "Cette heure n'existe pas."),
        ("Rappelle-moi.", "Que dois-je te rappeler ?"),
        ("Appeler maman.", "Quand dois-je te le rappeler ?"),
    ],
    "es": [
        ("Cancela el temporizador de 3 minutos.", "No hay ningún temporizador para 3 minutos."),
        ("Pausa el temporizador de 3 minutos.", "No hay ningún temporizador para 3 minutos."),
        ("Y otro de 3 minutos.", "3 minutos, a partir de ahora."),
        ("Pon un temporizador de 2 horas.", "2 horas, a partir de ahora."),
        ("Pon un temporizador hasta las siete y media.", "4 horas y 25 minutos, a partir de ahora."),
        ("Cancela todo.", "3 temporizadores cancelados."),
        ("Cancela el té.", None),
        ("Pon un temporizador.", "¿De cuánto tiempo?"),
        ("10", "10 minutos, a partir de ahora."),
        ("Pon un temporizador de menos cinco minutos.", "Un temporizador puede durar"),
        ("Despiértame a las 7.", "mañana a las 7:00"),
        ("Pon una alarma a las 7.", "hoy a las 19:00"),
        ("Pon una alarma a las 25.", "Esa hora no existe."),
        ("Recuérdame.", "¿Qué quieres que te recuerde?"),
        ("Llamar a mamá.", "¿Cuándo te lo recuerdo?"),
    ],
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_requests_that_name_what_there_is_not_or_go_on(home: Home, language: str) -> None:
    for said, answer in MORE[language]:
        found = await home.say(said, language)
        assert found is None if answer is None else answer in str(found), (said, found)


NO_TEXTS = {
    "en": ("Set a reminder for 5 pm.", ["What's the weather like?", "Who won?"], "Turn off the oven."),
    "de": ("Stell eine Erinnerung für 17 Uhr.", ["Wie wird das Wetter?", "Wer hat gewonnen?"], "Ofen ausmachen."),
    "sv": ("Ställ en påminnelse klockan 17.", ["Vad blir det för väder?", "Vem vann?"], "Ringa mamma."),
    "fr": ("Mets un rappel à 17 heures.", ["Quel temps fait-il ?", "Qui a gagné ?"], "Éteindre le four."),
    "es": ("Pon un recordatorio a las 17.", ["¿Qué tiempo hace?", "¿Quién ha ganado?"], "Apagar el horno."),
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_question_is_not_what_a_reminder_is_about(home: Home, language: str) -> None:
    opening, questions, text = NO_TEXTS[language]
    assert await home.say(opening, language)
    for question in questions:
        assert await home.say(question, language) is None, question
    assert text.rstrip(".") in str(await home.say(text, language))


@pytest.mark.parametrize(
    "said",
    [
        "What's on my reminders?",
        "List my timers.",
        "What time is it?",
        "2 plus 2",
        "Never mind.",
        "Set an alarm for 9.",
    ],
)
async def test_a_request_that_is_known_is_no_answer(home: Home, said: str) -> None:
    await home.say("Set a reminder for 5 pm.")
    await home.say(said)
    assert not home.schedule.entries(Kind.REMINDER)


async def test_a_long_list_says_how_many_more_there_are(home: Home) -> None:
    for minutes in range(10, 31):
        await home.say(f"Set a timer for {minutes} minutes.")
    for hour in range(1, 8):
        await home.say(f"Set an alarm for {hour} a.m.")
    assert str(await home.say("What timers do I have?")).endswith("; 14 minutes left; and 16 more.")
    assert str(await home.say("What alarms are set?")).endswith("; and 2 more.")
    assert await home.say("Cancel all timers.") == "21 timers cancelled."
    assert await home.say("What timers do I have?") == "No timer is set."


async def test_timers_that_have_as_much_time_left_are_called_by_their_length(home: Home) -> None:
    await home.say("Set a timer for 10 minutes.")
    await home.say("Set a timer for 5 minutes.")
    await home.say("Add 5 minutes to the 5 minute timer.")
    assert await home.say("List my timers.") == "2 timers: 10 minutes, 10 minutes left; 5 minutes, 10 minutes left."


async def test_what_is_due_is_not_said_to_have_time_left(tmp_path: Path) -> None:
    wall, ticks = NOW.timestamp(), [0.0]
    clock = Clock(lambda: wall + ticks[0], lambda: ticks[0], NOW.tzinfo)
    schedule = Schedule(tmp_path / "due.db", nobody, clock=clock)
    await schedule.start()
    home = Home(schedule)
    try:
        await home.say("Set a pasta timer for 5 minutes.")
        await home.say("Remind me at 3:08 pm to call mum.")
        ticks[0] = 301
        assert await home.say("How long is left on the pasta timer?") == "The timer has ended."
        await home.say("Set a timer for 5 minutes.")
        assert await home.say("List my timers.") == "2 timers: pasta, has ended; 5 minutes left."
        assert await home.say("What are my reminders?") == "One reminder: call mum, today at 3:08 PM, due now."
    finally:
        await schedule.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_requests_to_act_have_their_first_words(home: Home, language: str) -> None:
    words = home.skills.spoken_words(language, "actions")
    assert len(words) > 25
    assert not set(words) & set(home.skills.spoken_words(language, "questions"))
    assert not set(words) & {"can", "could", "kannst", "kan", "peux", "puedes"}
