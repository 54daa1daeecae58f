"""When to stop listening: how long several rules wait after the last word, and how often they cut somebody off.

python bench/endpointing.py FOLDER… [--text-reference name] [--json FILE]. See bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bench.clips import REFERENCES, Clip, load_clips
from bench.command import exit_code
from bench.labels import LABELLERS, choose_labeller
from bench.pauses import hesitations, whisper_words, with_room
from bench.words import normalise, word_errors
from handlers.agent.skills import Skills
from handlers.agent.skills.standard import standard_skills
from handlers.asr.endpoint import Change
from handlers.asr.listener import Listener
from handlers.asr.patience import Patience, TurnDetector
from handlers.asr.silero import FRAME_BYTES, Silero
from handlers.asr.smart_turn import load_smart_turn
from handlers.asr.stage import AsrSettings, EndpointSettings, Transcriber
from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import BYTES_PER_SECOND
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import AudioError, SettingsError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore

_SILENCE_SECONDS = 3.5
"""After each recording: longer than any rule waits."""

_TURN_SECONDS = 8.0
"""What the turn detector listens to."""


@dataclass(frozen=True)
class Rule:
    """A way to decide that an utterance is over."""

    name: str
    fixed_ms: int | None = None
    """Silence that ends it whatever was said; None for Patience."""
    sound: bool = True
    """Whether the turn detector is asked."""
    known: bool = False
    """Whether the recordings' own texts are known commands, beside the local skills."""


RULES = (
    Rule("fixed 700 ms", 700),
    Rule("fixed 320 ms", 320),
    Rule("words", sound=False),
    Rule("words and sound"),
    Rule("the same, commands known", known=True),
)


@dataclass
class Ears:
    """The engines, with a memory of what they said: every rule meets the same audio."""

    transcriber: Transcriber
    detector: TurnDetector | None
    guesses: dict[bytes, str] = field(default_factory=dict)
    verdicts: dict[bytes, float] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=lambda: {"transcription": [], "detector": []})

    async def guess(self, pcm: bytes) -> str:
        if pcm not in self.guesses:
            began = time.perf_counter()
            self.guesses[pcm] = (await self.transcriber.transcribe(pcm)).text
            self.took["transcription"].append(1000 * (time.perf_counter() - began))
        return self.guesses[pcm]

    async def verdict(self, pcm: bytes) -> float | None:
        if self.detector is None:
            return None
        if pcm not in self.verdicts:
            began = time.perf_counter()
            self.verdicts[pcm] = await self.detector.complete(pcm, Ticket(Urgency.FINAL))
            self.took["detector"].append(1000 * (time.perf_counter() - began))
        return self.verdicts[pcm]


@dataclass(frozen=True)
class End:
    """Where a rule ended a recording."""

    rule: str
    clip: str
    material: str
    wait_ms: float
    """From the labelled end of speech to the transcript; negative when it was cut off."""
    lost_words: bool
    """Whether other words were understood than in the whole recording."""
    guesses: int
    """Transcriptions begun, of which one was of use."""
    text: str


