"""The doctor: what it says of recordings, of a sound card without hardware, of servers and of machines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from wyoming.event import Event
from wyoming.info import AsrProgram, Attribution, HandleProgram, Info, TtsProgram, WakeProgram

from handlers import __version__
from handlers.audio import RATE, from_float, to_float, write_wav
from satellite.doctor import examine
from satellite.doctor_echo import judge_unheard
from satellite.doctor_sound import judge_room, judge_voice
from satellite.doctor_system import check_house, memory, packages, power, processor, sound_system
from satellite.findings import Finding, Verdict, is_well, summary
from satellite.front_end import FrontEndSettings
from satellite.measure import find, measure, sea
from satellite.settings import SatelliteSettings
from tests.satellite.peer import Peer, PeerConnection, Script
from tests.satellite.test_cli import COMMAND, Ended, assert_one_sentence, satellite
from tests.satellite.test_link import free_port
from tests.satellite.virtual_audio import VirtualAudio
from tests.support.speech import Speaker, silence

Serve = Callable[[Script], asyncio.Future[Peer]]
Wav = Callable[[bytes], Path]

ROOM = -65.0
"""dBFS, a quiet one."""


def info(version: str = __version__, handle: str = "meadowlark") -> Event:
    about = {"attribution": Attribution("", ""), "installed": True, "description": "", "version": version}
    return Info(
        asr=[AsrProgram("meadowlark", models=[], **about)],  # type: ignore[arg-type]
        tts=[TtsProgram("meadowlark", voices=[], **about)],  # type: ignore[arg-type]
        wake=[WakeProgram("meadowlark", models=[], **about)],  # type: ignore[arg-type]
        handle=[HandleProgram(handle, models=[], **about)],  # type: ignore[arg-type]
    ).event()


def describing(event: Event) -> Script:
    """A server that tells what it offers."""

    async def script(connection: PeerConnection) -> None:
        while (asked := await connection.receive()) is not None:
            if asked.type == "describe":
                await connection.send(event)

    return script


def in_a_room(pcm: bytes, level: float = ROOM) -> bytes:
    """The same with a microphone's noise, at so many dBFS."""
    samples = to_float(pcm)
    noise = np.random.default_rng(2).standard_normal(len(samples)) * 10 ** (level / 20)
    return from_float((samples + noise).astype(np.float32))


def loud(pcm: bytes, factor: float) -> bytes:
    return from_float(to_float(pcm) * factor)


@pytest.fixture(scope="module")
def called(speaker: Speaker) -> bytes:
    """Quiet, the wake word with a peak of about -6 dBFS, and quiet."""
    word = to_float(speaker.say("Okay Nabu."))
    return silence(3) + from_float(word * (0.5 / np.abs(word).max())) + silence(1.5)


@pytest.fixture
def word(called: bytes, tmp_path: Path) -> Path:
    """The wake word twice, in a room: a busy machine loses a block of sound now and then."""
    once = called[int(2.8 * RATE) * 2 :]
    write_wav(tmp_path / "word.wav", in_a_room(once[:-RATE] + once))
    return tmp_path / "word.wav"


async def found(settings: SatelliteSettings, person: Somebody | None = None) -> dict[str, Finding]:
    findings: list[Finding] = []
    await examine(settings, person, findings.append)
    return {finding.check: finding for finding in findings}


class Somebody:
    """A person at a terminal, who does with a sound card what they are told."""

    def __init__(self, says: Callable[[], None]) -> None:
        self._says = says
        self.asked: list[str] = []
        self.saying: list[asyncio.Future[None]] = []

    def say(self, text: str) -> None:
        if "okay nabu" in text:
            self.saying.append(asyncio.ensure_future(asyncio.to_thread(self._says)))

    async def confirms(self, question: str) -> bool | None:
        self.asked.append(question)
        return True


# Recordings.


async def test_a_good_recording_and_a_good_server_are_fine(serve: Serve, called: bytes, wav: Wav) -> None:
    peer = await serve(describing(info()))
    findings = await found(SatelliteSettings(server=peer.uri, mic=str(wav(in_a_room(called))), speaker="none"))
    assert [findings[check].verdict for check in ("microphone", "room", "voice", "wake word", "server")] == ["ok"] * 5
    room, voice, word, server = (findings[check].data for check in ("room", "voice", "wake word", "server"))
    assert room["floor_dbfs"] == pytest.approx(ROOM, abs=3)
    assert voice["peak_dbfs"] == pytest.approx(-6, abs=1)
    assert float(word["score"] or 0) > 0.9
    assert (server["version"], server["ready"]) == (__version__, "asr, tts, wake, handle")
    assert f"{peer.uri} as it was named" in findings["server"].text
    assert is_well(list(findings.values()))


