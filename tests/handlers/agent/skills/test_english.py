"""English: what skills understand, what they say, and what they leave to the language model."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask, understood

KNOWN = {
    "GetTime": [
        "What time is it?",
        "what time is it",
        "WHAT TIME IS IT",
        "What's the time, please.",
        "What’s the time?",
        "What is the current time?",
        "What time is it right now, please?",
        "Meadowlark, what time is it?",
        "Hey Meadowlark, what time is it?",
        "Tell me the time.",
        "Can you tell me what time it is?",
        "Could you tell me the time, please?",
        "Do you have the time?",
        "Do you know what time it is?",
        "  What   time is it ?  ",
        "Time.",
    ],
    "GetDate": [
        "What's the date?",
        "What is today's date?",
        "What’s today’s date?",
        "What day is it today?",
        "What day is today?",
        "What day of the week is it?",
        "Tell me the date.",
        "Can you tell me what day it is?",
        "What year is it?",
    ],
    "Greeting": [
        "Hello.",
        "Hello!",
        "Hi there!",
        "Hey Meadowlark.",
        "Good morning, Meadowlark.",
        "How are you doing today?",
        "Hello, how are you?",
    ],
    "Goodbye": ["Good night.", "Bye!", "See you later."],
    "Thanks": [
        "Thank you.",
        "Thank you so much!",
        "Thanks a lot!",
        "Okay, thanks.",
        "Thank you very much, Meadowlark.",
        "That's very kind of you.",
    ],
    "Cancel": [
        "Never mind.",
        "Nevermind",
        "Stop.",
        "Stop it!",
        "Please stop.",
        "Cancel that.",
        "Forget it.",
        "Be quiet!",
        "Nothing.",
        "That's all.",
        "Stop talking.",
    ],
    "Yes": [
        "Yes.",
        "Yes, please.",
        "Yeah!",
        "Yes, yes.",
        "Do it.",
        "Yes, do it.",
        "Confirm.",
        "Sure.",
        "Sure thing!",
        "Of course.",
        "Go ahead.",
        "Absolutely.",
        "I'm sure.",
        "Yes, that's right.",
        "Okay.",
    ],
    "No": [
        "No.",
        "No, thanks.",
        "No thank you.",
        "Nope!",
        "No, no.",
        "Don't.",
        "Don't do it.",
        "No, don't do that.",
        "Better not.",
        "Not now.",
        "No, never mind.",
        "No, wait.",
        "Please don't.",
    ],
    "Repeat": [
        "Can you repeat that?",
        "Could you say that again, please?",
        "Sorry, can you repeat that?",
        "Say that again.",
        "Repeat, please.",
        "What did you just say?",
        "What did you say?",
        "What was that?",
        "Pardon?",
        "Sorry?",
        "Come again?",
        "I didn't catch that.",
    ],
    "VolumeUp": [
        "Louder.",
        "Turn it up.",
        "A bit louder, please.",
        "Volume up.",
        "Speak up!",
        "Turn up the volume a lot",
    ],
    "VolumeDown": ["Quieter.", "Turn it down a little.", "Not so loud!", "Turn the volume down.", "Much quieter"],
    "Capabilities": ["What can you do?", "What can you do for me?", "Help.", "Who are you?", "What's your name?"],
}

SLOTS = [
    ("What time is it in Tokyo?", "GetTimeThere", {"place": "Tokyo"}),
    ("Tell me the time in London.", "GetTimeThere", {"place": "London"}),
    ("what time is it now in the United Kingdom, please", "GetTimeThere", {"place": "the United Kingdom"}),
    ("What day is it tomorrow?", "GetDateOf", {"day": "tomorrow"}),
    ("What is the date tomorrow?", "GetDateOf", {"day": "tomorrow"}),
    ("What's the date of Easter?", "GetDateOf", {"day": "Easter"}),
    ("What day is Christmas?", "GetDateOf", {"day": "Christmas"}),
    ("What date is next Friday?", "GetDateOf", {"day": "next Friday"}),
    ("How many days until Christmas?", "GetDaysUntil", {"day": "Christmas"}),
    ("How many days till the 24th of December?", "GetDaysUntil", {"day": "the 24th of December"}),
    ("What's 15 percent of 80?", "Calculate", {"expression": "15 percent of 80"}),
    ("12 times 7", "Calculate", {"expression": "12 times 7"}),
    ("Can you calculate 3 plus 4, please?", "Calculate", {"expression": "3 plus 4"}),
    ("How many cups are in a litre?", "ConvertUnits", {"unit": "cups", "quantity": "a litre"}),
    ("Convert 5 miles to kilometres.", "ConvertUnits", {"quantity": "5 miles", "unit": "kilometres"}),
    ("What's 70 Fahrenheit in Celsius?", "ConvertUnits", {"quantity": "70 Fahrenheit", "unit": "Celsius"}),
    ("Volume 30 percent.", "VolumeTo", {"level": "30 percent"}),
    ("Set the volume to five.", "VolumeTo", {"level": "five"}),
    ("A little louder", "VolumeUp", {"amount": "small"}),
]

NOT_FOR_SKILLS = [
    "What time does the bank open?",
    "What time is it going to rain?",
    "What time does the sun set?",
    "What time is dinner?",
    "What time is it in Narnia?",
    "What time is it on the moon?",
    "What is the time difference to Japan?",
    "What was the time of the first flight?",
    "What year is the car from?",
    "What day is the party?",
    "What day is my dentist appointment?",
    "When is Anna's birthday?",
    "When is the next train?",
    "How many days until I retire?",
    "How many days are in February?",
    "How long until the pizza is done?",
    "How long is the film?",
    "Time flies.",
    "Thanks to the weather.",
    "Thank you for watching.",
    "Stop the music.",
    "Stop the vacuum.",
    "Cancel my subscription.",
    "Forget my birthday.",
    "Quiet the dog.",
    "Nothing compares to you.",
    "Help me write a letter.",
    "What can you do about the noise?",
    "Who are you going to call?",
    "How are you called in Spanish?",
    "Say hello.",
    "Say it in French.",
    "Repeat after me.",
    "Repeat the song.",
    "What was that song?",
    "Hello world program.",
    "Good morning America is on TV.",
    "Can you tell me a story?",
    "Turn on the kitchen light.",
    "Turn up the heating.",
    "Turn it up to the next level in your story.",
    "Turn down the bedroom light.",
    "Louder than bombs is an album.",
    "Volume of a sphere",
    "What is the volume of a cup?",
    "Set the volume of the TV to 30 percent.",
    "Volume 300",
    "Volume minus 5",
    "What is love?",
    "What is 9/11?",
    "What is 10-4?",
    "What is 5?",
    "What is 5 feet?",
    "What is seven eleven?",
    "What is the square root of evil?",
    "How much is a coffee?",
    "How much is a flight to Rome?",
    "How many people are in the room?",
    "How many feet does a spider have?",
    "How many cups are in the cupboard?",
    "How many miles to Babylon?",
    "How many litres in a mile?",
    "Convert this file to PDF.",
    "Convert dollars to euros.",
    "5 dollars in euros",
    "Yes, but only the red one.",
    "Yes or no?",
    "Sure, tell me more about it.",
    "Do it tomorrow.",
    "Okay, what about the garden?",
    "No way to know.",
    "No, the other one.",
    "Don't worry, be happy.",
    "I'm not sure.",
    "Confirm my booking for tomorrow.",
    "Of course the weather is bad.",
    "All right, turn off the lights.",
    "?!",
    "{time}",
    "[what] (time|date)",
    "<time>",
    "🙂",
    "what time is it " * 200,
]


def test_there_are_enough_sentences_that_are_not_for_skills() -> None:
    assert len(set(NOT_FOR_SKILLS)) >= 60


@pytest.mark.parametrize(
    ("said", "intent"), [(said, intent) for intent, sentences in KNOWN.items() for said in sentences]
)
def test_a_sentence_is_known(skills: Skills, said: str, intent: str) -> None:
    found = understood(skills, said, "en")
    assert found is not None
    assert found[0] == intent


@pytest.mark.parametrize(("said", "intent", "slots"), SLOTS)
def test_the_places_of_a_sentence_are_as_they_were_said(
    skills: Skills, said: str, intent: str, slots: dict[str, str]
) -> None:
    assert understood(skills, said, "en") == (intent, slots)


@pytest.mark.parametrize("said", NOT_FOR_SKILLS)
def test_a_near_miss_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert understood(skills, said, "en") is None


@pytest.mark.parametrize(
    ("said", "volume", "volume_to"),
    [
        ("Turn it up.", 10, None),
        ("A bit louder.", 5, None),
        ("Turn up the volume a lot", 25, None),
        ("Much quieter", -25, None),
        ("Quieter", -10, None),
        ("Volume 30 percent", None, 30),
        ("Volume 30%", None, 30),
        ("Set the volume to five.", None, 50),
        ("Set the volume to five percent.", None, 5),
        ("Volume zero", None, 0),
    ],
)
async def test_louder_and_quieter(skills: Skills, said: str, volume: int | None, volume_to: int | None) -> None:
    reply = await ask(skills, said)
    assert reply is not None
    assert (reply.volume, reply.volume_to) == (volume, volume_to)


async def test_what_it_can_do_names_what_it_can_do(skills: Skills) -> None:
    reply = await ask(skills, "What can you do?")
    assert reply is not None
    assert all(word in reply.text for word in ("timers", "alarms", "reminders", "sums", "units", "remember"))
