"""Drives a Meadowlark server: one `run-pipeline` from speech to speech on a connection of its own."""

from __future__ import annotations

import time

from wyoming.asr import Transcript
from wyoming.audio import AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.vad import VoiceStopped

from bench.clips import Clip, noise
from bench.peer import Address, error_of, expect, speaking, text_of
from bench.record import TurnRecord
from handlers.wire.client import connect


class ServerTarget:
    """The pipeline of one server. Every turn is a conversation of its own."""

    name = "server"

    def __init__(self, address: Address, silence: float, language: str | None = None, *, hang_up: bool = False) -> None:
        """`silence`: seconds after a clip, unless the answer comes before. `hang_up`: close at the first audio."""
        self._address = address
        self._noise = noise(silence)
        self._language = language
        self._hang_up = hang_up

    async def turn(self, clip: Clip, record: TurnRecord) -> None:
        async with connect(*self._address) as client:
            await client.send(self._request())
            began = time.monotonic()
            async with speaking(client, clip.pcm + self._noise) as audio:
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
                finally:
                    record.sent_late(audio.late)
                    record.place_timeline(began, end_of_speech)

    def _request(self) -> Event:
        event = RunPipeline(start_stage=PipelineStage.ASR, end_stage=PipelineStage.TTS).event()
        if self._language:
            event.data["language"] = self._language
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
