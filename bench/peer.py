"""What all benchmarks need of a Wyoming server: its address, its programs, its errors, and audio sent in real time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info

from handlers.audio import BYTES_PER_SECOND, RATE, SPEECH, WIDTH, AudioFormat
from handlers.errors import DeadlineError, EngineError, MeadowlarkError, SettingsError
from handlers.wire.client import WyomingClient, connect

Address = tuple[str, int]

CHUNK_SECONDS = 0.02
"""As the satellite sends it."""

_DESCRIBE_SECONDS = 10.0
"""Peers with many voices build their answer for a second or two."""

_PROGRAM_KINDS = ("asr", "tts", "handle", "intent", "wake")


class PeerError(EngineError):
    """What a server answered instead of what was asked for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def expect(client: WyomingClient, timeout: float | None = None) -> Event:
    """The next event. PeerError when the server closed, DeadlineError when none begins within `timeout` s."""
    event = await client.receive(timeout)
    if event is None:
        raise PeerError("closed", "The server closed the connection in the middle of the turn")
    return event


def error_of(event: Event) -> PeerError:
    """The error that an `error` event tells."""
    text, code = event.data.get("text"), event.data.get("code")
    return PeerError(str(code or "error"), str(text or "The server gave no reason"))


def text_of(event: Event) -> str:
    """The `text` of an event, or '' where there is none."""
    text = event.data.get("text")
    return text if isinstance(text, str) else ""


def format_of(event: Event) -> AudioFormat:
    """The format that an `audio-start` or `audio-chunk` states. Raises PeerError or AudioError."""
    rate, width, channels = (event.data.get(key) for key in ("rate", "width", "channels"))
    if not isinstance(rate, int) or not isinstance(width, int) or not isinstance(channels, int):
        raise PeerError("malformed", f"The server's '{event.type}' does not state its audio format")
    audio_format = AudioFormat(rate, width, channels)
    audio_format.check()
    return audio_format


async def programs(address: Address) -> list[str]:
    """What answers at an address, as 'asr faster-whisper 3.8.1 (base)'. SettingsError when nothing does."""
    host, port = address
    try:
        async with connect(host, port) as client:
            return await _describe(client)
    except (OSError, DeadlineError) as error:
        reason = str(error) if isinstance(error, DeadlineError) else error.strerror or str(error)
        raise SettingsError(f"No Wyoming server answers at tcp://{host}:{port} ({reason}): start it first") from None


class PacedAudio:
    """Internal audio that leaves as from a microphone: each chunk when it is over, by the clock and not by sleeping its
    length again and again, so that nothing drifts."""

    def __init__(
        self,
        pcm: bytes,
        send_chunk: Callable[[bytes], Awaitable[None]],
        send_end: Callable[[], Awaitable[None]],
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> None:
        self._pcm = pcm
        self._send_chunk = send_chunk
        self._send_end = send_end
        self._chunk_bytes = int(chunk_seconds * RATE) * WIDTH
        self._stopped = False
        self.started = time.monotonic()
        """When the first sample was spoken."""
        self.late = 0.0
        """Seconds that the latest chunk was late: more than a few ms mean that this machine was too busy to measure."""

    def due(self, offset: int) -> float:
        """When the audio up to a byte has been spoken."""
        return self.started + offset / BYTES_PER_SECOND

    def stop(self) -> None:
        """Send no more than the end."""
        self._stopped = True

    async def send(self) -> None:
        """Send all of it, and the end."""
        for offset in range(0, len(self._pcm), self._chunk_bytes):
            piece = self._pcm[offset : offset + self._chunk_bytes]
            due = self.due(offset + len(piece))
            await asyncio.sleep(due - time.monotonic())
            if self._stopped:
                break
            self.late = max(self.late, time.monotonic() - due)
            await self._send_chunk(piece)
        await self._send_end()


@contextlib.asynccontextmanager
async def speaking(
    client: WyomingClient, pcm: bytes, chunk_seconds: float = CHUNK_SECONDS
) -> AsyncIterator[PacedAudio]:
    """Send `audio-start`, then `pcm` in real time and `audio-stop` while the `with` block runs."""

    async def send_chunk(piece: bytes) -> None:
        await client.send(AudioChunk(SPEECH.rate, SPEECH.width, SPEECH.channels, piece).event())

    async def send_end() -> None:
        await client.send(AudioStop().event())

    await client.send(AudioStart(SPEECH.rate, SPEECH.width, SPEECH.channels).event())
    async with sending(PacedAudio(pcm, send_chunk, send_end, chunk_seconds)) as audio:
        yield audio


@contextlib.asynccontextmanager
async def sending(audio: PacedAudio) -> AsyncIterator[PacedAudio]:
    """Send it while the `with` block runs; what is left at its end is not sent."""
    task = asyncio.create_task(audio.send())
    try:
        yield audio
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)  # what made it fail, the reader meets too


async def _describe(client: WyomingClient) -> list[str]:
    """What the server says of itself; nothing when it does not say it in time, for its turns will show more."""
    try:
        async with asyncio.timeout(_DESCRIBE_SECONDS):
            await client.send(Describe().event())
            while not Info.is_type((event := await expect(client)).type):
                pass
    except (TimeoutError, MeadowlarkError):
        return []
    return _installed(event)


def _installed(event: Event) -> list[str]:
    found = []
    for kind in _PROGRAM_KINDS:
        entries = event.data.get(kind)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("installed"):
                models = entry.get("models") or entry.get("voices") or []
                names = [str(model.get("name") or "") for model in models if isinstance(model, dict)]
                names = [name.rpartition("/")[2] for name in names if name]  # a folder says more than is asked
                shown = f"({', '.join(names)})" if 0 < len(names) <= 3 else f"({len(names)} models)"
                found.append(f"{kind} {entry.get('name')} {entry.get('version') or ''} {shown}".replace("  ", " "))
    return found
