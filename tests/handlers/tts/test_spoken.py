"""Numbers, units and signs become the words that a person would say."""

import pytest

from handlers.tts.spoken import read_aloud
from handlers.tts.words import WORDS

ENGLISH = [
    ("21.5°C", "21.5 degrees Celsius"),
    ("21 °F", "21 degrees Fahrenheit"),
    ("1°C or 90°", "1 degree Celsius or 90 degrees"),
    ("-5°C and -3 to −1", "minus 5 degrees Celsius and minus 3 to minus 1"),
    ("50% or 12.5 %", "50 percent or 12.5 percent"),
    ("3 km/h, 1 km/h", "3 kilometers per hour, 1 kilometer per hour"),
    ("230 V, 230V, 16 A", "230 volts, 230 volts, 16 amps"),
    ("1.2 kWh, 5 kWh/day", "1.2 kilowatt hours, 5 kilowatt hours per day"),
    ("5 GB at 100 Mbit/s", "5 gigabytes at 100 megabits per second"),
    ("10 m², 2 m³, 5 m/s²", "10 square meters, 2 cubic meters, 5 meters per second squared"),
    ("12 µg/m³", "12 micrograms per cubic meter"),
    ("1013 hPa, 400 ppm, 60 Hz, 3 dB", "1013 hectopascals, 400 parts per million, 60 hertz, 3 decibels"),
    ("2700 K and 4K", "2700 kelvin and 4K"),
    ("5 min, 1 h, 10 s", "5 minutes, 1 hour, 10 seconds"),
    ("the 80s, 5G, room 3A, in 2026 A new", "the 80s, 5G, room 3A, in 2026 A new"),
    ("€5.20", "5 euros and 20 cents"),
    ("$5, $1, $0.99, £3.01", "5 dollars, 1 dollar, 99 cents, 3 pounds and 1 penny"),
    ("€1,200 or 1,200.50 €", "1,200 euros or 1,200 euros and 50 cents"),
    ("$1.5 million, $5k, 5 USD", "1.5 million dollars, 5 thousand dollars, 5 dollars"),
    ("0.30 €/kWh", "30 cents per kilowatt hour"),
    ("10–12, 10-12, 10 - 12", "10 to 12, 10 to 12, 10 to 12"),
    ("10–12 °C, 10%–20%", "10 to 12 degrees Celsius, 10 percent to 20 percent"),
    ("Mon–Fri", "Mon to Fri"),
    ("5 - 3 = 2", "5 minus 3 equals 2"),
    ("14:30, 14:00, 7:00, 7:05, 0:00", "14:30, 14 hundred, 7 o'clock, 7 oh 5, midnight"),
    ("7:05 pm, 7:00 pm, 7:30 a.m. today", "7 oh 5 PM, 7 PM, 7:30 AM today"),
    ("2026-11-20", "November 20, 2026"),
    ("2026-11-20T14:30:00Z", "November 20, 2026 14:30"),
    ("20.11.2026, 11/20/2026, 2026-99-99", "November 20, 2026, November 20, 2026, 2026-99-99"),
    ("1,234,567 and 1st and 0.5", "1,234,567 and 1st and 0.5"),
    (".5", "0.5"),
    ("192.168.1.10, v2026.11.3", "192 dot 168 dot 1 dot 10, v2026 dot 11 dot 3"),
    ("+49 170 1234567", "plus 4 9, 1 7 0, 1 2 3 4 5 6 7"),
    ("555-1234", "5 5 5, 1 2 3 4"),
    ("12345678901234", "1 2 3 4 5 6 7 8 9 0 1 2 3 4"),
    ("1½ cups", "1 and a half cups"),
    ("3/4 and 1/2", "three quarters and a half"),
    ("salt & pepper", "salt and pepper"),
    ("#3 of № 4", "number 3 of number 4"),
    ("2 + 2 = 4", "2 + 2 equals 4"),
    ("~5, ≈ 6", "about 5, about 6"),
    ("x ≤ 5, x ≥ 4, 3 < 5, 7 > 6", "x at most 5, x at least 4, 3 less than 5, 7 more than 6"),
    ("x², x³, x^4, 10⁻⁶", "x squared, x cubed, x to the power of 4, 10 to the power of minus 6"),
    ("5×3, 2x4, 8 ÷ 2, ±1", "5 times 3, 2 times 4, 8 divided by 2, plus or minus 1"),
    ("Settings → System, 20 → 21", "Settings, System, 20 to 21"),
    ("and/or", "and or"),
    ("CO2 and CO₂", "C O 2 and C O 2"),
    ("Dr. Smith vs. No. 5", "Dr Smith versus number 5"),
    ("No. It is off", "No. It is off"),
]

