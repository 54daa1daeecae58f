"""The server's Wyoming port: speech to text, text to speech and wake words, each request on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import override

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import PlatformNotReady
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice
from wyoming.wake import Detect, Detection, NotDetected

from .const import DOMAIN, LOGGER
from .data import MeadowlarkConfigEntry

RATE = 16_000
WIDTH = 2
CHANNELS = 1
"""Of the audio that Home Assistant hears: 16 kHz mono s16le."""

CONNECT_SECONDS = 5.0
"""A server on the same network answers in milliseconds; more means that it is not there."""

DESCRIBE_SECONDS = 5.0
"""The answer is made when the server starts, so it costs nothing at any load."""

IDLE_SECONDS = 30.0
"""Between two events while the server works, and for it to take one: a slow machine needs seconds for a sentence."""

LISTEN_SECONDS = 60.0
"""Between two events while somebody speaks: the server ends speech of 30 s at the latest, and 15 s by default."""


class AudioError(Exception):
    """The server cannot do it, or is gone. `code` is the server's, or unreachable, closed, timeout, bad-event."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Heard:
    """A wake word."""

    name: str
    milliseconds: int
    """When, on the clock of the audio that was given."""
    unsent: tuple[bytes, int] | None = None
    """Audio that had come, with its time, and was not needed any more: it belongs to what is said next."""


class AudioClient:
    """What the server offers on its Wyoming port. Holds no connection between requests."""

    def __init__(self, host: str, port: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self.host = host
        self.port = port
        self._idle = idle_seconds
        self.info: Info | None = None
        """What `describe` said last."""
        self._asking = asyncio.Lock()
        self._complained = False
        self._listeners: list[Callable[[], None]] = []

    async def offer(self) -> Info:
        """What `describe` said last. AudioError when it has never been answered."""
        async with self._asking:  # the platforms are set up side by side, and one answer is enough for all
            return self.info or await self.describe()

    async def describe(self) -> Info:
        """What the server offers now: its languages, voices and wake words. AudioError."""
        async with self._connected() as connection:
            connection.expect(DESCRIBE_SECONDS)
            await connection.send(Describe())
            while not Info.is_type((event := await connection.receive()).type):
                pass
            self.info = _parsed(Info.from_event, event)
        for listener in list(self._listeners):
            listener()
        return self.info

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever the server has said what it offers. Returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def transcribe(self, audio: AsyncIterable[bytes], language: str) -> str:
        """The words in audio of 16 kHz mono s16le, as soon as the server finds that the speaker has ended. AudioError.

        `audio` is closed then, even while more of it comes.
        """
        async with _closing(audio), self._connected() as connection:
            connection.expect(LISTEN_SECONDS)
            await connection.send(Transcribe(language=language))
            await connection.send(AudioStart(RATE, WIDTH, CHANNELS))
            async with _meanwhile(connection, self._send_audio(connection, audio)):
                while not Transcript.is_type((event := await connection.receive()).type):
                    pass
            return _parsed(Transcript.from_event, event).text

    async def synthesize(
        self, text: AsyncIterable[str], voice: SynthesizeVoice | None
    ) -> AsyncGenerator[AudioStart | AudioChunk]:
        """Speech for a text that is still being written: its format, then audio as it is ready. AudioError.

        Closing it stops the synthesis.
        """
        async with _closing(text), self._connected() as connection:
            await connection.send(SynthesizeStart(voice=voice))
            started = False
            async with _meanwhile(connection, self._send_text(connection, text)):
                while not SynthesizeStopped.is_type((event := await connection.receive()).type):
                    if AudioChunk.is_type(event.type):
                        yield _parsed(AudioChunk.from_event, event)
                    elif AudioStart.is_type(event.type) and not started:
                        started = True
                        yield _parsed(AudioStart.from_event, event)

    async def detect(self, audio: AsyncIterable[tuple[bytes, int]], name: str | None) -> Heard | None:
        """The wake word of this name, or any, in audio with its times in milliseconds; None at its end. AudioError.

        `audio` is left open, as what follows in it is the command. It is never left in the middle of a piece.
        """
        async with self._connected() as connection:
            await connection.send(Detect(names=[name] if name else None))
            await connection.send(AudioStart(RATE, WIDTH, CHANNELS))
            hearing = asyncio.create_task(_detection(connection, name), name="meadowlark wake word")
            try:
                began: int | None = None
                unsent: tuple[bytes, int] | None = None
                async for pcm, milliseconds in audio:
                    began = milliseconds if began is None else began
                    if hearing.done():
                        unsent = pcm, milliseconds
                        break
                    await connection.send(AudioChunk(RATE, WIDTH, CHANNELS, pcm, timestamp=milliseconds))
                else:
                    await connection.send(AudioStop())
                    connection.expect(self._idle)
                detection = await hearing
            finally:
                await _ended(hearing)
        if detection is None:
            return None
        return Heard(detection.name or name or "", (began or 0) + (detection.timestamp or 0), unsent)

    def worked(self) -> None:
        """A request was served: the next problem is worth a line in the log again."""
        self._complained = False

    def complain(self, what: str, error: AudioError) -> None:
        """Log a failed request, the first of a row for the owner to see."""
        log = LOGGER.debug if self._complained else LOGGER.warning
        log("%s failed: %s", what, error.text)
        self._complained = True

    async def _send_audio(self, connection: _Connection, audio: AsyncIterable[bytes]) -> None:
        sent = 0
        async for pcm in audio:
            await connection.send(AudioChunk(RATE, WIDTH, CHANNELS, pcm))
            sent += len(pcm)
        await connection.send(AudioStop())
        # A file is transcribed after it was sent, and a long one takes long.
        connection.expect(self._idle + sent / (RATE * WIDTH * CHANNELS))

    async def _send_text(self, connection: _Connection, text: AsyncIterable[str]) -> None:
        async for piece in text:
            if piece:
                await connection.send(SynthesizeChunk(text=piece))
        await connection.send(SynthesizeStop())
        connection.expect(self._idle)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Connection]:
        connection = _Connection(self.host, self.port, self._idle)
        try:
            await connection.connect()
            yield connection
        finally:
            connection.abort()


