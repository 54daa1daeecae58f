"""Drives a Meadowlark server: one `run-pipeline` from speech to speech on a connection of its own."""

from __future__ import annotations

import contextlib
import time

from wyoming.asr import Transcript
from wyoming.audio import AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.snd import Played
from wyoming.vad import VoiceStopped

from bench.clips import Clip, noise
from bench.peer import CHUNK_SECONDS, Address, error_of, expect, speaking, text_of
from bench.record import TurnRecord
from handlers.errors import MeadowlarkError
from handlers.wire.client import connect


class ServerTarget:
    """The pipeline of one server. Every turn is a conversation of its own, unless a satellite is named."""

    name = "server"

    def __init__(
        self,
        address: Address,
        silence: float,
        language: str | None = None,
        *,
        hang_up: bool = False,
        satellite: str | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> None:
        """`silence`: seconds after a clip, unless the answer comes before. `hang_up`: close at the first audio.

        With a `satellite`, its turns are one conversation and it tells the server what was played, as ours do.
        """
        self._address = address
        self._noise = noise(silence)
        self._language = language
        self._hang_up = hang_up
        self._satellite = satellite
        self._chunk_seconds = chunk_seconds

    async def turn(self, clip: Clip, record: TurnRecord) -> None:
        async with connect(*self._address) as client:
            await client.send(self._request())
            began = time.monotonic()
            async with speaking(client, clip.pcm + self._noise, self._chunk_seconds) as audio:
                end_of_speech = audio.started + clip.end_of_speech
                try:
                    while not AudioStop.is_type((event := await expect(client)).type):
                        _take(event, record, end_of_speech)
                        if "transcript" in record.ms:
                            record.sent_late(audio.late)
                        if "first_audio" in record.ms:
                            audio.stop()
                            if self._hang_up:
                                record.hung_up()
                                return
                    _keep_timeline(event, record)
                    if self._satellite:
                        with contextlib.suppress(OSError, MeadowlarkError):  # the answer has come whole
                            await client.send(Played().event())
                finally:
                    record.sent_late(audio.late)
                    record.place_timeline(began, end_of_speech)

    def _request(self) -> Event:
        event = RunPipeline(start_stage=PipelineStage.ASR, end_stage=PipelineStage.TTS).event()
        if self._language:
            event.data["language"] = self._language
        if self._satellite:
            event.data["context"] = {"satellite_id": self._satellite, "conversation_id": self._satellite}
        return event


def _take(event: Event, record: TurnRecord, end_of_speech: float) -> None:
    """Write down one event. Raises PeerError for the server's `error`."""
    if VoiceStopped.is_type(event.type):
        record.saw("voice_stopped", end_of_speech)
    elif Transcript.is_type(event.type):
        record.saw("transcript", end_of_speech)
        record.transcript = text_of(event)
    elif HandledChunk.is_type(event.type):
        record.saw("first_text", end_of_speech)
        record.answer += text_of(event)
    elif Handled.is_type(event.type):
        record.saw("first_text", end_of_speech)
        record.answer = text_of(event) or record.answer
    elif Error.is_type(event.type):
        _keep_timeline(event, record)
        raise error_of(event)
    else:
        record.heard(event, end_of_speech)


def _keep_timeline(event: Event, record: TurnRecord) -> None:
    timeline = event.data.get("timeline")
    if isinstance(timeline, dict):
        record.timeline = timeline
