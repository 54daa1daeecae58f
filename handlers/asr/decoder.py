"""One run of Whisper on CTranslate2: a window of audio in, tokens and how sure they are out.

faster-whisper pads everything to 30 s and decodes with timestamps, fall-backs and beams. A command has two seconds;
what it needs is the encoder on a shorter window and a greedy decoder. Everything here blocks and may be called from
several threads.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from handlers.asr.stage import Segment, Word
from handlers.audio import RATE, seconds, to_float
from handlers.errors import EngineError, MissingExtraError, ModelError

try:
    from ctranslate2 import StorageView, get_cuda_device_count
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer
    from faster_whisper.transcribe import Segment as WhisperSegment
    from faster_whisper.transcribe import get_suppressed_tokens
except ImportError:
    raise MissingExtraError("Speech to text", "server") from None

FULL_WINDOW = 30
"""Seconds of audio that Whisper was trained on."""

LONGEST_PROMPT = 223
"""Tokens of previous text that Whisper was trained on: half of its 448, less the start token."""

_HOP = 160
"""Samples between two columns of the spectrogram."""

_SILENT_SAMPLES = 3 * 400
"""Silence after which a spectrogram's column holds nothing but silence: some lengths of its window of 400 samples."""

_LONG_TEXT = 1000
"""Characters above which a name is no name, and has more tokens than any prompt."""

_ENGLISH_TOKENS_PER_SECOND = 5
"""Budget of the decoder in a short window. English is spoken at about 3.5 tokens a second."""

_TOKENS_PER_SECOND = 16
"""The same for other languages, whose words are cut into more tokens, Thai or Tamil into single letters; and for
Whisper's own window, which is the last that is tried."""

_SPARE_TOKENS = 8
"""Added to the budget: a single fast word has punctuation too."""

_MOST_TOKENS = 224
"""The decoder has room for 448, half of which is for the prompt."""

_LEAST_PROBABILITY = 1e-9
"""The logarithm of 0 is none."""

LOW_SCORE = -1.0
"""Mean log probability below which Whisper is not believed; its authors' own figure."""

_NO_SPEECH = 0.6
"""Probability of silence from which nobody spoke, if the score is low too; also its authors' figure."""


@dataclass(frozen=True)
class Decoded:
    """What Whisper made of one window."""

    text: str
    """Empty when nobody spoke."""

    language: str

    score: float
    """Mean log probability of a token, the end included; 0 is certainty."""

    cut: bool
    """The decoder used up its budget of tokens instead of coming to an end."""


