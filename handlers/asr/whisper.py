"""Speech to text by faster-whisper (Whisper on CTranslate2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from handlers import language as languages
from handlers.asr.stage import NO_HINTS, AsrSettings, Hints, Transcript
from handlers.audio import seconds, to_float
from handlers.errors import EngineError, MissingExtraError, ModelError, RequestError
from handlers.workers import Workers, usable_cores

try:
    from faster_whisper import WhisperModel
except ImportError:
    raise MissingExtraError("Speech to text", "server") from None

_MAX_THREADS = 4
"""CTranslate2 gains nothing from more threads on one short utterance."""

_PROMPT_CHARACTERS = 600
"""About 200 tokens: Whisper's prompt holds 223, and cuts from the front, where the names are."""


class WhisperTranscriber:
    """A loaded Whisper model. Making one blocks for some seconds; do it in a thread."""

    def __init__(self, folder: Path, name: str, settings: AsrSettings) -> None:
        self.name = name
        self._default_language = settings.language
        threads = settings.threads or min(_MAX_THREADS, usable_cores())
        if not (folder / "tokenizer.json").is_file():  # else faster-whisper looks for one on the hub
            raise ModelError(f"The Whisper model in {folder} has no tokenizer.json: put the one of the model there")
        try:
            self._model = WhisperModel(
                str(folder),
                device=settings.device,
                compute_type="int8"
                if settings.compute_type == "default" and not _on_gpu(settings)
                else settings.compute_type,
                cpu_threads=threads,
                num_workers=settings.workers,
                local_files_only=True,
            )
        except Exception as error:  # the tokenizer's errors have no class of their own
            raise ModelError(f"The Whisper model in {folder} cannot be loaded: {error}") from error
        self.languages: Sequence[str] = tuple(self._model.supported_languages)
        if settings.language != "auto":
            self._default_language = languages.match(settings.language, self.languages) or ""
        if not self._default_language:
            known = ", ".join(self.languages)
            raise ModelError(
                f"The Whisper model '{name}' does not know asr.language '{settings.language}'; it knows {known}"
            )
        self._workers = Workers("whisper", settings.workers)
        self._run(bytes(16_000), self._language(None), NO_HINTS)  # the first call allocates

    async def transcribe(self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS) -> Transcript:
        chosen = self._language(language)
        return await self._workers.run(lambda: self._run(pcm, chosen, hints))

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
        """Greedy, at temperature 0, without timestamps: on commands as accurate as beam 5 and without its spikes."""
        try:
            segments, info = self._model.transcribe(
                to_float(pcm),
                language=language,
                beam_size=1,
                temperature=0.0,
                without_timestamps=seconds(pcm) < 30,
                condition_on_previous_text=False,
                initial_prompt=_prompt(hints),
                vad_filter=False,
            )
            text = " ".join(segment.text.strip() for segment in segments).strip()
        except RuntimeError as error:
            raise EngineError(f"Whisper failed on {seconds(pcm):.1f} s of audio: {error}") from error
        return Transcript(text, info.language, seconds(pcm))


def _prompt(hints: Hints) -> str | None:
    """Expected words as Whisper's previous text, most important first, cut at whole words."""
    words: list[str] = []
    length = 0
    for hint in [*hints.names, *hints.terms]:
        word = hint.replace("<|", "").strip()  # "<|endoftext|>" would be taken at its word
        if not word:
            continue
        length += len(word) + 2
        if length > _PROMPT_CHARACTERS:
            break
        words.append(word)
    return ", ".join(words) or None


def _on_gpu(settings: AsrSettings) -> bool:
    if settings.device != "auto":
        return settings.device == "cuda"
    import ctranslate2  # a dependency of faster-whisper; only asked for the number of GPUs

    return bool(ctranslate2.get_cuda_device_count())
