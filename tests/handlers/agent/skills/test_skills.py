"""The engine: what it matches, what it leaves to the language model, whose words it uses, and how long it takes."""

from __future__ import annotations

import string
import time
from pathlib import Path

import pytest
import yaml

import handlers.agent.skills
from handlers.agent.conversations import Turn
from handlers.agent.skills import Skills, locale_of
from handlers.agent.skills.phrases import PhraseBook
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply
from handlers.agent.skills.standard import standard_skills
from handlers.errors import SettingsError
from tests.support.skills import NOW, ask

FOLDER = Path(handlers.agent.skills.__file__).parent
LANGUAGES = sorted(path.parent.name for path in FOLDER.glob("*/core.yaml"))
OURS = ("core.yaml", "calculate.yaml")
FIXED = {"NothingToRepeat", "NoModel", "BrokenOff"}
"""Responses that no intent has."""


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("en", "It's 3:05 PM."),
        ("en-US", "It's 3:05 PM."),
        ("en_us", "It's 3:05 PM."),
        ("en-GB", "It's 15:05."),
        ("en-nonsense", "It's 3:05 PM."),
        ("de-AT", "Es ist 15:05."),
    ],
)
async def test_the_time_is_said_as_where_the_speaker_lives(skills: Skills, tag: str, expected: str) -> None:
    reply = await ask(skills, "Wie spät ist es?" if tag.startswith("de") else "What time is it?", tag)
    assert reply is not None
    assert reply.text == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("en", "June 3, 2026"), ("en-US", "June 3, 2026"), ("en-GB", "3 June 2026")],
)
async def test_the_date_is_said_as_where_the_speaker_lives(skills: Skills, tag: str, expected: str) -> None:
    reply = await ask(skills, "What's the date?", tag)
    assert reply is not None
    assert reply.text.startswith("Today is Wednesday")
    assert expected in reply.text


@pytest.mark.parametrize(("hour", "expected"), [(0, "12:00 AM"), (12, "12:00 PM"), (23, "11:00 PM")])
async def test_noon_and_midnight(skills: Skills, hour: int, expected: str) -> None:
    reply = await ask(skills, "What time is it?", now=NOW.replace(hour=hour, minute=0))
    assert reply is not None
    assert reply.text == f"It's {expected}."


async def test_repeat_says_the_last_answer_as_it_was(skills: Skills) -> None:
    reply = await ask(skills, "Say that again.", history=[Turn("One", "First."), Turn("Two", "Braces {time} stay.")])
    assert reply is not None
    assert reply.text == "Braces {time} stay."


async def test_repeat_without_anything_said_before(skills: Skills) -> None:
    reply = await ask(skills, "Can you repeat that?")
    assert reply is not None
    assert reply.text == "I haven't said anything yet."


async def test_cancel_ends_politely(skills: Skills) -> None:
    reply = await ask(skills, "Never mind.")
    assert reply is not None
    assert reply.text == "Okay."


@pytest.mark.parametrize("tag", ["xx", "tlh", "", "not a tag at all"])
def test_a_language_without_a_folder_goes_to_the_language_model(skills: Skills, tag: str) -> None:
    assert skills.match("What time is it?", tag) is None
    assert skills.sentence("NoModel", tag) == skills.sentence("NoModel", "en")
    assert skills.fixed_answers(tag) == []
    assert list(skills.spoken_words(tag, "tomorrow")) == []


@pytest.mark.parametrize(
    ("tag", "language", "expected"),
    [
        ("en-GB", "en", "en_GB"),
        ("fr_ca", "fr", "fr_CA"),
        ("en-nonsense", "en", "en"),
        ("xx", "sv", "sv"),
        ("", "de", "de"),
    ],
)
def test_every_tag_has_a_locale(tag: str, language: str, expected: str) -> None:
    assert str(locale_of(tag, language)) == expected


def test_the_words_of_a_place_are_kept_as_they_were_said(tmp_path: Path) -> None:
    skills = Skills(custom=[_custom(tmp_path, 'sentences: ["note that {rest}"]', "Noted: {rest}.")])
    said = "Please note that Anna's “Käse-Eck” now opens at 7:30, McDonald's doesn't"
    match = skills.match(said, "en")
    assert match is not None
    start, end = match.spans["rest"]
    assert match.sentence[start:end] == match.slots["rest"] == "Anna's “Käse-Eck” now opens at 7:30, McDonald's doesn't"