class Decoder:
    """A loaded Whisper model. Making one blocks for some seconds. Raises ModelError when the folder holds none.

    `threads` are for one run, `workers` is how many runs may go on at once.
    """

    def __init__(
        self,
        folder: Path,
        threads: int = 1,
        workers: int = 1,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        compute_type: str = "default",
    ) -> None:
        if not (folder / "tokenizer.json").is_file():  # else faster-whisper looks for one on the hub
            raise ModelError(f"The Whisper model in {folder} has no tokenizer.json: put the one of the model there")
        on_gpu = device == "cuda" or (device == "auto" and get_cuda_device_count() > 0)
        try:
            self._whisper = WhisperModel(
                str(folder),
                device=device,
                compute_type="int8" if compute_type == "default" and not on_gpu else compute_type,
                cpu_threads=threads,
                num_workers=workers,
                local_files_only=True,
            )
        except Exception as error:  # the tokenizer's errors have no class of their own
            raise ModelError(f"The Whisper model in {folder} cannot be loaded: {error}") from error
        self.languages: Sequence[str] = tuple(self._whisper.supported_languages)
        self._suppressed = get_suppressed_tokens(self._tokenizer(self.languages[0]), [-1])

    def count_tokens(self, text: str) -> int:
        """Tokens of a text in a prompt."""
        plain = _plain(text)
        if len(plain) > _LONG_TEXT:
            return len(plain)  # at most that many; cutting so much into tokens would take its time
        return len(self._tokenizer(self.languages[0]).encode(plain))

    def prompt(self, phrases: Sequence[str]) -> list[int]:
        """Phrases as tokens of previous text, a sentence of its own. What is too long loses its front.

        Without the full stop Whisper goes on with the list: "and turn on the …".
        """
        text = ", ".join(phrase for phrase in (_plain(phrase).strip() for phrase in phrases) if phrase)
        tokens: list[int] = self._tokenizer(self.languages[0]).encode(f" {text}.") if text else []
        return tokens[-LONGEST_PROMPT:]

    def decode(self, pcm: bytes, window: int, language: str | None = None, prompt: Sequence[int] = ()) -> Decoded:
        """Transcribe at most `window` whole seconds: greedy, at temperature 0, without timestamps.

        `language` None asks Whisper. Raises EngineError. Repetitions are not forbidden to the decoder: it would hide a
        loop and spoil "turn on the light, turn on the light", which people do say.
        """
        with self._failures(pcm):
            encoded = self._whisper.model.encode(StorageView.from_array(self._spectrogram(pcm, window)[np.newaxis]))
            spoken = language or self._language_of(encoded)
            tokenizer = self._tokenizer(spoken)
            start = [tokenizer.sot_prev, *prompt] if prompt else []
            start += [*tokenizer.sot_sequence, tokenizer.no_timestamps]
            budget = _budget(min(seconds(pcm), window), window, spoken)
            result = self._whisper.model.generate(
                encoded,
                [start],
                beam_size=1,
                # CTranslate2 takes min(half of it, it less the prompt) as what may be written.
                max_length=max(2 * budget, len(start) + budget),
                return_scores=True,
                return_no_speech_prob=True,
                suppress_blank=True,
                suppress_tokens=self._suppressed,
            )[0]
        tokens: list[int] = result.sequences_ids[0]
        score: float = result.scores[0] * len(tokens) / (len(tokens) + 1)  # the end is a token too
        if result.no_speech_prob > _NO_SPEECH and score < LOW_SCORE:
            return Decoded("", spoken, score, cut=False)
        return Decoded(tokenizer.decode(tokens).strip(), spoken, score, cut=len(tokens) >= budget)

    def likelihood(self, pcm: bytes, window: int, language: str, phrase: str) -> float:
        """Mean log probability of a token of `phrase`, were it the first that is said; 0 is certainty."""
        tokenizer = self._tokenizer(language)
        with self._failures(pcm):
            encoded = self._whisper.model.encode(StorageView.from_array(self._spectrogram(pcm, window)[np.newaxis]))
            start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
            tokens = tokenizer.encode(f" {_plain(phrase)}")
            columns = window * RATE // _HOP
            aligned = self._whisper.model.align(encoded, start, [tokens], [columns // 2])[0]
        return float(np.mean(np.log(np.maximum(aligned.text_token_probs, _LEAST_PROBABILITY))))

    def decode_long(
        self, pcm: bytes, language: str | None = None, prompt: Sequence[int] = ()
    ) -> tuple[str, Iterator[str]]:
        """Language and text of audio of any length, by faster-whisper's loop over windows.

        The text comes in pieces; asking for the next may take a run of the model. Raises EngineError, also then.
        """
        with self._failures(pcm):
            segments, info = self._whisper.transcribe(
                to_float(pcm),
                language=language,
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,  # one window's mistake would go on through all that follow
                hotwords=self._tokenizer(self.languages[0]).decode(list(prompt)) or None,  # put before every window
                vad_filter=False,
            )
        return info.language, self._texts(segments, pcm)

    def decode_segments(
        self, pcm: bytes, language: str | None = None, prompt: Sequence[int] = ()
    ) -> tuple[str, list[Segment]]:
        """Language and segments of at most one full window, with the times of their words, in seconds from its start.

        What no voice is heard in is left out: Whisper makes up sentences for noise. Raises EngineError.
        """
        with self._failures(pcm):
            segments, info = self._whisper.transcribe(
                to_float(pcm),
                language=language,
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,
                hotwords=self._tokenizer(self.languages[0]).decode(list(prompt)) or None,
                word_timestamps=True,
                vad_filter=True,
            )
            return info.language, [_segment(segment) for segment in segments]

    def _texts(self, segments: Iterable[WhisperSegment], pcm: bytes) -> Iterator[str]:
        with self._failures(pcm):
            for segment in segments:
                yield segment.text.strip()

    @contextlib.contextmanager
    def _failures(self, pcm: bytes) -> Iterator[None]:
        """CTranslate2's errors as ours."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"Whisper failed on {seconds(pcm):.1f} s of audio: {error}") from error

    def _spectrogram(self, pcm: bytes, window: int) -> npt.NDArray[np.float32]:
        """Log-mel columns of audio that silence follows to the end of the window; shape (bands, 100 a second).

        Silence goes onto the waveform, because zeros in the spectrogram are not silence. All its columns are alike,
        so only the first is computed.
        """
        columns = window * RATE // _HOP
        samples = np.pad(to_float(pcm)[: window * RATE], (0, _SILENT_SAMPLES))
        heard = self._whisper.feature_extractor(samples, padding=0)[:, :columns]
        return np.ascontiguousarray(np.pad(heard, ((0, 0), (0, columns - heard.shape[1])), mode="edge"))

    def _language_of(self, encoded: StorageView) -> str:
        if not self._whisper.model.is_multilingual:
            return self.languages[0]
        token: str = self._whisper.model.detect_language(encoded)[0][0][0]
        return token.strip("<|>")

    def _tokenizer(self, language: str) -> Tokenizer:
        multilingual = self._whisper.model.is_multilingual
        return Tokenizer(self._whisper.hf_tokenizer, multilingual, task="transcribe", language=language)


def _segment(found: WhisperSegment) -> Segment:
    """Its numbers are numpy's, which JSON does not know."""
    words = [Word(_time(word.start), _time(word.end), word.word.strip()) for word in found.words or ()]
    return Segment(
        _time(found.start),
        _time(found.end),
        found.text.strip(),
        words,
        float(found.avg_logprob),
        float(found.compression_ratio),
        float(found.no_speech_prob),
    )


def _time(value: float) -> float:
    return round(float(value), 2)


def _budget(length: float, window: int, language: str) -> int:
    """Tokens that so many seconds of speech can have."""
    rate = _ENGLISH_TOKENS_PER_SECOND if language == "en" and window < FULL_WINDOW else _TOKENS_PER_SECOND
    return min(math.ceil(length * rate) + _SPARE_TOKENS, _MOST_TOKENS)


def _plain(text: str) -> str:
    """Without what special tokens are made of: "<|endoftext|>" would be taken at its word."""
    return re.sub(r"[<|>]", " ", text)