async def async_offer(entry: MeadowlarkConfigEntry) -> Info:
    """What the server offers, for a platform that is set up; PlatformNotReady when it does not say."""
    audio = entry.runtime_data.audio
    try:
        return await audio.offer()
    except AudioError as error:
        raise PlatformNotReady(
            translation_domain=DOMAIN,
            translation_key="wyoming_unreachable",
            translation_placeholders={"reason": error.text, "host": audio.host, "port": str(audio.port)},
        ) from error


@callback
def async_keep_current(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Ask anew what the server offers whenever it comes back: it may have other voices, models and wake words.

    Home Assistant takes an entity's languages as they are at set-up, so that others need the entry to be reloaded.
    """
    data = entry.runtime_data
    connected = data.link.connected
    been = connected

    @callback
    def changed() -> None:
        nonlocal connected, been
        before, connected = connected, data.link.connected
        if connected and not before:
            if been:
                entry.async_create_background_task(hass, _refresh(hass, entry), "meadowlark offer")
            been = True

    entry.async_on_unload(data.link.subscribe(changed))


async def _refresh(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    audio = entry.runtime_data.audio
    try:
        before = languages(await audio.offer())
        after = languages(await audio.describe())
    except AudioError as error:
        LOGGER.debug("What the server offers is not known: %s", error.text)
        return
    if after != before:
        hass.config_entries.async_schedule_reload(entry.entry_id)


def languages(info: Info) -> tuple[set[str], set[str]]:
    """The languages that are understood, and those that are spoken."""
    return (
        {tag for program in info.asr for model in program.models if model.installed for tag in model.languages},
        {tag for program in info.tts for voice in program.voices if voice.installed for tag in voice.languages},
    )


class _Connection(AsyncTcpClient):
    """A Wyoming connection on which no wait is without an end, unless the caller has said so."""

    def __init__(self, host: str, port: int, send_seconds: float) -> None:
        super().__init__(host, port, connect_timeout=CONNECT_SECONDS)
        self._send_seconds = send_seconds
        self._seconds: float | None = None
        self._limit: asyncio.Timeout | None = None
        self._failure: AudioError | None = None

    @override
    async def connect(self) -> None:
        try:
            await super().connect()
        except OSError as error:  # TimeoutError is one
            raise AudioError("unreachable", f"Nothing answers at {self.host}:{self.port}") from error

    def expect(self, seconds: float | None) -> None:
        """From now on each event has to come within so many seconds; None while the server waits for us."""
        self._seconds = seconds
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    async def send(self, message: Eventable) -> None:
        """Send it. Where that fails, `receive` tells why: the server may have said so before it left."""
        try:
            async with asyncio.timeout(self._send_seconds):
                await self.write_event(message.event())
        except TimeoutError:
            self._failure = AudioError("timeout", f"The server took nothing for {self._send_seconds:g} seconds")
            self.abort()
        except OSError:
            pass

    async def receive(self) -> Event:
        """The next event. AudioError when there is none, none in time, or it is an error."""
        try:
            async with asyncio.timeout(self._seconds) as self._limit:
                event = await self.read_event()
        except TimeoutError:
            raise AudioError("timeout", f"The server said nothing for {self._seconds:g} seconds") from None
        except OSError, EOFError:
            event = None
        except (AttributeError, KeyError, TypeError) as error:
            raise AudioError("bad-event", "The server sent what is not Wyoming") from error
        finally:
            self._limit = None
        if event is None:
            raise self._failure or AudioError("closed", "The server closed the connection")
        if Error.is_type(event.type):
            problem = _parsed(Error.from_event, event)
            raise AudioError(problem.code or "error", problem.text)
        return event

    def abort(self) -> None:
        """Close at once: what was not sent yet is not wanted any more."""
        if self._writer is not None:
            self._writer.transport.abort()


async def _detection(connection: _Connection, name: str | None) -> Detection | None:
    """The wake word of this name, or any; None when the audio has ended without."""
    while not NotDetected.is_type((event := await connection.receive()).type):
        if Detection.is_type(event.type):
            detection = _parsed(Detection.from_event, event)
            if name is None or detection.name == name:
                return detection
    return None


@contextlib.asynccontextmanager
async def _meanwhile(connection: _Connection, sending: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Send while the block receives, and no longer. What makes the sending fail ends the block, and is raised."""
    task = asyncio.create_task(sending, name="meadowlark send")
    task.add_done_callback(lambda task: connection.abort() if task.cancelled() or task.exception() else None)
    try:
        yield
    except AudioError:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error from None
        raise
    finally:
        await _ended(task)


async def _ended(task: asyncio.Task[object]) -> None:
    """End a task and wait until it has."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _closing(stream: AsyncIterable[object]) -> AsyncIterator[None]:
    """Close a stream at the end, where it can be."""
    try:
        yield
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _parsed[T](parse: Callable[[Event], T], event: Event) -> T:
    try:
        return parse(event)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AudioError("bad-event", f"The server sent a '{event.type}' that is not Wyoming") from error
