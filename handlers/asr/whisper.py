"""Speech to text by Whisper: which window, when to look twice, and who may compute."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from handlers import language as languages
from handlers.asr.cuts import windows
from handlers.asr.decoder import FULL_WINDOW, Decoded, Decoder
from handlers.asr.names import prompt_words
from handlers.asr.stage import NO_HINTS, AsrSettings, Hints, RecordingTranscript, Segment, Transcript, Word
from handlers.audio import BYTES_PER_SECOND, RATE, seconds
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import ModelError, RequestError
from handlers.whole import to_its_end
from handlers.workers import Workers, usable_cores

T = TypeVar("T")

_MAX_THREADS = 4
"""CTranslate2 gains nothing from more threads on one short utterance."""

_SHORTEST_SECONDS = 0.05
"""Nothing can be said in less; Whisper would make it up."""

_WAITING_RUNS = 1024
"""The scheduler bounds what waits. In the pool there are only runs that were cancelled while they ran."""

_PROMPTS = 32
"""Prompts that are kept: each house has the same names in every turn, and choosing among thousands takes a while."""

_REPEATED = re.compile(r"\b(\w+(?:\W+\w+){1,7})(?:\W+\1\b){2}")
"""Two to eight words three times in a row, or one word six times: a decoder that loops. "Stop, stop, stop" is said."""


_HOPELESS_SCORE = -1.5
"""Mean log probability below which a second look at the full window is worth its time, four times that of the first.
At -1, where Whisper's authors try again, it mended none of 31 recorded commands and made the slowest of them slower."""


