"""The command itself, as a process: what it prints, how it ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from wyoming.error import Error

from handlers.audio import read_wav, to_float, write_wav
from satellite.flags import add_flags, settings_from
from tests.satellite.peer import ANSWER, Peer, PeerConnection, Script, well_behaved
from tests.satellite.test_link import free_port
from tests.support.speech import Speaker, silence

Serve = Callable[[Script], asyncio.Future[Peer]]
Wav = Callable[[bytes], Path]

COMMAND = [sys.executable, "-W", "ignore", "-c", "import sys; from satellite.cli import main; sys.exit(main())"]


@dataclass
class Ended:
    code: int
    out: str
    err: str


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MEADOWLARK_SATELLITE__SOCKET": "none", **environment},  # others run here, too
    )


async def satellite(*arguments: str, **environment: str) -> Ended:
    process = await start(*arguments, **environment)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def assert_one_sentence(ended: Ended) -> None:
    """One line on stderr that is ours, and no stack trace."""
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert ended.err.startswith("meadowlark-satellite: ")


async def test_once_prints_transcript_answer_and_timeline_and_writes_the_answer(
    serve: Serve, speaker: Speaker, wav: Wav, tmp_path: Path
) -> None:
    peer = await serve(well_behaved)
    audio = silence(0.3) + speaker.say("Okay Nabu.") + silence(0.3) + speaker.say("What time is it?") + silence(0.5)
    answer = tmp_path / "a.wav"
    ended = await satellite("--server", peer.uri, "--mic", str(wav(audio)), "--speaker", str(answer), "--once")
    assert ended.code == 0, ended.err
    shown = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert shown["transcript"] == "What time is it?"
    assert shown["answer"] == ANSWER
    assert re.fullmatch(r"transcript \d+ ms, text \d+ ms, audio \d+ ms after the end of speech", shown["latency"])
    assert shown["timeline"] == "turn_id=t1 route=time outcome=completed speech_end=100ms done=321.5ms"
    assert read_wav(answer)
    assert "What time" not in ended.err  # nobody's words in the log


async def test_settings_come_from_a_file_and_the_environment(serve: Serve, wav: Wav, tmp_path: Path) -> None:
    peer = await serve(well_behaved)
    config = tmp_path / "settings.yaml"
    ours = f"satellite:\n  server: {peer.uri}\n  wake_word: [none]\n  mic: nowhere.wav\n  name: attic\n"
    config.write_text(ours + "asr:\n  model: the server's\n")
    ended = await satellite(
        *("--once", "--config", str(config), "--speaker", "none"),
        MEADOWLARK_SATELLITE__MIC=str(wav(silence(1))),
        MEADOWLARK_ASR__MODEL="base",  # the server's
    )
    assert ended.code == 0, ended.err
    assert peer.turns[0].request.data["context"]["satellite_id"] == "attic"


async def test_the_volume_is_a_setting(serve: Serve, wav: Wav, tmp_path: Path) -> None:
    peer = await serve(well_behaved)
    loudness = []
    for volume in ("100", "50"):
        answer = tmp_path / f"{volume}.wav"
        ended = await satellite(
            *("--once", "--server", peer.uri, "--wake-word", "none", "--mic", str(wav(silence(1)))),
            *("--speaker", str(answer)),
            MEADOWLARK_SATELLITE__VOLUME=volume,
        )
        assert ended.code == 0, ended.err
        loudness.append(np.abs(to_float(read_wav(answer))).mean())
    assert loudness[1] == pytest.approx(loudness[0] / 4, rel=0.05)


@pytest.mark.parametrize(("variable", "value"), [("MIK", "default"), ("LOG_LEVEL", "loud"), ("VOLUME", "200")])
async def test_a_variable_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    ended = await satellite("--once", **{f"MEADOWLARK_SATELLITE__{variable}": value})
    assert ended.code == 2
    assert f"MEADOWLARK_SATELLITE__{variable}" in ended.err
    assert_one_sentence(ended)


async def test_audio_goes_through_pipes(serve: Serve, speaker: Speaker) -> None:
    peer = await serve(well_behaved)
    process = await start("--server", peer.uri, "--mic", "-", "--speaker", "-", "--wake-word", "none", "--once")
    async with asyncio.timeout(60):
        out, err = await process.communicate(silence(1.0))
    assert process.returncode == 0, err
    assert len(out) > 10_000  # audio only
    assert b"transcript" not in out
    assert b"What time is it?" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--mic", "missing.wav"], 2, "missing.wav does not exist"),
        (["--mic", "{folder}/empty.wav"], 2, "empty.wav"),
        (["--speaker", "/nowhere/a.wav"], 2, "cannot be written"),
        (["--wake-word", "okay nabbu"], 2, "did you mean 'okay nabu'"),
        (["--server", "http://x"], 2, "tcp://HOST:PORT"),
        (["--config", "missing.yaml"], 2, "missing.yaml"),
        (["--config", "{folder}/typo.yaml"], 2, "mic"),
        (["--server", "tcp://127.0.0.1:{free}"], 1, "No server answers"),
        (["--wake-word", "okay_nabu"], 1, "was not heard"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    serve: Serve, wav: Wav, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    peer = await serve(well_behaved)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "typo.yaml").write_text("satellite: {mike: default}\n")
    usual = {
        "--server": peer.uri,
        "--mic": str(wav(silence(0.2))),
        "--speaker": "none",
        "--wake-word": "none",
    }
    given = [argument.format(folder=tmp_path, free=free_port()) for argument in arguments]
    usual |= dict(zip(given[::2], given[1::2], strict=True))
    ended = await satellite(*(part for pair in usual.items() for part in pair))
    assert ended.code == code, ended.err
    assert words in ended.err
    assert_one_sentence(ended)


async def test_an_error_of_the_server_is_told_and_ends_with_1(serve: Serve, wav: Wav, tmp_path: Path) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        await connection.send_raw(b'{"type": "error", "data": {"text": "No speech was heard", "code": "no-speech"}}\n')
        await connection.hang_up()

    peer = await serve(script)
    answer = tmp_path / "a.wav"
    ended = await satellite(
        *("--server", peer.uri, "--mic", str(wav(silence(0.3))), "--speaker", str(answer)),
        *("--wake-word", "none", "--once"),
    )
    assert (ended.code, ended.err) == (1, "meadowlark-satellite: No speech was heard\n")
    assert not answer.exists()


@pytest.mark.parametrize("flag", ["--mic", "--speaker"])
async def test_a_device_without_pyaudio_names_the_extra(wav: Wav, flag: str) -> None:
    program = COMMAND[-1].replace("import sys;", "import sys; sys.modules['pyaudio'] = None;")
    usual = {"--mic": str(wav(silence(0.2))), "--speaker": "none", flag: "default"}
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND[:-1], program, "--wake-word", "none", "--once", *(part for pair in usual.items() for part in pair)),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 2  # as for every device that cannot be used; systemd then does not try again
    assert b"pip install 'meadowlark[microphone]'" in errors
    assert b"script/setup satellite" in errors
    assert b"Traceback" not in errors


async def test_a_command_that_is_none_names_the_nearest() -> None:
    ended = await satellite("tlak")
    assert ended.code == 2
    assert "did you mean talk?" in ended.err
    assert_one_sentence(ended)


async def test_unknown_flags_are_refused() -> None:
    ended = await satellite("--listen", "tcp://0.0.0.0:10700")
    assert ended.code == 2
    assert "--listen" in ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_it_cleanly(serve: Serve, number: signal.Signals) -> None:
    asked = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.1)
        if connection.received:
            asked.set()
        await connection.receive_until("never")

    peer = await serve(script)
    process = await start("--server", peer.uri, "--mic", "-", "--speaker", "none", "--wake-word", "none", "--once")
    assert process.stdin is not None
    process.stdin.write(silence(1))
    async with asyncio.timeout(60):
        await asked.wait()  # in the middle of a turn
        process.send_signal(number)
        assert process.stderr is not None
        errors = await process.stderr.read()
        assert await process.wait() == 0
    assert b"Traceback" not in errors
    process.stdin.close()


async def test_words_and_numbers_need_no_brackets_or_quotes_in_the_settings(tmp_path: Path) -> None:
    settings = tmp_path / "s.yaml"
    settings.write_text("satellite: {wake_word: alexa, stop_word: none, mic: 99}\n")
    parser = argparse.ArgumentParser()
    add_flags(parser)
    read = settings_from(parser.parse_args(["--config", str(settings)]), {})
    assert (read.wake_word, read.stop_word, read.mic) == (["alexa"], ["none"], "99")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--server", "tcp://127.0.0.1:1", "--uri", "tcp://127.0.0.1:2"], "exclude each other"),
        (["--uri", "10700"], "uri must be like tcp://0.0.0.0:10700"),
    ],
)
async def test_two_partners_or_none_that_can_be(arguments: list[str], words: str) -> None:
    ended = await satellite(*arguments)
    assert ended.code == 2
    assert words in ended.err
    assert_one_sentence(ended)


async def test_the_silence_at_the_end_of_a_recording_is_no_failure(tmp_path: Path, speaker: Speaker) -> None:
    async def once_well(connection: PeerConnection) -> None:
        if peer.turns:
            await connection.receive_until("audio-stop")
            await connection.send(Error(text="No speech was heard", code="no-speech").event())
            return
        await connection.receive_audio(0.5)
        if connection.received:
            await connection.answer()
            await connection.receive_until("never")

    recording = tmp_path / "q.wav"
    write_wav(recording, speaker.say("What time is it?") + silence(1.5))
    async with Peer(once_well) as peer:
        ended = await satellite(
            "--server", peer.uri, "--mic", str(recording), "--speaker", "none", "--wake-word", "none"
        )
        assert len(peer.turns) >= 2
    assert ended.code == 0, ended.err
