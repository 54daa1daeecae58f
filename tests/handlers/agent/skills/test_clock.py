"""The time elsewhere."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from handlers.agent.skills.places import zone_of
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
    ("said", "answer"),
    [
        ("What time is it in Tokyo?", "In Tokyo it's 10:05 PM."),
        ("what time is it in new york", "In New York it's 9:05 AM."),
        ("What time is it in the UK?", "In the UK it's 2:05 PM."),
        ("What time is it in Auckland?", "In Auckland it's 1:05 AM on Thursday."),
    ],
)
async def test_the_time_elsewhere_is_said(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said)
    assert reply is not None
    assert reply.text == answer
