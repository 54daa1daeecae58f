"""The doctor's check of the way from speaker to microphone: is it heard, how late, and is it taken away again?"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from handlers.audio import BYTES_PER_SECOND, RATE, SPEECH, WIDTH, AudioFormat
from handlers.errors import AudioError
from satellite.findings import Finding, Person, Tell, advice, ok, problem
from satellite.front_end import FrontEnd, open_front_end
from satellite.measure import Sound, decibels, find, measure, sea
from satellite.settings import SatelliteSettings
from satellite.sink import open_sink
from satellite.source import Source
from satellite.volume import Volume, VolumeSink

_LATE_SECONDS = 10.0
"""Beyond its own length no playing takes longer: the speaker, or the microphone, is stuck."""

_AFTER_SECONDS = 0.8
"""A speaker by Bluetooth is up to 0.5 s late."""

_CANCELLED = 6.0
"""dB. With less of it the echo is half as loud as without, or louder: then the canceller has not found its delay."""

_FAINT_ECHO = 10.0
"""dB over the room; of a quieter echo it cannot be measured how much is taken away, and need not."""

_GAVE_NOTHING = "The microphone gave no sound while the speaker played: end what else uses them, and try once more"


async def check_echo(
    source: Source, settings: SatelliteSettings, room: Sound, person: Person | None, tell: Tell
) -> None:
    """Play something and listen for it."""
    if person is not None:
        person.say("Now a sound like the sea is played; be quiet, please ...")
    echo = Echo(source, open_front_end(settings.front_end))
    try:
        await echo.listen(settings)
    except (AudioError, TimeoutError) as error:
        tell(problem("speaker", str(error) or _GAVE_NOTHING))
        return
    delay = await asyncio.to_thread(echo.delay)
    if delay is not None:
        for finding in judge_echo(echo, delay, room, settings.front_end.echo_cancellation):
            tell(finding)
        return
    heard = await person.confirms("Did you hear the sound?") if person is not None else None
    tell(judge_unheard(heard))


def judge_unheard(by_person: bool | None) -> Finding:
    """What it says that the microphone does not hear the speaker, where the person does, does not or did not say."""
    unheard = "The microphone does not hear the speaker"
    to_do = "Turn the speaker up, unmute it (alsamixer, pavucontrol), or choose another one (--speaker)"
    if by_person:
        return ok("speaker", f"{unheard}, and you do: nothing has to be cancelled", heard=False)
    if by_person is None:
        return advice("speaker", unheard, f"{to_do}, unless it is meant to be so, as with headphones", heard=False)
    return problem("speaker", f"{unheard}, and neither do you", to_do, heard=False)


class Echo:
    """Records while a test sound is played: as the microphone gives it, and as the front end leaves it."""

    def __init__(self, source: Source, front_end: FrontEnd) -> None:
        self._source = source
        self._front_end = front_end
        self._played = sea()
        self._heard = bytearray()
        self._cleaned = bytearray()
        self._began = float("inf")
        """When the first sample was captured, on time.monotonic()."""
        self._sounds_at: float | None = None
        """When the sound's beginning is to be heard, as the speaker says."""

    async def listen(self, settings: SatelliteSettings) -> None:
        """Play and record. Raises AudioError, or TimeoutError where the microphone gives nothing."""
        playing = asyncio.create_task(self._play(settings))
        try:
            await self._record(lambda: playing.done())
            await playing
            until = len(self._heard) + int(_AFTER_SECONDS * BYTES_PER_SECOND)
            await self._record(lambda: len(self._heard) >= until)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    def delay(self) -> int | None:
        """Samples of the recording before the sound begins in it; None where it is not heard."""
        return find(self._played, bytes(self._heard))

    def late(self, delay: int) -> float:
        """By how many seconds the sound was heard later than the speaker said."""
        return self._began + delay / RATE - (self._sounds_at or 0.0)

    def levels(self, delay: int) -> tuple[float, float]:
        """dBFS of the sound's last quarter, as heard and as left by the front end."""
        length = len(self._played) // WIDTH
        begin, end = (WIDTH * (delay + length * quarters // 4) for quarters in (3, 4))
        return _level(self._heard[begin:end]), _level(self._cleaned[begin:end])

    async def _record(self, is_enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(len(self._played) / BYTES_PER_SECOND + 2 * _LATE_SECONDS):
            while not is_enough():
                piece = await self._source.read()
                if not piece:
                    raise AudioError("The microphone ended while the sound was played")
                self._heard += piece
                self._began = min(self._began, time.monotonic() - len(self._heard) / BYTES_PER_SECOND)
                self._cleaned += self._front_end.process(piece)

    async def _play(self, settings: SatelliteSettings) -> None:
        def tap(pcm: bytes, audio_format: AudioFormat, at: float) -> None:
            if self._sounds_at is None:
                self._sounds_at = at
            self._front_end.reference(pcm, audio_format, at)

        sink = VolumeSink(await open_sink(settings.speaker, tap=tap), Volume(settings.volume))
        try:
            await sink.start(SPEECH)
            await sink.write(self._played)
            await sink.drain()
        finally:
            with contextlib.suppress(AudioError):  # it has failed already
                await sink.close()


def _level(pcm: bytes | bytearray) -> float:
    return measure(bytes(pcm)).level if len(pcm) > BYTES_PER_SECOND // 10 else decibels(0.0)


def judge_echo(echo: Echo, delay: int, room: Sound, cancels: bool) -> list[Finding]:
    """What it says that the microphone hears the speaker."""
    heard, left = echo.levels(delay)
    above = heard - room.level
    late = 1000 * echo.late(delay)
    numbers = {"level_dbfs": round(heard, 1), "above_room_db": round(above, 1), "delay_ms": round(late)}
    path = f"the microphone hears it at {heard:.0f} dBFS, {above:.0f} dB above the room, {late:.0f} ms after it was due"
    findings = [ok("speaker", path, heard=True, **numbers)]
    taken = heard - left
    if not cancels:
        findings.append(
            advice(
                "echo",
                "Echo cancellation is off",
                "Set front_end.echo_cancellation, unless your speakerphone does that itself",
            )
        )
    elif above < _FAINT_ECHO:
        findings.append(ok("echo", "too quiet to disturb"))
    elif taken < _CANCELLED:
        findings.append(
            advice(
                "echo",
                f"Of the speaker's sound only {taken:.0f} dB are taken away",
                "Lower the `volume`, move the speaker away from the microphone, and end what else plays or computes",
                cancelled_db=round(taken, 1),
            )
        )
    else:
        findings.append(ok("echo", f"{taken:.0f} dB of it are taken away", cancelled_db=round(taken, 1)))
    return findings
