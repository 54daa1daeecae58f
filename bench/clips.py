"""The questions that a benchmark speaks: recordings, read, labelled and cut before anything is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.tts import Synthesize

from bench.labels import Label
from bench.peer import Address, error_of, expect, format_of
from handlers.audio import BYTES_PER_SECOND, RATE, Converter, from_float, read_wav, seconds
from handlers.errors import AudioError, DeadlineError
from handlers.wire.client import connect

REFERENCES = ("txt", "name", "none")
"""Where the words of a recording stand: a .txt of the same name; that or else the file's own name; nowhere."""

QUESTIONS = (
    "What time is it?",
    "What day is it today?",
    "Tell me a joke.",
    "What can you do?",
    "Why is the sky blue?",
    "Good morning.",
)
"""Spoken when no recording is given: local skills and the language model."""

TAIL_SECONDS = 0.05
"""Kept after the label, for a soft last consonant; the rest of a recording's own silence is cut, so that every clip is
followed by the same silence."""

NOISE_DBFS = -72.0
"""Level of that silence, as of a quiet microphone: digital zeros do not happen in a room."""

_LONGEST_SECONDS = 60.0
"""Nobody asks for longer; a whole hour dropped into the folder is a mistake."""

_SYNTHESIS_SECONDS = 30.0
"""For one short question; real time would be 2 s."""


@dataclass(frozen=True)
class Clip:
    """A question as internal audio that ends just after its labelled end of speech."""

    name: str
    pcm: bytes
    end_of_speech: float
    """Seconds from the beginning."""
    cut_seconds: float
    """What was cut off its end."""
    reference: str | None = None
    """What is said in it, where that is known."""


def make_clip(name: str, pcm: bytes, label: Label, reference: str | None) -> Clip:
    """Label internal audio and cut it there. Raises AudioError when it is too long or nobody speaks."""
    if seconds(pcm) > _LONGEST_SECONDS:
        raise AudioError(f"{name} is longer than {_LONGEST_SECONDS:g} s; a question to an assistant is not")
    try:
        end = label(pcm)
    except AudioError as error:
        raise AudioError(f"{name} cannot be used: {error}") from None
    kept = pcm[: int((end + TAIL_SECONDS) * RATE) * 2]
    return Clip(name, kept, end, seconds(pcm) - seconds(kept), reference)


def load_clips(paths: Sequence[Path], label: Label, references: str) -> list[Clip]:
    """Clips of WAV files and of all WAV files in folders, in a fixed order. Raises AudioError."""
    return [make_clip(path.name, read_wav(path), label, _reference(path, references)) for path in _files(paths)]


async def speak_clips(tts: Address, label: Label, questions: Sequence[str] = QUESTIONS) -> list[Clip]:
    """Clips of questions spoken by a `tts` server. Raises AudioError, EngineError or OSError."""
    return [make_clip(question, await _speak(tts, question), label, question) for question in questions]


def noise(duration: float) -> bytes:
    """Internal audio that is silent like a room; always the same."""
    level = 10 ** (NOISE_DBFS / 20)
    return from_float(np.random.default_rng(0).normal(0.0, level, int(duration * RATE)).astype(np.float32))


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() == ".wav")
            if not found:
                raise AudioError(f"There is no WAV file in the folder {path}")
            files += found
        else:
            files.append(path)
    return files


def _reference(path: Path, references: str) -> str | None:
    if references == "none":
        return None
    text_file = path.with_suffix(".txt")
    if text_file.is_file():
        try:
            return text_file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise AudioError(f"{text_file} cannot be read as UTF-8 text ({error})") from None
    return path.stem if references == "name" else None


async def _speak(tts: Address, text: str) -> bytes:
    """Internal audio of a text. Raises EngineError when the server says so or gives none."""
    pcm = bytearray()
    converter: Converter | None = None
    try:
        async with asyncio.timeout(_SYNTHESIS_SECONDS), connect(*tts) as client:
            await client.send(Synthesize(text=text).event())
            while not AudioStop.is_type((event := await expect(client)).type):
                if Error.is_type(event.type):
                    raise error_of(event)
                if AudioStart.is_type(event.type):
                    converter = Converter(format_of(event))
                elif AudioChunk.is_type(event.type) and converter is not None:
                    pcm += converter.convert(event.payload or b"")
                if len(pcm) > _LONGEST_SECONDS * BYTES_PER_SECOND:
                    break
    except TimeoutError:
        raise DeadlineError(f"The question was not spoken within {_SYNTHESIS_SECONDS:g} s") from None
    return bytes(pcm) + (converter.flush() if converter is not None else b"")