async def test_the_households_own_sentences_come_first(tmp_path: Path) -> None:
    custom = _custom(tmp_path, 'sentences: ["what time is it"]', "Time for tea, and {time}.")
    skills = Skills(standard_skills(), custom=[custom])
    reply = await ask(skills, "What time is it?")
    assert reply is not None
    assert reply.text == "Time for tea, and 3:05 PM."
    reply = await ask(skills, "What's the time?")
    assert reply is not None
    assert reply.text == "It's 3:05 PM."


async def test_a_households_sentence_may_call_a_skill_and_change_its_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "language: en\n"
        "intents: {GetTime: {data: [{sentences: [what says the clock]}]}}\n"
        'responses: {Thanks: "My pleasure.", GetTime: "The clock says {time}."}\n',
        encoding="utf-8",
    )
    skills = Skills(standard_skills(), custom=[path])
    replies = [await ask(skills, said) for said in ("What says the clock?", "Thank you")]
    assert [reply.text for reply in replies if reply] == ["The clock says 3:05 PM.", "My pleasure."]


async def test_a_household_may_have_a_language_that_we_do_not_have(tmp_path: Path) -> None:
    path = tmp_path / "mijn.yaml"
    path.write_text(
        'language: nl\nintents: {Tea: {data: [{sentences: [tijd voor thee]}]}}\nresponses: {Tea: "Lekker."}\n',
        encoding="utf-8",
    )
    skills = Skills(standard_skills(), custom=[path])
    reply = await ask(skills, "Tijd voor thee!", "nl-BE")
    assert reply is not None
    assert reply.text == "Lekker."
    assert skills.sentence("NoModel", "nl") == skills.sentence("NoModel", "en")


async def test_a_households_template_says_what_was_said_not_what_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "language: en\n"
        "lists: {door: {values: [{in: Front Door, out: lock.front}, back door]}}\n"
        "intents: {Knock: {data: [{sentences: ['knock at the {door}']}]}}\n"
        'responses: {Knock: "Knocking at the {door}{nothing}."}\n',
        encoding="utf-8",
    )
    reply = await ask(Skills(custom=[path]), "Knock at the front door!")
    assert reply is not None
    assert reply.text == "Knocking at the front door."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("language: en\nintents: {Tea: {data: [{sentences: [tea]}]}}\nresponses: {}\n", "'Tea' has no entry"),
        ("language: en\nintents: {Tea: {data: [{sentences: [tea]}]}}\nresponses: {Tea: [a]}\n", "must be a text"),
        ("language: en\nintents: {Tea: {data: [{sentences: ['(tea']}]}}\nresponses: {Tea: a}\n", "does not hold"),
        ("intents: {}\nresponses: {}\n", "does not hold"),
        ("- a list\n", "does not hold"),
        ("language: [en\n", "does not hold"),
        ("", "does not hold"),
    ],
)
def test_a_bad_file_of_the_household_is_a_settings_error(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=problem):
        Skills(custom=[path])


def test_a_missing_file_of_the_household_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"agent\.custom_sentences"):
        Skills(custom=[tmp_path / "none.yaml"])


class _Picky:
    """Owns an intent and takes only one word for its place."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"Feed"})

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return match.slots["animal"].casefold() in phrases.words("animals")

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        return Reply(phrases.say("Fed", count=int(match.slots.get("count", "1")), animal=match.slots["animal"]))


_FEEDING = """
language: en
skip_words: [please]
lists:
  animal: {wildcard: true}
  count: {values: [{in: once, out: "1"}, {in: twice, out: "2"}]}
intents:
  Feed: {data: [{sentences: ["feed {animal}", "feed {animal} {count}", "{animal}"]}]}
  Orphan: {data: [{sentences: ["nobody owns this"]}]}
responses:
  Fed: {one: "The {animal} got one meal.", other: "The {animal} got {count} meals."}
words:
  animals: [the cat, cat]