class WhisperTranscriber:
    """A loaded Whisper model. Making one blocks for some seconds; do it in a thread."""

    def __init__(self, folder: Path, name: str, settings: AsrSettings, cpu: Cpu) -> None:
        self.name = name
        self._settings = settings
        self._cpu = cpu
        threads, workers = threads_and_workers(settings, usable_cores())
        self._decoder = Decoder(folder, threads, workers, settings.device, settings.compute_type)
        self.languages: Sequence[str] = self._decoder.languages
        self._default_language = settings.language
        if settings.language != "auto":
            self._default_language = languages.match(settings.language, self.languages) or ""
        if not self._default_language:
            known = ", ".join(self.languages)
            raise ModelError(
                f"The Whisper model '{name}' does not know asr.language '{settings.language}'; it knows {known}"
            )
        self._prompt = lru_cache(_PROMPTS)(self._make_prompt)
        self._workers = Workers("whisper", workers, _WAITING_RUNS)
        self._threads = threads
        self._recording = asyncio.Lock()  # one at a time: a turn finds a worker that no recording has
        self._warm_up(workers)

    async def transcribe(
        self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS, ticket: Ticket | None = None
    ) -> Transcript:
        """See `Transcriber`. Cancelling takes a waiting run out of the queue; one that computes ends unseen."""
        chosen = self._language(language)
        place = ticket or Ticket(Urgency.FINAL)
        if seconds(pcm) > FULL_WINDOW:
            return await self._transcribe_long(pcm, chosen, hints, place)
        return await self._in_turn(place, lambda: self._run(pcm, chosen, hints))

    async def transcribe_recording(
        self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS
    ) -> RecordingTranscript:
        """See `Transcriber`. The language is that of the first words where none is named."""
        spoken, found = self._language(language), list[Segment]()
        async with self._recording:
            for start, end in windows(pcm):
                decode = partial(self._decoder.decode_segments, pcm[start:end], spoken, self._prompt_of(hints))
                heard, segments = await self._in_turn(Ticket(Urgency.RECORDING), decode, to_its_end)
                found += [_later(segment, start / BYTES_PER_SECOND) for segment in segments]
                spoken = spoken or (heard if segments else None)
        text = " ".join(segment.text for segment in found)
        return RecordingTranscript(text, spoken or self.languages[0], found, seconds(pcm))

    async def likelihood(self, pcm: bytes, phrase: str, language: str) -> float:
        """See `Transcriber`."""
        if seconds(pcm) < _SHORTEST_SECONDS or not phrase:
            return -math.inf
        window = self.window(seconds(pcm))
        spoken = language if language in self.languages else self.languages[0]
        return await self._in_turn(Ticket(Urgency.FINAL), lambda: self._decoder.likelihood(pcm, window, spoken, phrase))

    def window(self, length: float) -> int:
        """Seconds that Whisper is given of audio of `length` seconds: the short window where all of it fits."""
        short = self._settings.window_seconds
        return short if length <= min(self._settings.window_longest_seconds, short) else FULL_WINDOW

    async def close(self) -> None:
        await self._workers.close()

    def _language(self, language: str | None) -> str | None:
        wanted = language or self._default_language
        if wanted == "auto":
            return None
        if wanted not in self.languages:
            raise RequestError("unknown-language", f"The Whisper model '{self.name}' does not know '{wanted}'")
        return wanted

    def _run(self, pcm: bytes, language: str | None, hints: Hints) -> Transcript:
        """The same bytes, language and hints always give the same text: a guess is as good as the final run."""
        began = time.monotonic()
        length = seconds(pcm)
        if length < _SHORTEST_SECONDS:
            return Transcript("", language or self.languages[0], length)
        prompt = self._prompt_of(hints)
        window = self.window(length)
        decoded = self._decoder.decode(pcm, window, language, prompt)
        doubtful = looping(decoded) or (decoded.text and decoded.score < _HOPELESS_SCORE)
        if window < FULL_WINDOW and doubtful:
            again = self._decoder.decode(pcm, FULL_WINDOW, language, prompt)
            decoded = max(again, decoded, key=lambda result: (not looping(result), result.score))
        return Transcript(decoded.text, decoded.language, length, took=time.monotonic() - began)

    async def _transcribe_long(self, pcm: bytes, language: str | None, hints: Hints, ticket: Ticket) -> Transcript:
        """A turn of its own for each piece: a file of five minutes does not make everybody wait."""
        spoken, pieces = await self._in_turn(
            ticket, lambda: self._decoder.decode_long(pcm, language, self._prompt_of(hints))
        )
        texts: list[str] = []
        while (piece := await self._in_turn(ticket, lambda: next(pieces, None))) is not None:
            texts.append(piece)
        return Transcript(" ".join(texts).strip(), spoken, seconds(pcm))

    async def _in_turn(
        self, ticket: Ticket, work: Callable[[], T], wait: Callable[[Awaitable[T]], Awaitable[T]] | None = None
    ) -> T:
        """`wait` keeps the slot until the work has ended, where it is long: its thread goes on when it is cancelled."""
        async with self._cpu.slot(ticket, self._threads):
            running = self._workers.run(work)
            return await (running if wait is None else wait(running))

    def _prompt_of(self, hints: Hints) -> Sequence[int]:
        return self._prompt(tuple(hints.names), tuple(hints.terms))

    def _make_prompt(self, names: tuple[str, ...], terms: tuple[str, ...]) -> Sequence[int]:
        phrases = prompt_words(Hints(names, terms), self._settings.prompt_tokens, self._decoder.count_tokens)
        return tuple(self._decoder.prompt(phrases))

    def _warm_up(self, workers: int) -> None:
        """The first run of each worker allocates, for each window."""
        pcm = bytes(2 * RATE)
        with ThreadPoolExecutor(workers) as pool:
            for window in (FULL_WINDOW, self._settings.window_seconds):
                list(pool.map(self._decoder.decode, [pcm] * workers, [window] * workers, [self.languages[0]] * workers))


def _later(segment: Segment, by: float) -> Segment:
    """A segment of a window as one of the recording, where the window begins `by` seconds later."""
    words = [Word(round(word.start + by, 2), round(word.end + by, 2), word.word) for word in segment.words]
    return replace(segment, start=round(segment.start + by, 2), end=round(segment.end + by, 2), words=words)


def threads_and_workers(settings: AsrSettings, cores: int) -> tuple[int, int]:
    """Threads for one run, and runs at once, where the settings leave them open.

    One thread for each of two workers does more on two cores than two threads for one, and a run takes as long: 9.4
    against 7 utterances a second. With more cores a run is given up to half of them, and all are used.
    """
    threads = settings.threads or max(1, min(_MAX_THREADS, cores // 2))
    return threads, settings.workers or max(1, cores // threads)


def looping(decoded: Decoded) -> bool:
    """Whether the decoder did not find its end, or says the same over and over."""
    return decoded.cut or _REPEATED.search(decoded.text.casefold()) is not None
