"""How much silence ends an utterance, by what was said and how it sounded."""

from __future__ import annotations

import pytest

from handlers.asr.patience import Patience
from handlers.asr.stage import EndpointSettings

SETTINGS = EndpointSettings()
FULL, NEVER = SETTINGS.patience_ms, SETTINGS.nothing_ms
SOON, UNSURE, COMMAND = SETTINGS.finished_ms, SETTINGS.unsure_ms, SETTINGS.command_ms
COMPLETE, INCOMPLETE = 0.98, 0.1

COMMANDS = {"What time is it?", "Stop.", "Turn on the kitchen light.", "Thank you.", "Hello", "Hey Meadowlark"}


@pytest.fixture(scope="module")
def patience() -> Patience:
    return Patience(SETTINGS, COMMANDS.__contains__, ["Robin", "Mary Jane"])


def test_the_waits_are_in_order() -> None:
    assert COMMAND < SOON < UNSURE < FULL < NEVER
    assert UNSURE <= 600, "a single word ends within 0.6 s"


@pytest.mark.parametrize("complete", [COMPLETE, INCOMPLETE, None])
@pytest.mark.parametrize("guess", ["What time is it?", "Stop.", "Turn on the kitchen light."])
def test_a_known_command_ends_at_once(patience: Patience, guess: str, complete: float | None) -> None:
    assert patience.wait_ms(guess, complete) == COMMAND


@pytest.mark.parametrize("complete", [COMPLETE, INCOMPLETE, None])
@pytest.mark.parametrize(
    "guess",
    [
        *("Turn on the", "Turn on.", "Turn off", "Turn", "Switch off", "Set a timer for", "Set the light to", "Set."),
        *("Set a timer for 5", "Set a timer for twenty", "Set a timer for an", "Add apples to my", "Remind me to"),
        *("What's the temperature of", "What's", "What is", "Is the", "How many", "Tell me", "Can you", "I"),
        *("Turn on the light and", "Is it warm or", "Wake me up when", "What's the weather like in"),
        *("Turn on the kitchen -", "Turn on the kitchen…", "What's-", "Turn off all the..."),
        *("Oh", "Oh!", "Um,", "Uh…", "Hmm", "Oh, okay.", "Hey,", "Please."),
    ],
)
def test_an_open_phrase_has_all_the_patience_however_it_sounds(
    patience: Patience, guess: str, complete: float | None
) -> None:
    assert patience.wait_ms(guess, complete) == FULL


@pytest.mark.parametrize("complete", [COMPLETE, INCOMPLETE, None])
@pytest.mark.parametrize(
    "guess",
    [
        *("Alexa.", "Okay Nabu", "OK, Nabu.", "Hey Jarvis", "Hey, Jarvis!", "Meadowlark", "Hey Meadowlark", "Computer"),
        *("Robin", "Robin?", "Hey Robin.", "Mary Jane", "hey mary jane"),
    ],
)
def test_the_pause_after_a_name_never_ends_a_turn(patience: Patience, guess: str, complete: float | None) -> None:
    assert patience.wait_ms(guess, complete) == NEVER


@pytest.mark.parametrize(
    "guess",
    [
        *("Turn the light on.", "Turn it all off", "What is the outdoor humidity?", "Set bed light brightness 50%."),
        *("Set a timer for 5 minutes.", "Alexa, turn on the lamp.", "Hey Robin, what's the weather like?"),
        *("Tell me a story about pirates", "Oh, open the garage door.", "How warm will it get tomorrow?"),
    ],
)
def test_a_finished_sentence_waits_a_little_and_longer_when_it_does_not_sound_like_it(
    patience: Patience, guess: str
) -> None:
    assert patience.wait_ms(guess, COMPLETE) == SOON
    assert patience.wait_ms(guess, INCOMPLETE) == UNSURE
    assert patience.wait_ms(guess, None) == UNSURE


@pytest.mark.parametrize("complete", [COMPLETE, INCOMPLETE, None])
@pytest.mark.parametrize("guess", ["Next.", "Pause", "Seven", "Yes.", "Turn it off.", "Is the front?"])
def test_few_words_end_within_six_tenths(patience: Patience, guess: str, complete: float | None) -> None:
    assert patience.wait_ms(guess, complete) == UNSURE


@pytest.mark.parametrize(
    ("complete", "wait_ms"),
    [(None, FULL), (INCOMPLETE, FULL), (COMPLETE, UNSURE), (SETTINGS.complete_threshold, UNSURE)],
)
def test_without_a_guess_the_sound_decides(patience: Patience, complete: float | None, wait_ms: int) -> None:
    assert patience.wait_ms(None, complete) == wait_ms


@pytest.mark.parametrize("guess", ["", " ", "...", "!"])
def test_no_words_are_no_end(patience: Patience, guess: str) -> None:
    assert patience.wait_ms(guess, COMPLETE) == FULL


def test_little_speech_proves_little(patience: Patience) -> None:
    short = SETTINGS.short_ms - 1
    assert patience.wait_ms("Thanks for watching!", COMPLETE, short) == FULL
    assert patience.wait_ms("Thank you.", COMPLETE, short) == UNSURE
    assert patience.wait_ms("Thank you.", COMPLETE, SETTINGS.short_ms) == COMMAND
    assert patience.wait_ms("Alexa", COMPLETE, short) == NEVER


@pytest.mark.parametrize(
    ("language", "opened", "finished"),
    [
        ("de", "Schalte das Licht in der", "Schalte das Licht an."),
        ("fr", "Allume la lumière dans la", "Allume la lumière rouge."),
        ("es", "Enciende la luz de la", "Enciende la luz roja."),
        ("sv", "Tänd lampan i", "Tänd lampan i köket."),
        ("en-GB", "Turn on the", "Turn on the light."),
    ],
)
def test_every_listed_language_has_open_phrases(language: str, opened: str, finished: str) -> None:
    patience = Patience(SETTINGS, lambda text: False, language=language)
    assert patience.wait_ms(opened, COMPLETE) == FULL
    assert patience.wait_ms(finished, COMPLETE) == SOON


def test_a_comma_is_open_unless_it_sounds_finished(patience: Patience) -> None:
    """Whisper writes commas at the end of commands too."""
    assert patience.wait_ms("Lights off in the office,", COMPLETE) == UNSURE
    assert patience.wait_ms("Lights off in the office,", INCOMPLETE) == FULL
    assert patience.wait_ms("Lights off in the office,", None) == FULL


def test_in_a_language_that_nobody_listed_sentences_end_all_the_same() -> None:
    patience = Patience(SETTINGS, lambda text: False, language="pl")
    assert patience.wait_ms("Włącz światło w kuchni.", COMPLETE) == SOON
    assert patience.wait_ms("Włącz światło w kuchni -", COMPLETE) == FULL


def test_settings_decide_how_long() -> None:
    settings = EndpointSettings(
        command_ms=160, finished_ms=400, unsure_ms=700, complete_threshold=0.9, sentence_words=2
    )
    patience = Patience(settings, lambda text: text == "Stop.")
    assert patience.wait_ms("Stop.", COMPLETE) == 160
    assert patience.wait_ms("Open the garage door.", 0.91) == 400
    assert patience.wait_ms("Open the garage door.", 0.89) == 700
    assert patience.wait_ms("Open it.", 0.91) == 400
    assert patience.wait_ms("Next.", 0.91) == 700