@pytest.mark.parametrize(
    ("spoil", "check", "verdict", "words"),
    [
        (lambda pcm: in_a_room(loud(pcm, 20)), "voice", Verdict.PROBLEM, "at the limit"),
        (lambda pcm: in_a_room(loud(pcm, 0.003), -90), "voice", Verdict.PROBLEM, "too quiet"),
        (lambda pcm: in_a_room(loud(pcm, 0.02), -80), "voice", Verdict.ADVICE, "is quiet"),
        (lambda pcm: in_a_room(silence(5)), "voice", Verdict.PROBLEM, "Nobody was heard"),
        (lambda pcm: in_a_room(pcm, -28), "voice", Verdict.ADVICE, "hardly stands out"),
        (lambda pcm: in_a_room(pcm, -40), "room", Verdict.ADVICE, "noisy"),
        (lambda pcm: silence(5), "room", Verdict.PROBLEM, "digital silence"),
        (lambda pcm: from_float(to_float(in_a_room(pcm)) + np.float32(0.1)), "room", Verdict.ADVICE, "off centre"),
        (lambda pcm: in_a_room(pcm[: len(pcm) // 3]), "wake word", Verdict.PROBLEM, "scored 0"),
    ],
    ids=["clipped", "too quiet", "quiet", "nobody", "noise", "noisy", "dead", "offset", "no word"],
)
async def test_what_is_wrong_with_a_recording_is_said(
    called: bytes, wav: Wav, spoil: Callable[[bytes], bytes], check: str, verdict: Verdict, words: str
) -> None:
    mic = str(wav(spoil(called)))
    words_wanted = ["okay_nabu" if check == "wake word" else "none"]
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    findings = await found(SatelliteSettings(server=nowhere, mic=mic, speaker="none", wake_word=words_wanted))
    assert (findings[check].verdict, words in findings[check].text) == (verdict, True), findings[check]
    assert findings[check].to_do
    assert findings[check].to_do in summary(list(findings.values()))


def test_a_room_that_is_only_clipped_is_told_once() -> None:
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    assert [finding.verdict for finding in judge_room(measure(from_float(noise)))] == [Verdict.PROBLEM]


def test_a_voice_is_judged_against_the_room(called: bytes) -> None:
    sound = measure(in_a_room(called))
    assert judge_voice(sound, sound.floor).verdict == Verdict.OK
    assert judge_voice(sound, sound.speech - 3).verdict == Verdict.PROBLEM


def test_the_played_sound_is_found_in_noise_and_not_elsewhere(called: bytes) -> None:
    played = sea()
    echo = from_float(np.concatenate([np.zeros(5000, np.float32), to_float(played) * np.float32(0.01)]))
    assert find(played, in_a_room(echo + silence(0.5), -60)) == pytest.approx(5000, abs=2)  # 4 dB below the noise
    assert find(played, in_a_room(called, -60)) is None
    assert find(played, silence(6)) is None


# A sound card.


@contextlib.asynccontextmanager
async def humming(audio: VirtualAudio, path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The noise of a room; without it a microphone that is made of software is taken for a dead one."""
    write_wav(path, in_a_room(silence(60)))
    command = ["paplay", "--device=mic_feed", "--latency-msec=100", str(path)]
    playing = await asyncio.create_subprocess_exec(*command, env={**os.environ, **audio.environment})
    try:
        yield playing
    finally:
        with contextlib.suppress(ProcessLookupError):
            playing.kill()
        await playing.wait()


async def test_a_satellite_that_is_well(virtual_audio: VirtualAudio, serve: Serve, word: Path, tmp_path: Path) -> None:
    peer = await serve(describing(info()))
    with virtual_audio.echo(60):
        async with humming(virtual_audio, tmp_path / "hum.wav") as room:

            def says() -> None:
                room.kill()  # the word has its own noise
                virtual_audio.say(word)

            person = Somebody(says)
            findings = await found(SatelliteSettings(server=peer.uri), person)
            await asyncio.gather(*person.saying)
    assert "default" in findings["microphones"].text
    assert " Hz" in findings["microphone"].text
    assert "default" in findings["speakers"].text
    checks = ("microphones", "speakers", "microphone", "voice", "wake word", "speaker", "server")
    assert {check: findings[check].verdict for check in checks} == dict.fromkeys(checks, Verdict.OK)
    assert findings["speaker"].data["heard"] is True
    assert "echo" in findings
    assert not person.asked


@pytest.mark.parametrize(("hears", "verdict"), [(True, "ok"), (None, "advice"), (False, "problem")])
def test_a_speaker_that_the_microphone_does_not_hear(hears: bool | None, verdict: str) -> None:
    assert judge_unheard(hears).verdict == verdict


async def test_a_channel_without_sound(virtual_audio: VirtualAudio) -> None:
    with virtual_audio.stereo():
        nowhere = f"tcp://127.0.0.1:{free_port()}"
        findings = await found(SatelliteSettings(server=nowhere, channel=2, speaker="none", wake_word=["none"]))
    assert findings["room"].verdict == Verdict.PROBLEM
    assert "channel" in findings["room"].to_do


@pytest.mark.parametrize("device", ["mic", "speaker"])
async def test_a_device_that_is_not_there(virtual_audio: VirtualAudio, wav: Wav, device: str) -> None:
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    settings = SatelliteSettings.model_validate({"server": nowhere, "wake_word": ["none"], device: "Yeti"})
    findings = await found(settings)
    check = findings["microphone" if device == "mic" else "speaker"]
    assert check.verdict == Verdict.PROBLEM
    assert "'Yeti'; choose one of 0 (default)" in check.text


# Servers.


@pytest.mark.parametrize(
    ("event", "verdict", "words"),
    [
        (info(version="9.9"), Verdict.ADVICE, "Update the older"),
        (info(handle="other"), Verdict.PROBLEM, "Name yours"),
        (Event("pong"), Verdict.PROBLEM, "does not tell what it offers"),
    ],
    ids=["another version", "another program", "no Wyoming service"],
)
async def test_another_server(serve: Serve, wav: Wav, event: Event, verdict: Verdict, words: str) -> None:
    peer = await serve(describing(event))
    settings = SatelliteSettings(server=peer.uri, mic=str(wav(silence(1))), speaker="none", wake_word=["none"])
    server = (await found(settings))["server"]
    assert server.verdict == verdict
    assert words in f"{server.text} {server.to_do}"


async def test_a_port_for_home_assistant(serve: Serve) -> None:
    told: list[Finding] = []
    await check_house("tcp://127.0.0.1:10700", told.append)
    await check_house(f"tcp://0.0.0.0:{free_port()}", told.append)
    peer = await serve(describing(info()))
    await check_house(f"tcp://0.0.0.0:{peer.port}", told.append)
    await check_house("tcp://192.0.2.1:10700", told.append)  # nobody's address
    assert [finding.verdict for finding in told] == ["advice", "ok", "ok", "problem"]
    assert "is free" in told[1].text
    assert "answers" in told[2].text


# Machines.


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("throttled", "verdict", "words"),
    [
        ("0\n", Verdict.OK, "enough"),
        ("50005\n", Verdict.PROBLEM, "too little power now"),
        ("50000\n", Verdict.ADVICE, "since it was started"),
        ("80008\n", Verdict.ADVICE, "heat"),
    ],
)
def test_a_raspberry_pi_that_gets_too_little_power(
    tmp_path: Path, throttled: str, verdict: Verdict, words: str
) -> None:
    root = machine(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": throttled})
    finding = power(root)
    assert finding is not None
    assert (finding.verdict, words in finding.text) == (verdict, True)


@pytest.mark.parametrize(
    ("governor", "driver", "verdict"),
    [
        ("powersave", "cpufreq-dt", Verdict.ADVICE),
        ("powersave", "intel_pstate", Verdict.OK),
        ("ondemand", "cpufreq-dt", Verdict.OK),
    ],
)
def test_the_governor(tmp_path: Path, governor: str, driver: str, verdict: Verdict) -> None:
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    root = machine(tmp_path, {f"{folder}/scaling_governor": governor, f"{folder}/scaling_driver": driver})
    finding = processor(root)
    assert finding is not None
    assert finding.verdict == verdict


@pytest.mark.parametrize(("kilobytes", "verdict"), [(2_000_000, "ok"), (60_000, "advice"), (9_000, "problem")])
def test_free_memory(tmp_path: Path, kilobytes: int, verdict: str) -> None:
    finding = memory(machine(tmp_path, {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {kilobytes} kB\n"}))
    assert finding is not None
    assert finding.verdict == verdict


def test_the_sound_system(tmp_path: Path) -> None:
    assert sound_system(tmp_path, {}).verdict == Verdict.ADVICE
    cards = {"proc/asound/cards": " 0 [Headphones     ]: bcm2835\n 1 [USB            ]: USB-Audio\n"}
    root = machine(tmp_path, cards)
    assert "cards: Headphones, USB" in sound_system(root, {}).text
    assert sound_system(machine(root, {"run/user/7/pipewire-0": ""}), {"XDG_RUNTIME_DIR": "/run/user/7"}).text == (
        "PipeWire"
    )


def test_only_what_is_needed_has_to_be_installed() -> None:
    missing = {"satellite": [], "microphone": ["pyaudio"], "echo": ["livekit"]}
    files = SatelliteSettings(mic="a.wav", speaker="none")
    assert [finding.verdict for finding in packages(files, missing)] == [Verdict.OK]
    devices = SatelliteSettings(front_end=FrontEndSettings(noise_suppression=True))
    needed = packages(devices, missing)
    assert [finding.to_do for finding in needed] == [
        "pip install 'meadowlark[microphone]'",
        "pip install 'meadowlark[echo]'",
    ]


# The command.


async def doctor(*arguments: str) -> Ended:
    return await satellite("doctor", *arguments)


async def test_the_command_says_what_to_change_and_ends_with_1(called: bytes, wav: Wav) -> None:
    uri = f"tcp://127.0.0.1:{free_port()}"
    ended = await doctor("--server", uri, "--mic", str(wav(in_a_room(called))), "--speaker", "none")
    assert ended.code == 1
    *findings, head, last = ended.out.splitlines()
    assert head == "What to change:"
    assert last.startswith(f"- server: No server answers at {uri}")
    assert {line.split()[0] for line in findings if line} <= {"ok", "problem"}
    assert "Traceback" not in ended.err


async def test_for_machines_there_is_json(serve: Serve, called: bytes, wav: Wav) -> None:
    peer = await serve(describing(info()))
    ended = await doctor("--json", "--server", peer.uri, "--mic", str(wav(in_a_room(called))), "--speaker", "none")
    told = json.loads(ended.out)
    assert (ended.code, told["ok"]) == (0, True), told
    assert {"check": "wake word", "verdict": "ok"}.items() <= next(
        finding for finding in told["findings"] if finding["check"] == "wake word"
    ).items()


@pytest.mark.parametrize(
    "arguments",
    [["--wake-word", "okay nabbu"], ["--config", "missing.yaml"], ["--wake-word", "alexa:7"], ["--server", "http://x"]],
)
async def test_settings_that_cannot_be_used_end_with_2(arguments: list[str]) -> None:
    ended = await doctor(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert_one_sentence(
        Ended(ended.code, "", ended.err.replace("meadowlark-satellite doctor:", "meadowlark-satellite:"))
    )


async def test_at_a_terminal_the_person_is_asked(virtual_audio: VirtualAudio, serve: Serve, word: Path) -> None:
    peer = await serve(describing(info()))
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "doctor", "--server", peer.uri, "--json"),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(90):
            while b"okay nabu" not in (line := await process.stderr.readline()):
                assert line, await process.stdout.read()
            await asyncio.to_thread(virtual_audio.say, word)
            while b"Did you hear" not in (line := await process.stderr.readline()):
                assert line, await process.stdout.read()
            os.write(ours, b"no\n")  # and the microphone does not hear the speaker either
            out = await process.stdout.read()
            await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)
        os.close(theirs)
    told = {finding["check"]: finding for finding in json.loads(out)["findings"]}
    assert (told["wake word"]["verdict"], told["speaker"]["verdict"]) == ("ok", "problem"), out.decode()
    assert process.returncode == 1