OTHERS = [
    ("de", "21,5°C bei 50 %", "21,5 Grad Celsius bei 50 Prozent"),
    ("de", "3 km/h, 1 h", "3 Kilometer pro Stunde, 1 Stunde"),
    ("de", "5,20 € oder 1 €", "5 Euro und 20 Cent oder 1 Euro"),
    ("de", "14:30 Uhr, 14:00 Uhr, 7:05", "14 Uhr 30, 14 Uhr, 7 Uhr 5"),
    ("de", "am 3. November, 3. November", "am dritten November, dritter November"),
    ("de", "der 21. Tag, die 1. Etage", "der einundzwanzigste Tag, die erste Etage"),
    ("de", "am 20.11.2026, 2026-11-20", "am zwanzigsten November 2026, zwanzigster November 2026"),
    ("de", "1.234.567", "1.234.567"),
    ("de", "z. B. Nr. 5", "zum Beispiel Nummer 5"),
    ("de", "10–12 und -5", "10 bis 12 und minus 5"),
    ("fr", "1,5 °C, 21 °C, -5", "1,5 degré Celsius, 21 degrés Celsius, moins 5"),
    ("fr", "14h30, 14:00", "14 heures 30, 14 heures"),
    ("fr", "5,20 €, 3 km/h", "5 euros et 20 centimes, 3 kilomètres par heure"),
    ("es", "21 °C, 50 %, -5", "21 grados Celsius, 50 por ciento, menos 5"),
    ("es", "5,20 €, 2026-11-20", "5 euros y 20 céntimos, 20 de noviembre de 2026"),
    ("sv", "21,5 °C, 3,7", "21 komma 5 grader Celsius, 3 komma 7"),
    ("sv", "5 kr, 3 km/h, 14:00", "5 kronor, 3 kilometer per timme, 14"),
    ("xx", "21.5°C, 50%, 10-12, -5", "21.5°C, 50%, 10-12, -5"),
    ("en-GB", "11/12/2026", "December 11, 2026"),
    ("en-US", "11/12/2026", "November 12, 2026"),
    ("de_AT", "5 %", "5 Prozent"),
]


def spoken(text: str, language: str) -> str:
    return " ".join(read_aloud(text, language).split()).replace(" ,", ",")


@pytest.mark.parametrize(("text", "said"), ENGLISH)
def test_english(text: str, said: str) -> None:
    assert spoken(text, "en") == said


@pytest.mark.parametrize(("language", "text", "said"), OTHERS)
def test_other_languages(language: str, text: str, said: str) -> None:
    assert spoken(text, language) == said


@pytest.mark.parametrize("language", sorted(WORDS))
def test_tables_are_whole(language: str) -> None:
    words = WORDS[language]
    assert len(words.months.split()) == 12
    assert {"°C", "%", "km", "h", "kWh"} <= words.units.keys()
    assert words.currencies["€"][0]
    for symbol, (one, many) in words.units.items():
        assert spoken(f"2 {symbol}" if symbol != "K" else "200 K", language).split(" ", 1)[1] == many
        assert one


@pytest.mark.parametrize("language", sorted(WORDS))
def test_read_aloud_twice_changes_nothing(language: str) -> None:
    for text, _ in ENGLISH:
        once = spoken(text, language)
        assert spoken(once, language) == once
