"""The doctor's checks of microphone, wake word and speaker, through the same code as the satellite's own ears."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.audio import BYTES_PER_SECOND, RATE
from handlers.errors import AudioError, MeadowlarkError, MissingExtraError
from handlers.models.folder import installed_wake_folder
from handlers.wake.engines import open_engines
from handlers.wake.scoring import FRAME_BYTES
from handlers.wake.stage import plain_name
from satellite.blocking import call
from satellite.doctor_echo import check_echo
from satellite.findings import Finding, Person, Tell, advice, ok, problem
from satellite.front_end import open_front_end
from satellite.measure import Sound, measure
from satellite.settings import SatelliteSettings
from satellite.sink import is_device
from satellite.source import Source, WavBlocks, open_source
from satellite.wake import choose, named_words

QUIET_SECONDS = 3.0
"""Long enough that a passing step in the house is not all there is."""

WORD_SECONDS = 5.0
"""For the person to read what to say, and to say it."""

_WARM_UP_SECONDS = 0.5
"""Many microphones begin with a click, or with silence until their gain has settled."""

_LATE_SECONDS = 10.0
"""Beyond its own length no recording takes longer: the microphone gives nothing any more."""

_LONGEST_SECONDS = 60.0
"""Of a recording; a wake word in it is said sooner."""

_LIST_SECONDS = 10.0
"""Enumerating every ALSA device takes 0.1 s on a desktop and some seconds on a Pi with a slow USB hub."""

_CLIPPED = 0.0005
"""Of all samples, 40 in the 5 s of a word. A single peak at the limit is not heard."""

_OFFSET = 0.02
"""Of full scale. A good microphone has none; more costs room for loud voices."""

_NOISY = -45.0
"""dBFS. A voice of -30 dBFS, as of somebody at the other end of a room, would be only `_CLOSE` above it."""

_FAINT = -34.0
_TOO_FAINT = -46.0
"""dBFS of the word's peak. Wake words were heard down to -50 where nothing else sounds (measured); people at the other
end of a room are 12 dB quieter than at 1 m."""

_UNHEARD = 6.0
"""dB that the loudest stands out of the room where nobody speaks at all."""

_CLOSE = 15.0
"""dB. Wake words were heard down to 8 over steady noise, most of them (measured with synthetic speech); a television
is not steady, and what follows the wake word has softer sounds."""

_NARROW = 0.1
"""A score that is this little above its threshold will be below it the next time."""


async def check_sound(settings: SatelliteSettings, person: Person | None, tell: Tell) -> None:
    """Tell a finding for each check of the ears and the mouth."""
    formats = await _check_devices(settings, tell)
    if _is_recording(settings.mic):
        await _check_recording(settings, tell)
        return
    try:
        source = await open_source(settings.mic, channel=settings.channel)
    except MeadowlarkError as error:
        tell(_failed("microphone", error))
        return
    try:
        await _check_microphone(source, formats.get(source.name, ""), settings, person, tell)
    finally:
        await source.close()


def _is_recording(name: str) -> bool:
    return name.lower().endswith(".wav")


def _failed(check: str, error: Exception) -> Finding:
    """Our errors say what to do."""
    held = "does not open" in str(error)
    return problem(
        check,
        str(error),
        "If the satellite runs as a service, stop it while you check: systemctl stop meadowlark-satellite"
        if held
        else "",
    )


async def _check_devices(settings: SatelliteSettings, tell: Tell) -> dict[str, str]:
    """Tell which there are; the answer is what each microphone gives by itself."""
    formats: dict[str, str] = {}
    for kind, wanted, capture in (("microphones", settings.mic, True), ("speakers", settings.speaker, False)):
        if not is_device(wanted):
            continue
        try:
            devices = await call(lambda capture=capture: _devices(capture), _LIST_SECONDS)  # type: ignore[misc]
        except TimeoutError:
            tell(problem(kind, "The sound system does not answer", "Restart the sound server, or the machine"))
        except (MeadowlarkError, OSError) as error:
            tell(problem(kind, str(error)))
        else:
            tell(ok(kind, ", ".join(f"{index} ({name})" for index, name, _ in devices), count=len(devices)))
            if capture:
                formats = {name: given for _, name, given in devices}
    return formats


def _devices(capture: bool) -> list[tuple[int, str, str]]:
    """Number, name and format of each. Blocking."""
    from satellite import pyaudio_device  # the only place that may need PyAudio

    with pyaudio_device.portaudio() as audio:
        return [
            (device.index, device.name, f"{device.rate} Hz, channels: {device.channels}")
            for device in pyaudio_device.list_devices(audio, capture=capture)
        ]


async def _check_recording(settings: SatelliteSettings, tell: Tell) -> None:
    try:
        pcm = await call(lambda: _read(Path(settings.mic)), _LATE_SECONDS)
    except TimeoutError:
        tell(problem("microphone", f"{settings.mic} cannot be read in time", "Copy it to this machine's own disk"))
        return
    except MeadowlarkError as error:
        tell(_failed("microphone", error))
        return
    if len(pcm) < RATE:  # half a second
        tell(problem("microphone", f"{settings.mic} is too short", "Record 3 s of quiet and the wake word"))
        return
    sound = measure(pcm)
    tell(ok("microphone", f"the recording {settings.mic}, {sound.seconds:.1f} s", seconds=sound.seconds))
    for finding in judge_room(sound):
        tell(finding)
    if not sound.is_dead:
        tell(judge_voice(sound, sound.floor))
        for finding in judge_scores(await _scores(settings, settings.wake_word, pcm)):
            tell(finding)


def _read(path: Path) -> bytes:
    blocks = WavBlocks(path)
    pcm = bytearray()
    try:
        while len(pcm) < _LONGEST_SECONDS * BYTES_PER_SECOND and (block := blocks.read()) is not None:
            pcm += block
    finally:
        blocks.close()
    return bytes(pcm)


async def _check_microphone(
    source: Source, given: str, settings: SatelliteSettings, person: Person | None, tell: Tell
) -> None:
    try:
        await record(source, _WARM_UP_SECONDS)
        tell(ok("microphone", f"'{source.name}' gives sound" + (f" (by itself {given})" if given else "")))
        if person is not None:
            person.say(f"Be quiet for {QUIET_SECONDS:g} seconds, please ...")
        room = measure(await record(source, QUIET_SECONDS))
        for finding in judge_room(room):
            tell(finding)
        await _check_words(source, settings, room, person, tell)
    except (AudioError, TimeoutError) as error:
        reason = str(error) or "it gives no sound"
        tell(
            problem(
                "microphone",
                f"'{source.name}' does not record ({reason})",
                "Check that it is plugged in and that the sound server runs",
            )
        )
        return
    if is_device(settings.mic) and is_device(settings.speaker):
        await check_echo(source, settings, room, person, tell)
    else:
        tell(ok("speaker", "not checked: that needs a microphone and a speaker, not files or pipes"))


async def _check_words(
    source: Source, settings: SatelliteSettings, room: Sound, person: Person | None, tell: Tell
) -> None:
    words = named_words(settings.wake_word)
    if not words:
        tell(ok("wake word", "there is none: push to talk"))
        return
    if person is None:
        tell(advice("wake word", "not tried, as nobody was asked to say it", "Run this in a terminal, without --quick"))
        return
    for word in words:
        person.say(f'Now say "{word.partition(":")[0].replace("_", " ")}" from where you usually are ...')
        pcm = await record(source, WORD_SECONDS)
        voice = judge_voice(measure(pcm), room.floor)
        tell(voice)
        for finding in judge_scores(await _scores(settings, [word], pcm)):
            tell(finding)


async def record(source: Source, seconds: float) -> bytes:
    """So much of what comes from now on. Raises AudioError where it ends, TimeoutError where nothing comes."""
    pcm = bytearray()
    async with asyncio.timeout(seconds + _LATE_SECONDS):
        while len(pcm) < seconds * BYTES_PER_SECOND:
            piece = await source.read()
            if not piece:
                raise AudioError(f"{source.name} ended after {len(pcm) / BYTES_PER_SECOND:.1f} s")
            pcm += piece
    return bytes(pcm)


def judge_room(sound: Sound) -> list[Finding]:
    """What a recording without speech says about the microphone."""
    numbers = {"level_dbfs": round(sound.level, 1), "floor_dbfs": round(sound.floor, 1), "offset": sound.offset}
    shown = f"noise floor {sound.floor:.0f} dBFS, level {sound.level:.0f} dBFS"
    if sound.is_dead:
        return [
            problem(
                "room",
                "There is only digital silence on this channel",
                "Unmute the microphone (alsamixer, pavucontrol), or choose another device (--mic) or `channel`",
                **numbers,
            )
        ]
    findings = []
    if sound.clipped > _CLIPPED:
        share = 100 * sound.clipped
        findings.append(_clipped("room", f"{share:.1f} % of the samples are at the limit although nobody speaks"))
    if abs(sound.offset) > _OFFSET:
        findings.append(
            advice(
                "room",
                f"The microphone's sound is off centre by {100 * sound.offset:.0f} % of full scale",
                "Set front_end.high_pass (it needs the extra echo), or replace the microphone",
                **numbers,
            )
        )
    if not findings and sound.floor > _NOISY:
        findings.append(
            advice(
                "room",
                f"It is noisy: {shown}",
                "Move the microphone away from fans and speakers, lower its capture volume where voices are loud"
                " enough, or set front_end.noise_suppression (it needs the extra echo)",
                **numbers,
            )
        )
    return findings or [ok("room", shown, **numbers)]


def judge_voice(sound: Sound, floor: float) -> Finding:
    """What a recording of the wake word says about loudness, in a room with a noise of `floor` dBFS."""
    snr = sound.speech - floor
    shown = f"peak {sound.peak:.0f} dBFS, {snr:.0f} dB above the room"
    numbers = {"peak_dbfs": round(sound.peak, 1), "snr_db": round(snr, 1), "clipped": sound.clipped}
    if sound.clipped > _CLIPPED:
        return _clipped("voice", f"{100 * sound.clipped:.1f} % of the samples are at the limit", **numbers)
    if snr < _UNHEARD:
        return problem(
            "voice",
            f"Nobody was heard ({shown})",
            "Choose the microphone that is near you (--mic), and raise its capture volume (alsamixer, pavucontrol)",
            **numbers,
        )
    louder = "Raise the capture volume (alsamixer, pavucontrol), come nearer, or set front_end.gain_control"
    if sound.peak < _TOO_FAINT:
        return problem("voice", f"Your voice is too quiet ({shown})", louder, **numbers)
    if sound.peak < _FAINT:
        return advice("voice", f"Your voice is quiet ({shown})", louder, **numbers)
    if snr < _CLOSE:
        return advice(
            "voice",
            f"Your voice hardly stands out of the room ({shown})",
            "Move the microphone nearer to you, or away from what is loud",
            **numbers,
        )
    return ok("voice", shown, **numbers)


def _clipped(check: str, text: str, **numbers: float) -> Finding:
    return problem(check, text, "Lower the capture volume (alsamixer, pavucontrol), or go further away", **numbers)


@dataclass(frozen=True)
class Score:
    """How well a wake word was heard."""

    name: str
    best: float
    threshold: float


async def _scores(settings: SatelliteSettings, words: Sequence[str], pcm: bytes) -> list[Score]:
    """The highest score of each word in a recording, as the front end leaves it."""
    wanted = named_words(words)
    if not wanted:
        return []
    try:
        return await asyncio.to_thread(
            lambda: best_scores(wanted, open_front_end(settings.front_end).process(pcm), settings.wake_folder)
        )
    except MissingExtraError:  # `packages` says so
        return []


def best_scores(words: Sequence[str], pcm: bytes, folder: Path | None = None) -> list[Score]:
    """The highest score of each NAME[:THRESHOLD] in internal audio. Blocking: a hundredth of the audio's length."""
    engines = open_engines(installed_wake_folder(), folder)
    scores = []
    for name, threshold in choose(words, engines).items():
        scorer = engines.engines[engines.engine_of(name)].scorer({plain_name(name): name})
        frames = (pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES))
        best = max((score for frame in frames for score in scorer.score(frame).values()), default=0.0)
        scores.append(Score(name, float(best), threshold))
    return scores


def judge_scores(scores: Sequence[Score]) -> list[Finding]:
    """Whether each wake word was heard."""
    return [_judge_score(score) for score in scores]


def _judge_score(score: Score) -> Finding:
    shown = f"'{score.name}' scored {score.best:.2f}, and is heard from {score.threshold:.2f}"
    numbers: Mapping[str, str | float] = {
        "word": score.name,
        "score": round(score.best, 3),
        "threshold": score.threshold,
    }
    lower = f"--wake-word {score.name}:{max(0.2, round(score.threshold - 0.2, 2)):g}"
    if score.best < score.threshold:
        return problem(
            "wake word",
            shown,
            f"Say it once more, plainly; where your voice is loud enough, try {lower} or another word",
            **numbers,
        )
    if score.best < score.threshold + _NARROW * (1 - score.threshold):
        return advice("wake word", shown, f"That is close: where it is often missed, try {lower}", **numbers)
    return ok("wake word", shown, **numbers)