@dataclass
class Simulation:
    """Feeds audio frame by frame, in audio time; answers of the engines come after fixed delays."""

    settings: EndpointSettings
    silero: Silero
    ears: Ears
    is_skill: Callable[[str], bool]
    known: frozenset[str]
    transcription_seconds: float
    detector_seconds: float

    async def end(self, rule: Rule, clip: Clip, pcm: bytes, material: str) -> End:
        """Where the rule ends the audio `pcm` of a clip."""
        listener = Listener(self.silero.stream(), self._settings(rule))
        patience = Patience(self.settings, self._is_command if rule.known else self.is_skill)
        due: list[tuple[float, str | float]] = []  # what the engines will say, and when
        guess: str | None = None
        verdict: float | None = None
        guesses = 0
        ended: float | None = None
        for start in range(0, len(pcm), FRAME_BYTES):
            frame = pcm[start : start + FRAME_BYTES]
            now = (start + len(frame)) / BYTES_PER_SECOND
            for at, news in [item for item in due if item[0] < now]:
                due.remove((at, news))
                guess = news if isinstance(news, str) else guess
                verdict = news if isinstance(news, float) else verdict
                if rule.fixed_ms is None:
                    wait_ms = patience.wait_ms(guess, verdict, listener.speech_ms)
                    listener.set_patience(wait_ms)
                    if ended is None and listener.silence_ms >= wait_ms:
                        listener.end_now()
                        ended = at
                if ended is not None and guess is not None:
                    return await self._ended(rule, clip, max(ended, at), guess, guesses, material, pcm)
            for change in listener.feed(frame):
                if change is Change.PAUSED:
                    guesses += 1
                    said = await self.ears.guess(listener.utterance())
                    due = [(now + self.transcription_seconds, said)]
                    if rule.sound and rule.fixed_ms is None:
                        heard = await self.ears.verdict(listener.recent(_TURN_SECONDS))
                        due += [] if heard is None else [(now + self.detector_seconds, heard)]
                    due.sort(key=lambda item: item[0])
                elif change is Change.RESUMED:
                    due, guess, verdict = [], None, None
                elif change in (Change.ENDED, Change.TOO_LONG) and ended is None:
                    ended = now
                    if guess is not None:
                        return await self._ended(rule, clip, ended, guess, guesses, material, pcm)
        if guess is None:
            raise AudioError(f"Nobody was heard in {clip.name}")
        return await self._ended(rule, clip, len(pcm) / BYTES_PER_SECOND, guess, guesses, material, pcm)

    def _settings(self, rule: Rule) -> EndpointSettings:
        return self.settings.model_copy(update={"patience_ms": rule.fixed_ms}) if rule.fixed_ms else self.settings

    def _is_command(self, text: str) -> bool:
        return " ".join(normalise(text)) in self.known or self.is_skill(text)

    async def _ended(
        self, rule: Rule, clip: Clip, at: float, text: str, guesses: int, material: str, pcm: bytes
    ) -> End:
        wait_ms = 1000 * (at - clip.end_of_speech)
        lost = wait_ms < 0 and bool(word_errors(await self._whole(pcm), text)[0])
        return End(rule.name, clip.name, material, wait_ms, lost, guesses, text)

    async def _whole(self, pcm: bytes) -> str:
        """What is understood by somebody with all the patience in the world."""
        listener = Listener(self.silero.stream(), self.settings.model_copy(update={"patience_ms": 5000}))
        listener.feed(pcm)
        return await self.ears.guess(listener.utterance())


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for bad input."""
    options = _parse(arguments)

    def measure() -> int:
        ends = asyncio.run(run(options))
        if options.json:
            text = json.dumps({"ends": [asdict(end) for end in ends]}, indent=1, ensure_ascii=False)
            Path(options.json).write_text(text, encoding="utf-8")
        return 0

    return exit_code("bench/endpointing.py", measure)


async def run(options: argparse.Namespace) -> list[End]:
    """Simulate everything and print the tables."""
    settings = _settings(options.set)
    _, label = choose_labeller(options.labeller)
    clips = [
        clip
        for clip in load_clips(options.paths, label, options.text_reference)
        if clip.reference and not clip.name.startswith("oov_")
    ]
    if not clips:
        raise AudioError("No recording has a text: give them .txt files, or use --text-reference name")
    folder = ModelStore(options.data_dir).locate(options.model, ModelKind.ASR)
    cpu = Cpu(1)
    transcriber = WhisperTranscriber(folder, options.model, AsrSettings(threads=1), cpu)
    detector = load_smart_turn(cpu)
    skills = Skills(standard_skills())
    simulation = Simulation(
        settings,
        Silero(),
        Ears(transcriber, detector),
        lambda text: skills.match(text, "en") is not None,
        frozenset(" ".join(normalise(clip.reference or "")) for clip in clips),
        options.transcription_ms / 1000,
        options.detector_ms / 1000,
    )
    try:
        ends = await _simulate(simulation, clips, None if options.as_recorded else whisper_words(folder))
    finally:
        await transcriber.close()
        if detector is not None:
            await detector.close()
    print("\n".join(table(ends)))
    for name, values in simulation.ears.took.items():
        if values:
            print(f"{name}: {np.median(values):.0f} ms median of {len(values)} on this machine now")
    return ends


async def _simulate(
    simulation: Simulation, clips: Sequence[Clip], words: Callable[[bytes], Sequence[tuple[str, float]]] | None
) -> list[End]:
    ends = []
    for number, clip in enumerate(clips, 1):
        print(f"{number}/{len(clips)} {clip.name}", file=sys.stderr)
        material = [("as recorded", clip)]
        if words is not None:
            material += [(f"{h.pause_ms} ms pause", h.clip) for h in hesitations(clip, words)]
        for kind, piece in material:
            pcm = with_room(piece, _SILENCE_SECONDS)
            ends += [await simulation.end(rule, piece, pcm, kind) for rule in RULES]
    return ends


def _settings(given: Iterable[tuple[str, str]]) -> EndpointSettings:
    try:
        return EndpointSettings.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"--set {first['loc'][0]}: {first['msg']}") from None


def table(ends: Sequence[End]) -> Iterable[str]:
    """Lines of Markdown, one table for each material."""
    for material in dict.fromkeys(end.material for end in ends):
        of_it = [end for end in ends if end.material == material]
        count = len({end.clip for end in of_it})
        yield f"{material}, {count} clips"
        yield ""
        yield "| rule | cut off | words lost | mean wait | median | p95 | worst | guesses a clip |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for rule in dict.fromkeys(end.rule for end in of_it):
            mine = [end for end in of_it if end.rule == rule]
            waits = [end.wait_ms for end in mine if end.wait_ms >= 0]
            cut = len(mine) - len(waits)
            lost = sum(end.lost_words for end in mine)
            times = " | ".join(f"{value:.0f}" for value in _times(waits)) if waits else "- | - | - | -"
            guesses = sum(end.guesses for end in mine) / len(mine)
            yield f"| {rule} | {cut} ({100 * cut / len(mine):.0f} %) | {lost} | {times} | {guesses:.2f} |"
        yield ""


def _times(waits: Sequence[float]) -> tuple[float, float, float, float]:
    return float(np.mean(waits)), float(np.median(waits)), float(np.percentile(waits, 95)), max(waits)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/endpointing.py", description="How long rules wait after the last word, and whom they cut off."
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="WAV|FOLDER", help="recordings of people, with their texts")
    add("--text-reference", choices=REFERENCES[:2], default="txt", help="a same-named .txt, or the file name")
    add("--labeller", choices=LABELLERS, default="auto", help="finds the end of speech (%(default)s)")
    add("--as-recorded", action="store_true", help="without the pauses that are put into the recordings")
    add("--model", default="whisper-base", help="the transcriber's (%(default)s)")
    add("--data-dir", type=Path, default=Path("data"), help="where models are kept (%(default)s)")
    add("--transcription-ms", type=float, default=170, help="what a guess takes, in audio time (%(default)s)")
    add("--detector-ms", type=float, default=25, help="what the turn detector takes (%(default)s)")
    add("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a setting of asr.endpoint")
    add("--json", metavar="FILE", help="write every end as JSON; it holds what was said")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
