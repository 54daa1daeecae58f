"""The time elsewhere."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from handlers.agent.skills.places import zone_of, zone_within
from tests.support.skills import ask


@pytest.mark.parametrize(
    ("place", "language", "zone"),
    [
        ("Tokyo", "en", "Asia/Tokyo"),
        ("Tokio", "de", "Asia/Tokyo"),
        ("New York", "en", "America/New_York"),
        ("Nueva York", "es", "America/New_York"),
        ("San Francisco", "en", "America/Los_Angeles"),
        ("zurich", "en", "Europe/Zurich"),
        ("Zürich", "de", "Europe/Zurich"),
        ("Rom", "de", "Europe/Rome"),
        ("Londres", "fr", "Europe/London"),
        ("Köpenhamn", "sv", "Europe/Copenhagen"),
        ("Japan", "en", "Asia/Tokyo"),
        ("Japon", "fr", "Asia/Tokyo"),
        ("Spanien", "sv", "Europe/Madrid"),
        ("Deutschland", "de", "Europe/Berlin"),
        ("India", "es", "Asia/Kolkata"),
        ("Buenos Aires", "en", "America/Argentina/Buenos_Aires"),
    ],
)
def test_a_place_has_a_zone(place: str, language: str, zone: str) -> None:
    found = zone_of(place, language)
    assert found is not None
    assert found.key in (zone, {"America/Argentina/Buenos_Aires": "America/Buenos_Aires"}.get(zone, zone))


@pytest.mark.parametrize("place", ["", "Narnia", "bed", "the kitchen", "Russia", "United States", "GMT0", "Etc"])
def test_what_has_no_single_zone_has_none(place: str) -> None:
    assert zone_of(place, "en") is None


@pytest.mark.parametrize(
    ("city", "country", "language", "zone"),
    [
        ("Paris", "France", "en", "Europe/Paris"),
        ("Paris", "Texas", "en", None),
        ("Paris", "Germany", "en", None),
        ("Boston", "USA", "en", "America/New_York"),
        ("Edinburgh", "Scotland", "en", "Europe/London"),
        ("San Francisco", "California", "en", "America/Los_Angeles"),
        ("Sydney", "Australien", "de", "Australia/Sydney"),
        ("Moscou", "Russie", "fr", "Europe/Moscow"),
        ("Narnia", "England", "en", None),
        ("", "", "en", None),
    ],
)
def test_a_city_is_known_in_its_own_country(city: str, country: str, language: str, zone: str | None) -> None:
    found = zone_within(city, country, language)
    assert (found.key if found else None) == zone


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("What time is it in Tokyo?", "In Tokyo it's 10:05 PM."),
        ("what time is it in new york", "In New York it's 9:05 AM."),
        ("What time is it in the UK?", "In the UK it's 2:05 PM."),
        ("What time is it in Sydney, Australia?", "In Sydney, Australia it's 11:05 PM."),
        ("what time is it in mumbai india", "In Mumbai India it's 6:35 PM."),
        ("What's the current New York time?", "In New York it's 9:05 AM."),
        ("What time is it in Auckland?", "In Auckland it's 1:05 AM on Thursday."),
    ],
)
async def test_the_time_elsewhere_is_said(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said)
    assert reply is not None
    assert reply.text == answer


@pytest.mark.parametrize(
    ("said", "language", "answer"),
    [
        ("What's the date in Sydney?", "en", "In Sydney it's Wednesday"),
        ("Welches Datum ist in Tokio?", "de", "In Tokio ist Mittwoch"),
        ("Vilket datum är det i Tokyo?", "sv", "I Tokyo är det onsdag"),
        ("Quelle est la date à Sydney ?", "fr", "À Sydney, nous sommes le mercredi"),
        ("¿Qué día es en Tokio?", "es", "En Tokio es miércoles"),
    ],
)
async def test_the_date_elsewhere(skills: Skills, said: str, language: str, answer: str) -> None:
    reply = await ask(skills, said, language)
    assert reply is not None
    assert reply.text.startswith(answer)


@pytest.mark.parametrize("said", ["What's the date in German?", "What's the date in Narnia?"])
def test_the_date_of_no_place_goes_elsewhere(skills: Skills, said: str) -> None:
    assert skills.match(said, "en") is None
