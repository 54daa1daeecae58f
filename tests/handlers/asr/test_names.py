"""Names in the prompt and in the transcript."""

from __future__ import annotations

import itertools
import random

import pytest
from pydantic import ValidationError

from handlers.asr.names import mend, prompt_words, without_wake_phrase
from handlers.asr.stage import AsrSettings, Hints

HOUSE = (
    *("Kitchen", "Office", "Bed Light", "Standing Light", "New York", "EcoBee", "Garage Door", "Front Door", "TV"),
    *("Party Time", "Mood Lighting", "Outdoor Humidity", "Shopping List", "Bedroom 2", "Veranda", "Robo Vac"),
    *("Dehumidifier", "Bjorn's Room", "Lounge", "Café Machine"),
)

WITHOUT_NAMES = (
    "What time is it?",
    "play the beatles",
    "Set a timer for five minutes.",
    "Set a time up at 30 seconds.",
    "turn on the light",
    "turn off all of the lights",
    "turn on the red light",
    "Turn it on, please.",
    "is the door open",
    "What is the indoor humidity?",
    "I work part-time for a big network.",
    "call the officer about the offices",
    "the garbage is in the chicken kitchenette",
    "How long have you been playing the piano?",
    "It was a long way, and learning took a long time.",
    "the author of the danger trail, Philip Steels, etcetera",
    "That was the party. Time to go home.",
    "set the brightness to 50 percent",
    "Who wrote Moby Dick?",
    "a new yolk, a front, door frames and the mood",
    "We stood on the landing and looked at the moonlight.",
    "turn on bedroom 3",
    "The dining floor was sitting there with bread lights.",
    "",
)


def characters(text: str) -> int:
    return len(text)


class TestPromptWords:
    def test_names_stand_nearest_to_the_speech_and_come_first_when_there_is_no_room(self) -> None:
        hints = Hints(("Kitchen", "Office"), ("timer", "pause"))
        assert prompt_words(hints, 1000, characters) == ["pause", "timer", "Office", "Kitchen"]
        assert prompt_words(hints, 18, characters) == ["Office", "Kitchen"]

    def test_no_phrase_is_cut_and_a_shorter_one_may_still_fit(self) -> None:
        hints = Hints(("Kitchen", "Outdoor Humidity of the Garden", "TV"))
        assert prompt_words(hints, 15, characters) == ["TV", "Kitchen"]

    def test_the_budget_holds_for_what_is_written(self) -> None:
        names = [f"{word} {number}" for number, word in enumerate(["Lamp", "Ceiling Fan", "Radiator"] * 50)]
        for budget in range(0, 200, 7):
            written = ", ".join(prompt_words(Hints(names), budget, characters))
            assert len(written) <= budget

    def test_a_name_is_there_once_in_whatever_case(self) -> None:
        assert prompt_words(Hints(("Kitchen", "KITCHEN", " kitchen "), ("kitchen",)), 100, characters) == ["Kitchen"]

    @pytest.mark.parametrize("name", ["<|endoftext|>", "<<||>", "<|", "  ", "\n", ""])
    def test_special_tokens_and_nothing_are_no_names(self, name: str) -> None:
        written = prompt_words(Hints((name, "a<|b|>\nc")), 100, characters)
        assert not any(bracket in " ".join(written) for bracket in ("<|", "|>", "\n"))
        assert "a b c" in written

    def test_what_resembles_an_earlier_guess_goes_before_the_clients_order(self) -> None:
        names = [f"Radiator {number}" for number in range(30)] + ["Bed Light"]
        assert "Bed Light" not in prompt_words(Hints(names), 60, characters)
        assert prompt_words(Hints(names), 60, characters, "set bad light to")[-1] == "Bed Light"
        assert prompt_words(Hints(names), 60, characters, "hum")[-1] == "Radiator 0"


