"""All skills at once: none takes the sentences of another, and matching stays quick."""

from __future__ import annotations

import time

import pytest

from handlers.agent.schedule.schedule import Schedule
from handlers.agent.skills import Skills
from handlers.agent.skills.memory import MemorySkill
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.standard import standard_skills
from tests.handlers.agent.skills import test_english, test_french, test_german, test_spanish, test_swedish
from tests.support.skills import understood

LANGUAGES = {
    "de": test_german,
    "en": test_english,
    "es": test_spanish,
    "fr": test_french,
    "sv": test_swedish,
}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Skills:
    schedule = Schedule(tmp_path_factory.mktemp("schedule") / "schedule.db", _nobody)
    return Skills([*standard_skills(), ScheduleSkill(schedule), MemorySkill(None)])


async def _nobody(*_: object) -> bool:
    return False


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_keeps_its_skill(together: Skills, language: str) -> None:
    module = LANGUAGES[language]
    for intent, sentences in module.KNOWN.items():
        for said in sentences:
            found = understood(together, said, language)
            assert found is not None, said
            assert found[0] == intent, said
    for said, intent, slots in module.SLOTS:
        assert understood(together, said, language) == (intent, slots)


@pytest.mark.parametrize("language", LANGUAGES)
def test_ordinary_questions_still_go_to_the_language_model(together: Skills, language: str) -> None:
    for said in LANGUAGES[language].NOT_FOR_SKILLS:
        assert understood(together, said, language) is None, said


def test_how_long_matching_takes_with_all_skills(together: Skills) -> None:
    """Printed, because the machine decides; a sentence of words that every pattern knows must end all the same."""
    for language, module in LANGUAGES.items():
        said = [said for sentences in module.KNOWN.values() for said in sentences] + module.NOT_FOR_SKILLS
        waits = sorted(_seconds(together, text, language) for text in said)
        print(
            f"{language}: p50 {waits[len(waits) // 2] * 1000:.2f} ms, p95 {waits[len(waits) * 95 // 100] * 1000:.2f} ms"
        )
    for hostile in ("in to " * 80, "set a timer for " * 30, "how many is in is in " * 23, "and " * 120):
        assert understood(together, hostile, "en") is None


def _seconds(skills: Skills, text: str, language: str) -> float:
    began = time.thread_time()
    skills.match(text, language)
    return time.thread_time() - began


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        *[("Okay.", tag) for tag in ("en", "de", "sv", "fr", "es")],
        *[("Alright.", "en"), ("In Ordnung.", "de"), ("Okej.", "sv"), ("D'accord.", "fr"), ("Vale.", "es")],
    ],
)
def test_what_people_say_while_they_think_is_no_yes(skills: Skills, said: str, tag: str) -> None:
    """A destructive tool acts only on a clear one."""
    match = skills.match(said, tag)
    assert match is None or match.intent != "Yes"