"""


@pytest.fixture
def feeding(tmp_path: Path) -> Skills:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "core.yaml").write_text(_FEEDING, encoding="utf-8")
    return Skills([_Picky()], folder=tmp_path)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Feed the cat", "The the cat got one meal."),
        ("Feed the cat twice", "The the cat got 2 meals."),
        ("Feed the cat, please", "The the cat got one meal."),
        ("Cat!", "The Cat got one meal."),
    ],
)
async def test_a_selective_skill_takes_the_reading_that_it_understands(
    feeding: Skills, said: str, expected: str
) -> None:
    reply = await ask(feeding, said)
    assert reply is not None
    assert reply.text == expected


@pytest.mark.parametrize("said", ["Feed the dog", "Feed", "dog", "nobody owns this"])
def test_what_no_skill_accepts_or_owns_is_not_known(feeding: Skills, said: str) -> None:
    assert feeding.match(said, "en") is None


def test_plural_forms_follow_the_language() -> None:
    book = PhraseBook("fr", {"Days": {"one": "{count} jour", "other": "{count} jours"}}, {})
    assert [book.say("Days", count=count) for count in (0, 1, 2)] == ["0 jour", "1 jour", "2 jours"]
    with pytest.raises(KeyError, match="Nothing"):
        book.say("Nothing")


def test_every_folder_is_a_language(skills: Skills) -> None:
    assert LANGUAGES == ["de", "en", "es", "fr", "sv"]
    assert list(skills.languages) == LANGUAGES


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_folder_is_complete(language: str, name: str) -> None:
    content = yaml.safe_load((FOLDER / language / name).read_text(encoding="utf-8"))
    english = yaml.safe_load((FOLDER / "en" / name).read_text(encoding="utf-8"))
    assert content["language"] == language
    assert set(content["intents"]) == set(english["intents"])
    assert all(isinstance(intent, str) for intent in content["intents"])  # YAML reads a bare Yes as true
    assert set(content["responses"]) == set(english["responses"])
    for response, forms in content["responses"].items():
        places = _places(english["responses"][response])
        for text in forms.values() if isinstance(forms, dict) else [forms]:
            assert text.strip(), response
            assert _places(text) <= places | {"count"}, response
            assert not (response in FIXED and _places(text)), response
    if name == "core.yaml":
        assert content["follow_ups"]
        for words in ("it", "prepositions", "today", "tomorrow", "yesterday", "next", "in", "days"):
            assert content["words"][words], words
    for words, entries in content["words"].items():
        if words not in ("date_pattern", "percent"):  # these are said
            assert all(isinstance(entry, str) and entry == entry.lower() for entry in entries), words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_intent_has_an_owner(language: str) -> None:
    owned = {intent for skill in standard_skills() for intent in skill.intents}
    for name in OURS:
        content = yaml.safe_load((FOLDER / language / name).read_text(encoding="utf-8"))
        assert set(content["intents"]) <= owned


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fixed_sentence_can_be_said(skills: Skills, language: str) -> None:
    assert len({skills.sentence(name, language) for name in FIXED}) == len(FIXED)
    assert {skills.sentence(name, language) for name in FIXED} <= set(skills.fixed_answers(language))


def test_how_long_matching_takes(skills: Skills) -> None:
    """Printed, because the machine decides; but a long dictation must not cost more than a command."""
    said = ["What time is it?", "turn it up a bit", "what is 15 percent of 80", "how many cups are in a litre"] * 25
    said += ["tell me a story about a dog that finds a bone in the garden and gives it to a cat", "what is love"] * 25
    waits = sorted(_seconds(skills, text) for text in said)
    print(f"skills: p50 {waits[len(waits) // 2] * 1000:.2f} ms, p95 {waits[len(waits) * 95 // 100] * 1000:.2f} ms")
    assert min(_seconds(skills, "what time is it " * 5000) for _ in range(20)) < waits[len(waits) // 2]


def _seconds(skills: Skills, text: str) -> float:
    began = time.perf_counter()
    skills.match(text, "en")
    return time.perf_counter() - began


def _places(response: object) -> set[str]:
    texts = response.values() if isinstance(response, dict) else [str(response)]
    return {field for text in texts for _, field, _, _ in string.Formatter().parse(text) if field}


def _custom(folder: Path, data: str, response: str) -> Path:
    path = folder / "custom.yaml"
    path.write_text(
        "language: en\nskip_words: [please, now]\nlists: {rest: {wildcard: true}}\n"
        f"intents: {{Mine: {{data: [{{{data}}}]}}}}\nresponses: {{Mine: '{response}'}}\n",
        encoding="utf-8",
    )
    return path
