"""What the satellite sounds when it is called comes back through its microphone, and is not taken for words."""

from __future__ import annotations

import numpy as np
import pytest
from wyoming.event import Event

from handlers.audio import RATE, from_float, to_float
from satellite.happenings import Kind
from satellite.sounds import SoundSettings, open_sounds
from tests.server.test_services import send_audio
from tests.support.server import ServerProcess, read_until
from tests.support.speech import Speaker, silence


async def chime(gain: float, at: float, length: int) -> np.ndarray:
    """The sound of being called as a microphone hears it, `at` seconds into so many samples."""
    sounds = await open_sounds(SoundSettings())
    tone = gain * to_float(sounds[Kind.WOKEN])
    heard = np.zeros(length, np.float32)
    begin = int(at * RATE)
    heard[begin : begin + len(tone)] = tone[: length - begin]
    return heard


async def transcribe(server: ServerProcess, pcm: bytes) -> tuple[str, str]:
    """The transcript, or the code of the error."""
    async with server.client() as client:
        await client.send(Event("run-pipeline", {"start_stage": "asr", "end_stage": "asr"}))
        await send_audio(client, pcm)
        last = (await read_until(client, "transcript", "error"))[-1]
    return (last.data["text"] if last.type == "transcript" else "", last.data.get("code", ""))


@pytest.mark.parametrize(
    ("gain", "at", "lead"),
    [
        pytest.param(1.0, 0.1, 0.6, id="as loud as it is played, before the request"),
        pytest.param(0.25, 0.1, 0.1, id="what is left of it, upon a request in the same breath"),
    ],
)
async def test_the_chime_is_not_transcribed(
    server: ServerProcess, speaker: Speaker, gain: float, at: float, lead: float
) -> None:
    asked = silence(lead) + speaker.say("What time is it?") + silence(0.3)
    samples = to_float(asked)
    mixed = np.clip(samples + await chime(gain, at, len(samples)), -1, 1)
    expected, _ = await transcribe(server, asked)
    heard, _ = await transcribe(server, from_float(mixed))
    assert "what time is it" in expected.lower()
    assert heard.lower().strip(" .?") == expected.lower().strip(" .?")


async def test_the_chime_alone_is_no_request(server: ServerProcess) -> None:
    heard = await chime(1.0, 0.1, 4 * RATE)
    text, code = await transcribe(server, from_float(heard))
    assert (text, code) == ("", "no-speech")
