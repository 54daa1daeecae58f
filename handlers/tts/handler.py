"""The Wyoming service `tts`: `synthesize`, or a stream of `synthesize-chunk`; audio out.

Requests of one connection are answered in their order. Home Assistant sends the whole text once more as `synthesize`
inside a stream, for servers that cannot stream; it is not spoken twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped

from handlers.errors import MeadowlarkError, RequestError
from handlers.tts.speaker import once, sentences, speak
from handlers.tts.stage import Synthesizer, TtsSettings, VoiceChoice
from handlers.wire import fields
from handlers.wire.connection import Connection
from handlers.wire.ordered import Ordered
from handlers.wire.text_input import TextInput


class TtsHandler:
    """One connection's text to speech."""

    def __init__(self, connection: Connection, synthesizer: Synthesizer, settings: TtsSettings) -> None:
        self._connection = connection
        self._synthesizer = synthesizer
        self._settings = settings
        self._answers = Ordered(connection, "tts")
        self._stream: TextInput | None = None

    def wants(self, event_type: str) -> bool:
        return any(kind.is_type(event_type) for kind in (Synthesize, SynthesizeStart, SynthesizeChunk, SynthesizeStop))

    async def handle(self, event: Event) -> None:
        if Synthesize.is_type(event.type):
            if self._stream is None:  # inside a stream it is the same text again
                text = fields.text(event, "text", limit=self._settings.longest_text)
                self._answers.start(self._speak(once(text), choose_voice(event, self._synthesizer)))
        elif SynthesizeStart.is_type(event.type):
            self._begin_stream(event)
        elif SynthesizeChunk.is_type(event.type):
            if self._stream is None:
                raise RequestError(
                    "bad-event", "A 'synthesize-chunk' must follow a 'synthesize-start' that was accepted"
                )
            self._stream.put(fields.text(event, "text", limit=self._settings.longest_text))
        elif self._stream is not None:
            self._stream.end()
            self._stream = None
        else:
            await self._connection.send(SynthesizeStopped().event())

    def _begin_stream(self, event: Event) -> None:
        if self._stream is not None:
            self._stream.end()
        stream = TextInput(self._settings.longest_text)
        self._answers.start(self._speak_stream(stream, event))  # refused when too much waits; then there is no stream
        self._stream = stream

    async def _speak_stream(self, stream: TextInput, event: Event) -> None:
        """Speak a stream. Its client waits for `synthesize-stopped`, whatever happens."""
        try:
            await self._speak(stream.pieces(), choose_voice(event, self._synthesizer))
        except MeadowlarkError as error:
            await self._connection.send_error(error)
            with contextlib.suppress(RequestError):  # it may never come
                async for _ in stream.pieces():  # its end is still to come
                    pass
        await self._connection.send(SynthesizeStopped().event())

    async def _speak(self, text: AsyncIterator[str], choice: VoiceChoice) -> None:
        audio = self._synthesizer.format(choice)
        rate, width, channels = audio.rate, audio.width, audio.channels
        started = False
        spoken = speak(sentences(text, choice.language), self._synthesizer, choice)
        async with contextlib.aclosing(spoken) as pieces:
            async for pcm in pieces:
                if not started:
                    started = True
                    await self._connection.send(AudioStart(rate, width, channels).event())
                await self._connection.send(AudioChunk(rate, width, channels, pcm).event())
        if not started:  # nothing in it can be spoken; a client still waits for both
            await self._connection.send(AudioStart(rate, width, channels).event())
        await self._connection.send(AudioStop().event())


def choose_voice(event: Event, synthesizer: Synthesizer, default: str = "") -> VoiceChoice:
    """The voice that an event asks for, `default` where it names none; RequestError when it is not there."""
    text_format = fields.optional_text(event, "text_format")
    if text_format not in (None, "text"):
        raise RequestError(
            "unsupported-format", f"Text in the format '{text_format}' cannot be spoken; send plain text"
        )
    voice = fields.mapping(event, "voice")
    wanted = {}
    for key in ("name", "language", "speaker"):
        value = voice.get(key)
        if value is not None and not isinstance(value, str):
            raise RequestError("bad-event", f"'voice.{key}' of the event '{event.type}' is not a text")
        wanted[key] = value or None
    if not any(wanted.values()):
        wanted["name"] = default or None
    return synthesizer.choose(**wanted)
