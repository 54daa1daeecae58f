"""How loud a place becomes."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask

SILENT = {
    "en": ("Mute.", "Unmute."),
    "de": ("Stumm.", "Mach den Ton an."),
    "sv": ("Stäng av ljudet.", "Sätt på ljudet."),
    "fr": ("Coupe le son.", "Remets le son."),
    "es": ("Quita el sonido.", "Activa el sonido."),
}


@pytest.mark.parametrize("language", SILENT)
async def test_silence_is_asked_for_and_ended(skills: Skills, language: str) -> None:
    for said, level in zip(SILENT[language], (0, 50), strict=True):
        reply = await ask(skills, said, language)
        assert reply is not None
        assert reply.volume_to == level


@pytest.mark.parametrize(
    ("said", "language"),
    [
        ("Set the volume to 200.", "en"),
        ("Volume minus 5", "en"),
        ("Stell die Lautstärke auf 200.", "de"),
        ("Sätt volymen på 200.", "sv"),
        ("Mets le volume à 200.", "fr"),
        ("Pon el volumen al 200.", "es"),
    ],
)
async def test_a_level_that_there_is_not_changes_nothing(skills: Skills, said: str, language: str) -> None:
    reply = await ask(skills, said, language)
    assert reply is not None
    assert "100" in reply.text
    assert reply.volume_to is None
    assert reply.volume is None


@pytest.mark.parametrize("said", ["Mute the TV.", "Set the volume to eleven o'clock.", "Turn off the light."])
def test_what_is_no_volume_of_ours_goes_elsewhere(skills: Skills, said: str) -> None:
    assert skills.match(said, "en") is None
