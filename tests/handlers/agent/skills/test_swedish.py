"""Swedish: what skills understand, what they say, and what they leave to the language model."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask, understood

KNOWN = {
    "GetTime": [
        "Vad är klockan?",
        "Hur mycket är klockan?",
        "Kan du säga vad klockan är, tack?",
        "Vad är klockan nu?",
        "Hej, vad är klockan?",
        "Så vad är klockan?",
    ],
    "GetDate": ["Vilken dag är det idag?", "Vad är det för datum i dag?", "Vilket datum är det?", "Dagens datum."],
    "Greeting": ["Hej!", "God morgon, Meadowlark.", "Hej, hur mår du?", "Hur är läget?"],
    "Goodbye": ["God natt.", "Hej då!"],
    "Thanks": [
        "Tack.",
        "Tack så mycket!",
        "Tusen tack.",
        "Tack ska du ha.",
        "Tack, det är jättebra.",
        "Tack, det var allt.",
    ],
    "Cancel": [
        "Stopp.",
        "Avbryt!",
        "Var tyst.",
        "Glöm det.",
        "Det var allt.",
        "Sluta prata.",
        "Okej, stopp.",
        "Äsch, glöm det.",
    ],
    "Yes": [
        "Ja.",
        "Ja tack.",
        "Ja, gärna.",
        "Japp!",
        "Gör det.",
        "Ja, gör det.",
        "Absolut.",
        "Självklart.",
        "Bekräfta.",
    ],
    "No": ["Nej.", "Nej tack.", "Nä.", "Gör inte det.", "Nej, låt bli.", "Inte nu.", "Absolut inte!"],
    "Repeat": ["Vad sa du?", "Kan du säga det igen?", "Ursäkta?", "En gång till, tack.", "Upprepa det."],
    "VolumeUp": ["Högre.", "Höj volymen.", "Prata högre!", "Skruva upp ljudet.", "Kan du prata lite högre?"],
    "VolumeDown": ["Lägre tack.", "Sänk volymen.", "Inte så högt!"],
    "Capabilities": ["Vad kan du göra?", "Vem är du?", "Vad heter du?", "Hjälp!"],
}

SLOTS = [
    ("Vad är klockan i New York?", "GetTimeThere", {"place": "New York"}),
    ("Hur mycket är klockan i Köpenhamn nu, tack?", "GetTimeThere", {"place": "Köpenhamn"}),
    ("Vad är det för dag i morgon?", "GetDateOf", {"day": "i morgon"}),
    ("Aktuell tid i Los Angeles", "GetTimeThere", {"place": "Los Angeles"}),
    ("Vad är klockan borta i Sydney?", "GetTimeThere", {"place": "Sydney"}),
    ("Vad är morgondagens datum?", "GetDateOf", {"day": "imorgon"}),
    ("Hur många sekunder är det på en timme?", "ConvertUnits", {"unit": "sekunder", "quantity": "en timme"}),
    ("Hur många deciliter går det i en liter?", "ConvertUnits", {"unit": "deciliter", "quantity": "en liter"}),
    ("Vad är 20 procents rabatt på 50?", "Calculate", {"expression": "20 procents rabatt på 50"}),
    ("Sätt volymen på max.", "VolumeTo", {"level": "max"}),
    ("Vilken dag är julafton?", "GetDateOf", {"day": "julafton"}),
    ("Vilket datum är det nästa fredag?", "GetDateOf", {"day": "nästa fredag"}),
    ("Hur många dagar är det kvar till jul?", "GetDaysUntil", {"day": "jul"}),
    ("Hur många dagar är det till den 24 december?", "GetDaysUntil", {"day": "den 24 december"}),
    ("Vad är 15 procent av 80?", "Calculate", {"expression": "15 procent av 80"}),
    ("tolv gånger sju", "Calculate", {"expression": "tolv gånger sju"}),
    ("Hur många deciliter är det i en liter?", "ConvertUnits", {"unit": "deciliter", "quantity": "en liter"}),
    ("Omvandla 5 miles till kilometer.", "ConvertUnits", {"quantity": "5 miles", "unit": "kilometer"}),
    ("Sätt volymen på 30 procent.", "VolumeTo", {"level": "30 procent"}),
    ("Lite lägre", "VolumeDown", {"amount": "small"}),
]

NOT_FOR_SKILLS = [
    "När öppnar banken?",
    "Vad är klockan när tåget går?",
    "Vad är klockan på månen?",
    "Hur dags går bussen?",
    "Vilken dag är bäst att grilla?",
    "När är Annas födelsedag?",
    "Hur många dagar har februari?",
    "Hur många bor i Stockholm?",
    "Hur lång är filmen?",
    "Vad är kärlek?",
    "Och du?",
    "Så kan det gå.",
    "Hur många minuter är det på en film?",
    "Hur många ägg är det i en kartong?",
    "Tack, men det var inte det.",
    "Sätt värmen på max.",
    "Vad är morgondagens väder?",
    "Vad är roten till allt ont?",
    "Hur mycket är en kopp kaffe?",
    "Hur många koppar finns det i skåpet?",
    "Omvandla filen till PDF.",
    "Tänd lampan.",
    "Höj värmen i köket.",
    "Sänk ljuset i sovrummet.",
    "Tack för maten igår.",
    "Stoppa musiken.",
    "Ja, men bara den röda.",
    "Nej, den andra.",
    "Säg hej på spanska.",
    "Vem är statsminister?",
    "Vad kan du göra åt bullret?",
    "Gör det imorgon.",
]


@pytest.mark.parametrize(
    ("said", "intent"), [(said, intent) for intent, sentences in KNOWN.items() for said in sentences]
)
def test_a_sentence_is_known(skills: Skills, said: str, intent: str) -> None:
    found = understood(skills, said, "sv")
    assert found is not None
    assert found[0] == intent


@pytest.mark.parametrize(("said", "intent", "slots"), SLOTS)
def test_the_places_of_a_sentence_are_as_they_were_said(
    skills: Skills, said: str, intent: str, slots: dict[str, str]
) -> None:
    assert understood(skills, said, "sv") == (intent, slots)


@pytest.mark.parametrize("said", NOT_FOR_SKILLS)
def test_a_near_miss_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert understood(skills, said, "sv") is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Vad är klockan?", "Klockan är 15:05."),
        ("Vad är klockan i Tokyo?", "I Tokyo är klockan 22:05."),
        ("Vad är klockan i Auckland?", "I Auckland är klockan 01:05 på torsdag."),
        ("Vilken dag är det idag?", "I dag är det onsdag den 3 juni 2026."),
        ("Vad är det för dag i övermorgon?", "Det är fredag den 5 juni 2026."),
        ("När är midsommar?", "Det är fredag den 19 juni 2026."),
        ("Hur många dagar är det till jul?", "204 dagar kvar till jul."),
        ("Hur många dagar är det till imorgon?", "En dag kvar till imorgon."),
        ("Vad är 3,5 plus 2,25?", "3,5 plus 2,25 är 5,75."),
        ("Vad är roten ur 2?", "Roten ur 2 är ungefär 1,41."),
        ("Hur mycket är 7 delat med noll?", "Det går inte att dela med noll."),
        ("Vad är 3 minus 5?", "3 minus 5 är minus 2."),
        ("Vad är 10 000 plus 500?", "10 000 plus 500 är 10500."),
        ("Hur många kilometer är en mil?", "1 mil är 10 kilometer."),
        ("Hur många matskedar är en deciliter?", "1 deciliter är ungefär 6,67 matskedar."),
        ("Vad är 70 fahrenheit i celsius?", "70 grader Fahrenheit är ungefär 21,1 grader Celsius."),
    ],
)
async def test_what_is_said(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said, "sv")
    assert reply is not None
    assert reply.text == answer
