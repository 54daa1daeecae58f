"""The `info` event: what this server offers, in the words of the protocol."""

from __future__ import annotations

from wyoming.event import Event
from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    HandleModel,
    HandleProgram,
    Info,
    TtsProgram,
    TtsVoice,
    TtsVoiceSpeaker,
    WakeModel,
    WakeProgram,
)

from handlers import __version__
from server.engines import Engines

_MEADOWLARK = Attribution(name="Meadowlark", url="https://github.com/meadowlark-voice/meadowlark")
_WHISPER = Attribution(name="SYSTRAN", url="https://github.com/SYSTRAN/faster-whisper")
_PIPER = Attribution(name="Open Home Foundation", url="https://github.com/OHF-Voice/piper1-gpl")
_WAKE = Attribution(name="David Scripka", url="https://github.com/dscripka/openWakeWord")

PROGRAM = "meadowlark"
"""Name of each of our programs; Home Assistant uses the first of a kind."""


def info_event(engines: Engines) -> Event:
    """Made once at start, so that `describe` costs nothing at any load."""
    return Info(asr=[_asr(engines)], tts=[_tts(engines)], wake=[_wake(engines)], handle=[_handle(engines)]).event()


def _asr(engines: Engines) -> AsrProgram:
    transcriber = engines.transcriber
    return AsrProgram(
        name=PROGRAM,
        attribution=_MEADOWLARK,
        installed=True,
        description="Speech to text that finds the end of speech itself",
        version=__version__,
        models=[
            AsrModel(
                name=transcriber.name,
                attribution=_WHISPER,
                installed=True,
                description=transcriber.name,
                version=None,
                languages=list(transcriber.languages),
            )
        ],
        supports_transcript_streaming=True,
        requires_external_vad=False,
        prefers_auto_gain_enabled=False,
        prefers_noise_reduction_enabled=False,
    )


def _tts(engines: Engines) -> TtsProgram:
    return TtsProgram(
        name=PROGRAM,
        attribution=_MEADOWLARK,
        installed=True,
        description="Text to speech, sentence by sentence",
        version=__version__,
        voices=[
            TtsVoice(
                name=voice.name,
                attribution=_PIPER,
                installed=True,
                description=voice.name,
                version=None,
                languages=list(voice.languages),
                speakers=[TtsVoiceSpeaker(name=speaker) for speaker in voice.speakers] or None,
            )
            for voice in engines.synthesizer.voices
        ],
        supports_synthesize_streaming=True,
    )


def _wake(engines: Engines) -> WakeProgram:
    return WakeProgram(
        name=PROGRAM,
        attribution=_MEADOWLARK,
        installed=True,
        description="Wake words",
        version=__version__,
        models=[
            WakeModel(
                name=word.name,
                attribution=_WAKE,
                installed=True,
                description=word.phrase,
                version=None,
                languages=list(word.languages),
                phrase=word.phrase,
            )
            for word in engines.wake.words.values()
        ],
    )


def _handle(engines: Engines) -> HandleProgram:
    return HandleProgram(
        name=PROGRAM,
        attribution=_MEADOWLARK,
        installed=True,
        description="Conversation",
        version=__version__,
        models=[
            HandleModel(
                name=PROGRAM,
                attribution=_MEADOWLARK,
                installed=True,
                description="Local skills, then a language model",
                version=__version__,
                languages=[],  # a language model knows many; Home Assistant reads an empty list as all
            )
        ],
        supports_handled_streaming=True,
        supports_home_control=False,
    )
