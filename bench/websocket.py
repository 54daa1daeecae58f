"""Drives a Meadowlark server as its page does: one hands-free turn over `WS /api/v1/voice/stream`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp

from bench.clips import Clip, noise
from bench.peer import PacedAudio, PeerError, sending
from bench.record import TurnRecord
from handlers.audio import AudioFormat
from handlers.errors import MeadowlarkError, SettingsError
from server.voice_protocol import PROTOCOL

PATH = "/api/v1/voice/stream"

FRAME_SECONDS = 0.02
"""Audio in one frame: FRAME_SAMPLES of server/web/src/audio/pcm.ts."""

_ACK_SECONDS = 1.0
"""Between two of them; the server's README asks for one every second or so."""

_PINGS = 5
"""Before each turn; the median of them is its round trip."""

_CONNECT_SECONDS = 10.0
"""From the first packet to `ready`."""

Message = Mapping[str, object]


class PageTarget:
    """The web port of one server. Every turn is a session of its own, and with it a conversation."""

    name = "websocket"

    def __init__(
        self,
        url: str,
        silence: float,
        language: str | None = None,
        *,
        hang_up: bool = False,
        token: str = "",
        frame_seconds: float = FRAME_SECONDS,
    ) -> None:
        """`url`: of the web port. `silence`: seconds after a clip, unless the answer comes before. `hang_up`: close at
        the first audio."""
        self.url = url.rstrip("/") + PATH
        self._noise = noise(silence)
        self._language = language
        self._hang_up = hang_up
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._frame_seconds = frame_seconds

    async def check(self) -> None:
        """SettingsError where no session can be had."""
        try:
            async with self._connected():
                pass
        except (OSError, MeadowlarkError) as error:
            reason = str(error) or type(error).__name__
            raise SettingsError(
                f"No voice session at {self.url} ({reason}): start the server, or name its web port with --http"
            ) from None

    async def turn(self, clip: Clip, record: TurnRecord) -> None:
        async with self._connected() as line:
            record.round_trip_ms = round(await line.round_trip() * 1000, 2)
            began = time.monotonic()
            await line.send("listen", mode="hands_free")
            paced = PacedAudio(clip.pcm + self._noise, line.send_audio, line.end_audio, self._frame_seconds)
            async with sending(paced) as audio:
                end_of_speech = audio.started + clip.end_of_speech
                try:
                    await self._hear(line, audio, record, end_of_speech)
                finally:
                    record.sent_late(audio.late)
                    record.place_timeline(began, end_of_speech)

    async def _hear(self, line: _Line, audio: PacedAudio, record: TurnRecord, end_of_speech: float) -> None:
        """All that comes, up to `done`. Raises PeerError for an `error`."""
        audio_format: AudioFormat | None = None
        failure: PeerError | None = None
        while True:
            received = await line.receive()
            if isinstance(received, bytes):
                if audio_format is None:
                    raise PeerError("malformed", "The server sent audio before 'audio_start'")
                record.heard_audio(received, audio_format, end_of_speech)
                audio.stop()
                if self._hang_up:
                    record.hung_up()
                    return
                continue
            match received.get("type"):
                case "audio_start":
                    audio_format = _format_of(received)
                case "error":
                    failure = _error_of(received)
                    if received.get("fatal"):
                        raise failure
                case "done":
                    timeline = received.get("timeline")
                    record.timeline = timeline if isinstance(timeline, dict) else {}
                    if failure is not None:
                        raise failure
                    if received.get("outcome") != "completed":
                        raise PeerError("cancelled", f"The turn ended as '{received.get('outcome')}'")
                    with contextlib.suppress(OSError):  # the answer has come whole
                        await line.send("played")
                    return
                case _:
                    _take(received, record, end_of_speech)
            if "transcript" in record.ms:
                record.sent_late(audio.late)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Line]:
        """A connection that has said `start` and was greeted. Raises PeerError, DeadlineError or OSError."""
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession(headers=self._headers))
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    socket = await stack.enter_async_context(session.ws_connect(self.url))
                    line = _Line(socket)
                    await line.start(self._language)
            except aiohttp.WSServerHandshakeError as error:
                raise PeerError("refused", f"it answers with {error.status}") from None
            except (aiohttp.InvalidURL, aiohttp.ServerConnectionError) as error:
                raise PeerError("refused", f"no web port is there, {error}") from None
            yield line


class _Line:
    """One connection, whose frames are counted and acknowledged."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._received = 0
        self._acknowledged = time.monotonic()

    async def start(self, language: str | None) -> None:
        """Say `start`, and wait for `ready`."""
        await self.send("start", protocol=PROTOCOL, language=language or "")
        greeting = await self.receive()
        if isinstance(greeting, bytes):
            raise PeerError("malformed", "The server's first frame is audio")
        if greeting.get("type") != "ready":
            raise _error_of(greeting)

    async def round_trip(self) -> float:
        """Seconds from a `ping` to its `pong`, while nothing else is under way."""
        taken = []
        for _ in range(_PINGS):
            sent = time.monotonic()
            await self.send("ping")
            answer = await self.receive()
            if isinstance(answer, bytes) or answer.get("type") != "pong":
                raise PeerError("malformed", "The server does not answer 'ping' with 'pong'")
            taken.append(time.monotonic() - sent)
        return statistics.median(taken)

    async def send(self, kind: str, **fields: object) -> None:
        await self._socket.send_json({"type": kind, **fields})

    async def send_audio(self, pcm: bytes) -> None:
        await self._socket.send_bytes(pcm)

    async def end_audio(self) -> None:
        await self.send("end_audio")

    async def receive(self) -> Message | bytes:
        """The next frame. Raises PeerError at the end."""
        frame = await self._socket.receive()
        if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            code = self._socket.close_code
            raise PeerError("closed", f"The server closed the connection in the middle of the turn ({code})")
        self._received += 1
        if time.monotonic() - self._acknowledged >= _ACK_SECONDS:
            self._acknowledged = time.monotonic()
            await self.send("ack", received=self._received)
        if isinstance(frame.data, bytes):
            return frame.data
        try:
            message = json.loads(frame.data)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise PeerError("malformed", "The server sent a text frame that is no JSON object")
        return message


def _take(message: Message, record: TurnRecord, end_of_speech: float) -> None:
    """Write down one event that is neither audio nor the end."""
    text = message.get("text")
    said = text if isinstance(text, str) else ""
    match message.get("type"):
        case "voice_stopped":
            record.saw("voice_stopped", end_of_speech)
        case "transcript":
            record.saw("transcript", end_of_speech)
            record.transcript = said
        case "handled_chunk":
            record.saw("first_text", end_of_speech)
            record.answer += said
        case "handled":
            record.saw("first_text", end_of_speech)
            record.answer = said or record.answer


def _error_of(message: Message) -> PeerError:
    """The error that an `error` frame tells."""
    code, text = message.get("code"), message.get("text")
    return PeerError(str(code or "error"), str(text or "The server gave no reason"))


def _format_of(message: Message) -> AudioFormat:
    """The format that an `audio_start` states. Raises PeerError or AudioError."""
    rate, width, channels = (message.get(key) for key in ("rate", "width", "channels"))
    if not isinstance(rate, int) or not isinstance(width, int) or not isinstance(channels, int):
        raise PeerError("malformed", "The server's 'audio_start' does not state its audio format")
    audio_format = AudioFormat(rate, width, channels)
    audio_format.check()
    return audio_format
