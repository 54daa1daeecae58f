"""Drives a chain of other Wyoming servers, as Home Assistant does: speech to text, then the reply to text to speech.

There is no agent in between: the transcript itself, or a fixed reply, is spoken at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioStop
from wyoming.error import Error
from wyoming.tts import Synthesize

from bench.clips import Clip, noise
from bench.peer import Address, PeerError, error_of, expect, speaking, text_of
from bench.record import TurnRecord
from handlers.audio import BYTES_PER_SECOND, WIDTH
from handlers.wire.client import WyomingClient, connect


@dataclass(frozen=True)
class ChainOptions:
    """How the chain is driven."""

    silence: float
    """Seconds of silence after a clip, unless the transcript comes before."""
    own_silence: float | None = None
    """Seconds after the label at which this client itself ends the audio, for servers that do not find the end."""
    reply: str | None = None
    """Spoken in place of the transcript."""
    language: str | None = None
    hang_up: bool = False
    """Close the connection at the first audio."""


class ChainTarget:
    """An `asr` and a `tts` server, each with a new connection for every turn."""

    name = "chain"

    def __init__(self, asr: Address, tts: Address, options: ChainOptions) -> None:
        self._asr = asr
        self._tts = tts
        self._options = options
        self._noise = noise(max(options.silence, options.own_silence or 0.0))

    async def turn(self, clip: Clip, record: TurnRecord) -> None:
        async with connect(*self._asr) as asr, connect(*self._tts) as tts:
            await asr.send(Transcribe(language=self._options.language).event())
            async with speaking(asr, self._audio(clip)) as audio:
                end_of_speech = audio.started + clip.end_of_speech
                try:
                    record.transcript = await _transcript(asr)
                finally:
                    record.sent_late(audio.late)
                record.saw("transcript", end_of_speech)
            if not record.transcript.strip():
                raise PeerError("no-speech", "The chain understood nothing")
            record.answer = self._options.reply or record.transcript
            await self._speak(tts, record, end_of_speech)

    def _audio(self, clip: Clip) -> bytes:
        audio = clip.pcm + self._noise
        if self._options.own_silence is None:
            return audio
        return audio[: int((clip.end_of_speech + self._options.own_silence) * BYTES_PER_SECOND) // WIDTH * WIDTH]

    async def _speak(self, tts: WyomingClient, record: TurnRecord, end_of_speech: float) -> None:
        await tts.send(Synthesize(text=record.answer).event())
        while not AudioStop.is_type((event := await expect(tts)).type):
            if Error.is_type(event.type):
                raise error_of(event)
            if record.heard(event, end_of_speech) and self._options.hang_up:
                record.hung_up()
                return


async def _transcript(asr: WyomingClient) -> str:
    """What the server understood. Raises PeerError for an `error`."""
    while not Transcript.is_type((event := await expect(asr)).type):
        if Error.is_type(event.type):
            raise error_of(event)
    return text_of(event)