class TestMend:
    @pytest.mark.parametrize(
        ("heard", "mended"),
        [
            ("turn on the bed lights", "turn on the Bed Light"),
            ("Turn on standing lights.", "Turn on Standing Light."),
            ("what's the temperature of the eco bee?", "what's the temperature of the EcoBee?"),
            ("Run part of time.", "Run Party Time."),
            ("skip on T.V.", "skip on TV."),
            ("skip on t v", "skip on TV"),
            ("activate mood lightning", "activate Mood Lighting"),
            ("turn on the mud lighting", "turn on the mud lighting"),
            ("add milk to the shoping list, please", "add milk to the Shopping List, please"),
            ("close the garaged door", "close the Garage Door"),
            ("light in the kitchin on", "light in the Kitchen on"),
            ("turn on bedroom two", "turn on bedroom two"),
            ("turn on bed room 2", "turn on Bedroom 2"),
            ("turn on bed room two", "turn on Bedroom 2"),
            ("open the verandah", "open the Veranda"),
            ("set the RoboVAC to 40%.", "set the Robo Vac to 40%."),
            ("set the deep humidifier to 40%", "set the Dehumidifier to 40%"),
            ("start the cafe machines", "start the Café Machine"),
            ("turn on the front doors and the bed lights", "turn on the Front Door and the Bed Light"),
            ("bed lights' brightness, bed light's colour", "Bed Light' brightness, bed light's colour"),
        ],
    )
    def test_near_misses_become_the_name_as_written(self, heard: str, mended: str) -> None:
        assert mend(heard, HOUSE) == mended

    @pytest.mark.parametrize("name", HOUSE)
    def test_a_name_that_was_heard_stays_as_it_is(self, name: str) -> None:
        for text in (f"turn on the {name}", f"{name.lower()} off", f"is {name.upper()}, or {name}, on?"):
            assert mend(text, HOUSE) == text

    @pytest.mark.parametrize("text", WITHOUT_NAMES)
    def test_nothing_is_invented(self, text: str) -> None:
        assert mend(text, HOUSE) == text

    @pytest.mark.parametrize("text", ["That was a new, York is old", "bed. lights on", "eco! bee", "party? time"])
    def test_a_name_does_not_reach_over_the_end_of_a_clause(self, text: str) -> None:
        assert mend(text, HOUSE) == text

    def test_of_two_names_as_near_as_each_other_none_is_taken(self) -> None:
        assert mend("turn on the reading lams", ["Reading Lamp", "Reading Lamm"]) == "turn on the reading lams"
        assert mend("turn on the reeding lamps", ["Reading Lamp", "Ceiling Lamp"]) == "turn on the Reading Lamp"

    def test_an_area_keeps_its_lights(self) -> None:
        names = ["Kitchen", "Kitchen Light"]
        assert mend("set kitchen lights to green", names) == "set kitchen lights to green"

    @pytest.mark.parametrize("name", ["on", "the", "light", "", "   ", "!", "<|endoftext|>", "x" * 10_000, "日本", "½"])
    def test_any_text_can_be_a_name(self, name: str) -> None:
        assert mend("turn on the lights, please: 日本語 ½", [name]) == "turn on the lights, please: 日本語 ½"

    def test_without_names_nothing_changes(self) -> None:
        for text in (*WITHOUT_NAMES, "  bed lights ", "\n", "word " * 500):
            assert mend(text, []) == text

    def test_mending_twice_is_mending_once(self) -> None:
        chance = random.Random(5)
        pieces = [
            *" ".join((*WITHOUT_NAMES, *HOUSE)).split(),
            "bed",
            "lights",
            "eco",
            "bee",
            "part",
            "of",
            "time",
            "50",
        ]
        for _ in range(300):
            text = " ".join(_misspelled(word, chance) for word in chance.choices(pieces, k=8))
            once = mend(text, HOUSE)
            assert mend(once, HOUSE) == once

    def test_a_slip_in_a_long_name_is_mended_to_that_name_or_left(self) -> None:
        """Whatever letter is missing, no other name is put in its place."""
        rooms, devices = ("Kitchen", "Bedroom", "Hallway", "Office"), ("Ceiling Fan", "Floor Lamp", "Radiator")
        names = [" ".join(pair) for pair in itertools.product(rooms, devices)]
        mended = 0
        for name in names:
            for at in range(1, len(name)):
                text = mend(f"switch on {name[:at]}{name[at + 1 :]}", names)
                assert not any(other in text for other in names if other != name)
                mended += name in text
        assert mended > 100


