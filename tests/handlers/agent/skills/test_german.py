"""German: what skills understand, what they say, and what they leave to the language model."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask, understood

KNOWN = {
    "GetTime": [
        "Wie spät ist es?",
        "Wie viel Uhr ist es?",
        "Kannst du mir bitte sagen, wie spät es ist?",
        "Sag mir die Uhrzeit.",
        "Meadowlark, wie spät ist es gerade?",
        "Hallo, wie spät ist es?",
        "Also, wie spät haben wir es?",
    ],
    "GetDate": ["Welcher Tag ist heute?", "Den Wievielten haben wir heute?", "Was ist das heutige Datum?"],
    "Greeting": ["Hallo!", "Guten Morgen, Meadowlark.", "Wie geht es dir?", "Hallo, wie geht's?"],
    "Goodbye": ["Gute Nacht.", "Tschüss!"],
    "Thanks": ["Danke.", "Vielen Dank!", "Danke schön.", "Okay, danke.", "Danke, das ist super.", "Danke, das war's."],
    "Cancel": [
        "Stopp.",
        "Abbrechen.",
        "Sei still!",
        "Vergiss es.",
        "Schon gut.",
        "Das war's.",
        "Okay, stopp.",
        "Egal, vergiss es.",
    ],
    "Yes": [
        "Ja.",
        "Ja, bitte.",
        "Ja, gerne.",
        "Na klar!",
        "Mach das.",
        "Ja, mach das.",
        "Ich bin mir sicher.",
        "Genau.",
    ],
    "No": ["Nein.", "Nein, danke.", "Nee.", "Lieber nicht.", "Nein, mach das nicht.", "Auf keinen Fall!", "Lass es."],
    "Repeat": ["Wie bitte?", "Kannst du das noch mal sagen?", "Was hast du gesagt?", "Wiederhole das bitte."],
    "VolumeUp": [
        "Lauter.",
        "Mach lauter.",
        "Sprich lauter!",
        "Dreh die Lautstärke hoch.",
        "Kannst du lauter sprechen?",
    ],
    "VolumeDown": ["Leiser bitte.", "Mach es leiser.", "Nicht so laut!"],
    "Capabilities": ["Was kannst du?", "Was kannst du alles?", "Wer bist du?", "Wie heißt du?", "Hilfe!"],
}

SLOTS = [
    ("Wie spät ist es in New York?", "GetTimeThere", {"place": "New York"}),
    ("Wie viel Uhr ist es jetzt in Tokio, bitte?", "GetTimeThere", {"place": "Tokio"}),
    ("Kannst du mir sagen, wie spät es in Mailand ist?", "GetTimeThere", {"place": "Mailand"}),
    ("Aktuelle Zeit in Los Angeles", "GetTimeThere", {"place": "Los Angeles"}),
    ("Wie spät ist es drüben in Sydney?", "GetTimeThere", {"place": "Sydney"}),
    ("Was ist das morgige Datum?", "GetDateOf", {"day": "morgen"}),
    ("Wann ist dieses Jahr Ostern?", "GetDateOf", {"day": "dieses Jahr Ostern"}),
    ("Und wie viel sind 20% Rabatt auf 50?", "Calculate", {"expression": "20% Rabatt auf 50"}),
    ("Stell die Lautstärke auf Maximum.", "VolumeTo", {"level": "Maximum"}),
    ("Welcher Tag ist morgen?", "GetDateOf", {"day": "morgen"}),
    ("Der Wievielte ist nächsten Freitag?", "GetDateOf", {"day": "nächsten Freitag"}),
    ("Auf welchen Wochentag fällt der 24. Dezember?", "GetDateOf", {"day": "24. Dezember"}),
    ("Wie viele Tage sind es noch bis Weihnachten?", "GetDaysUntil", {"day": "Weihnachten"}),
    ("Wie viele Tage noch bis zum 24. Dezember?", "GetDaysUntil", {"day": "zum 24. Dezember"}),
    ("Was ist 15 Prozent von 80?", "Calculate", {"expression": "15 Prozent von 80"}),
    ("zwölf mal sieben", "Calculate", {"expression": "zwölf mal sieben"}),
    ("Wie viele Gramm sind zwei Unzen?", "ConvertUnits", {"unit": "Gramm", "quantity": "zwei Unzen"}),
    ("Was sind 5 Meilen in Kilometern?", "ConvertUnits", {"quantity": "5 Meilen", "unit": "Kilometern"}),
    ("Stell die Lautstärke auf 30 Prozent.", "VolumeTo", {"level": "30 Prozent"}),
    ("Ein bisschen leiser", "VolumeDown", {"amount": "small"}),
]

NOT_FOR_SKILLS = [
    "Wann macht die Bank auf?",
    "Wie spät fährt der Bus?",
    "Wie spät ist es auf dem Mond?",
    "Wie viel Uhr fängt der Film an?",
    "Welcher Tag ist der beste zum Grillen?",
    "Wann ist Annas Geburtstag?",
    "Wie viele Tage hat der Februar?",
    "Wie viele Menschen leben in Berlin?",
    "Wie lange dauert der Film?",
    "Was ist Liebe?",
    "Und wie?",
    "Also gut.",
    "Gut so.",
    "Was ist heute los?",
    "Danke, aber das war nicht gemeint.",
    "Dreh die Heizung voll auf.",
    "Wie spät ist es in Paris, Texas?",
    "Was macht die Katze?",
    "Was ist die Wurzel allen Übels?",
    "Wie viel ist ein Kaffee?",
    "Was kostet ein Pfund Butter?",
    "Wandle die Datei in PDF um.",
    "Mach das Licht an.",
    "Mach die Heizung höher.",
    "Leiser Regen fällt.",
    "Danke für das Essen gestern.",
    "Stopp die Musik.",
    "Ja, aber nur das rote.",
    "Nein, das andere.",
    "Sag mal hallo auf Spanisch.",
    "Hallo Welt schreiben.",
    "Wer ist der Bundeskanzler?",
    "Was kannst du gegen den Lärm tun?",
]


@pytest.mark.parametrize(
    ("said", "intent"), [(said, intent) for intent, sentences in KNOWN.items() for said in sentences]
)
def test_a_sentence_is_known(skills: Skills, said: str, intent: str) -> None:
    found = understood(skills, said, "de")
    assert found is not None
    assert found[0] == intent


@pytest.mark.parametrize(("said", "intent", "slots"), SLOTS)
def test_the_places_of_a_sentence_are_as_they_were_said(
    skills: Skills, said: str, intent: str, slots: dict[str, str]
) -> None:
    assert understood(skills, said, "de") == (intent, slots)


@pytest.mark.parametrize("said", NOT_FOR_SKILLS)
def test_a_near_miss_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert understood(skills, said, "de") is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Wie spät ist es?", "Es ist 15:05."),
        ("Wie spät ist es in Tokio?", "In Tokio ist es 22:05."),
        ("Wie spät ist es in Auckland?", "In Auckland ist es 01:05, am Donnerstag."),
        ("Welcher Tag ist heute?", "Heute ist Mittwoch, der 3. Juni 2026."),
        ("Welcher Tag ist übermorgen?", "Das ist Freitag, der 5. Juni 2026."),
        ("Wann ist Ostern?", "Das ist Sonntag, der 28. März 2027."),
        ("Wie spät ist es in Paris, Frankreich?", "In Paris, Frankreich ist es 15:05."),
        ("Wann ist Ostern dieses Jahr?", "Das war Sonntag, der 5. April 2026."),
        ("Was ist 3/4 von 60?", "3/4 von 60 ist 45."),
        ("Wie viele Tage sind es bis Weihnachten?", "Noch 205 Tage bis Weihnachten."),
        ("Wie viele Tage sind es bis morgen?", "Noch ein Tag bis morgen."),
        ("Wie viel ist 3,5 plus 2,25?", "3,5 plus 2,25 ist 5,75."),
        ("Was ist die Wurzel aus 2?", "Die Wurzel aus 2 ist ungefähr 1,41."),
        ("Wie viel ist 7 geteilt durch null?", "Durch null kann man nicht teilen."),
        ("Was ist 3 minus 5?", "3 minus 5 ist minus 2."),
        ("Was ist 15 % von 80?", "15 Prozent von 80 ist 12."),
        ("Wie viele Tassen sind ein Liter?", "1 Liter sind 4 Tassen."),
        ("Wie viel Gramm hat ein Pfund?", "1 Pfund sind 500 Gramm."),
        ("Wie viel sind 70 Grad Fahrenheit in Celsius?", "70 Grad Fahrenheit sind ungefähr 21,1 Grad Celsius."),
        ("Ein Meter achtzig in Zentimeter", "1 Meter 80 Zentimeter sind 180 Zentimeter."),
    ],
)
async def test_what_is_said(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said, "de")
    assert reply is not None
    assert reply.text == answer