class TestWithoutWakePhrase:
    @pytest.mark.parametrize(
        ("phrase", "heard", "left"),
        [
            ("hey jarvis", "Jarvis what time is it?", "what time is it?"),
            ("hey jarvis", "Hey Jarvis, what time is it?", "what time is it?"),
            ("hey_jarvis", "Hey, Javis. What time is it?", "What time is it?"),
            ("hey jarvis", "OK Jarvis - stop", "stop"),
            ("hey jarvis", "Jarvis, $5 in euros?", "$5 in euros?"),
            ("okay nabu", "Now be what time is it.", "what time is it."),
            ("okay nabu", "Okay, now be what time is it.", "what time is it."),
            ("okay nabu", "Nabu, stop", "stop"),
            ("okay nabu", "Na boo stop", "stop"),
            ("okay nabu", "Nobu: stop", "stop"),
            ("okay nabu", "OK Nabu, stop", "stop"),
            ("alexa", "Alexa called", "called"),
            ("alexa", "Hey Alexa, stop", "stop"),
            ("alexa", "Alexa.", ""),
            ("hey mycroft", "My craft, stop", "stop"),
            ("hey rhasspy", "Hey raspy turn on the light", "turn on the light"),
        ],
    )
    def test_what_is_left_of_it_goes(self, phrase: str, heard: str, left: str) -> None:
        assert without_wake_phrase(heard, phrase) == left

    @pytest.mark.parametrize(
        ("phrase", "heard"),
        [
            ("alexa", "Alexandra called"),
            ("alexa", "Alex called"),
            ("alexa", "Alexis is here"),
            ("alexa", "Is Alexa here?"),
            ("okay nabu", "OK, now play the Beatles"),
            ("okay nabu", "It can be rewarding"),
            ("okay nabu", "Okay, not a problem"),
            ("hey rhasspy", "Here is a photo"),
            ("okay nabu", "Now"),
            ("okay nabu", "Now be"),
            ("okay nabu", "Nope, stop"),
            ("okay nabu", "Nobody is here"),
            ("okay nabu", "Number five"),
            ("hey jarvis", "Jarvis's lamp on"),
            ("hey jarvis", "Hey, stop"),
            ("hey jarvis", "Service the car"),
            ("hey jarvis", "Turn on the light"),
            ("hey jarvis", ""),
            ("", "Turn on the light"),
            ("!", "Turn on the light"),
        ],
    )
    def test_words_that_only_resemble_it_stay(self, phrase: str, heard: str) -> None:
        assert without_wake_phrase(heard, phrase) == heard

    @pytest.mark.parametrize("phrase", ["okay nabu", "hey jarvis", "alexa", "hey mycroft", "hey rhasspy"])
    def test_commands_lose_nothing(self, phrase: str) -> None:
        for text in WITHOUT_NAMES:
            assert without_wake_phrase(text, phrase) == text


class TestSettings:
    def test_phrases_are_trimmed(self) -> None:
        assert AsrSettings.model_validate({"names": [" Bed Light "], "terms": ["timer"]}).names == ["Bed Light"]

    @pytest.mark.parametrize("names", [[""], ["  "], ["x" * 101], [3], "Kitchen", ["x"] * 501])
    def test_what_is_no_list_of_phrases_is_refused(self, names: object) -> None:
        with pytest.raises(ValidationError):
            AsrSettings.model_validate({"names": names})


def _misspelled(word: str, chance: random.Random) -> str:
    at = chance.randrange(len(word))
    return chance.choice([word, word, word + "s", word[:at] + word[at + 1 :], f"{word[:at]}x{word[at:]}"])
