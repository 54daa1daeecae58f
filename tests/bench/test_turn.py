"""Whole runs of bench/turn.py against scripted servers on real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioStop
from wyoming.error import Error
from wyoming.event import Event

from bench.clips import QUESTIONS, Clip, make_clip
from bench.labels import energy_label
from bench.options import parse
from bench.peer import speaking
from bench.pipeline import ServerTarget
from bench.record import TurnRecord, take_turn
from bench.turn import main, run
from bench.usage import Usage, listening
from bench.wyoming_chain import ChainOptions, ChainTarget
from handlers.audio import BYTES_PER_SECOND, seconds, write_wav
from handlers.errors import SettingsError
from handlers.wire.client import connect
from tests.satellite.peer import Peer, PeerConnection
from tests.support.bench_peers import asr, pipeline, replying, sounds, tts

ROOT = Path(__file__).parents[2]

END = 0.5
"""Where the tone of the clip ends; the clip itself ends 50 ms later."""

TOLERANCE_MS = 1.0
"""Rounding, and timers that may fire a clock tick early."""


@pytest.fixture
def clip() -> Clip:
    return make_clip("what time is it.wav", sounds(0.2, END - 0.2, 0.3), energy_label, "what time is it")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "what time is it.wav"
    write_wav(path, sounds(0.2, END - 0.2, 0.3))
    return path


def _server(peer: Peer, silence: float = 1.0) -> ServerTarget:
    return ServerTarget(("127.0.0.1", peer.port), silence)


async def test_times_are_counted_from_the_end_of_speech(clip: Clip) -> None:
    async with Peer(pipeline(END + 0.1, END + 0.2, END + 0.3, marks={"endpoint": END * 1000 + 80})) as peer:
        record = await take_turn(_server(peer), clip, 1, 20.0)
    assert record.error is None
    assert clip.end_of_speech == pytest.approx(END, abs=0.02)
    early = (END - clip.end_of_speech) * 1000 - TOLERANCE_MS
    assert record.ms["transcript"] >= 100 + early
    assert record.ms["first_text"] >= 200 + early
    assert record.ms["first_audio"] >= 300 + early
    assert record.ms["transcript"] <= record.ms["first_text"] <= record.ms["first_audio"] <= record.ms["last_audio"]
    assert record.server_ms["endpoint"] <= record.ms["transcript"]
    assert record.timeline["route"] == "time"
    assert (record.transcript, record.answer) == ("what time is it", "It is noon.")
    assert record.audio_seconds == pytest.approx(0.5, abs=0.001)
    assert not record.cut_off


async def test_audio_is_sent_when_it_has_been_spoken_and_a_stall_is_caught_up() -> None:
    pcm = sounds(0.0, 1.2, 0.0)
    arrivals: list[tuple[int, float]] = []

    async def script(connection: PeerConnection) -> None:
        got = 0
        while (event := await connection.receive()) is not None and not AudioStop.is_type(event.type):
            got += len(event.payload or b"")
            arrivals.append((got, time.monotonic()))
            if event.payload and len(arrivals) == 20:
                time.sleep(0.3)  # noqa: ASYNC251 -- the stall of a busy machine, which the sender shares

    async with Peer(script) as peer, connect("127.0.0.1", peer.port) as client, speaking(client, pcm) as audio:
        await peer.ended.get()
    assert arrivals[-1][0] == len(pcm)
    assert all(at >= audio.due(got) - TOLERANCE_MS / 1000 for got, at in arrivals if got)
    assert audio.late >= 0.25
    assert arrivals[-1][1] - audio.due(len(pcm)) < audio.late


async def test_a_transcript_before_the_label_is_a_cut_off() -> None:
    clip = make_clip("q", sounds(0.2, 1.8, 0.3), energy_label, "what time is it now")
    async with Peer(pipeline(0.2, 0.2, 0.2)) as peer:
        record = await take_turn(_server(peer), clip, 1, 20.0)
    assert record.error is None
    assert record.ms["transcript"] < 0
    assert record.cut_off


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([Error(text="No speech was heard", code="no-speech").event()], "no-speech"),
        ([Event("error", {})], "error"),
        ([Transcript(text="hello").event(), AudioStop().event()], "no-audio"),
        ([Event("audio-chunk", {"rate": "fast"}, b"1234")], "malformed"),
        ([Transcript(text="hello").event()], "timeout"),
    ],
)
async def test_what_is_no_answer_is_a_failure(clip: Clip, events: list[Event], code: str) -> None:
    async with Peer(replying(*events, after=0.1)) as peer:
        record = await take_turn(_server(peer), clip, 1, 0.4)
    assert record.error_code == code
    assert record.error


async def test_a_closed_connection_is_a_failure(clip: Clip) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive()
        await connection.hang_up()

    async with Peer(script) as peer:
        record = await take_turn(_server(peer), clip, 1, 20.0)
    assert record.error_code == "closed"


async def test_the_timeline_of_an_error_is_kept(clip: Clip) -> None:
    error = Error(text="The voice is broken", code="engine").event()
    error.data["timeline"] = {"route": "", "marks_ms": {"speech_start": 200.0}}
    async with Peer(replying(error, after=0.1)) as peer:
        record = await take_turn(_server(peer), clip, 1, 20.0)
    assert record.error == "The voice is broken"
    assert list(record.server_ms) == ["speech_start"]


async def test_hanging_up_at_the_first_audio_ends_the_turn(clip: Clip) -> None:
    async with Peer(pipeline(END + 0.1, END + 0.1, END + 0.1)) as peer:
        record = await take_turn(ServerTarget(("127.0.0.1", peer.port), 1.0, hang_up=True), clip, 1, 20.0)
        connection = await peer.ended.get()
    assert record.error is None
    assert "first_audio" in record.ms
    assert "last_audio" not in record.ms
    assert "audio-stop" not in [event.type for event in connection.received]


def _chain(asr_peer: Peer, tts_peer: Peer, options: ChainOptions) -> ChainTarget:
    return ChainTarget(("127.0.0.1", asr_peer.port), ("127.0.0.1", tts_peer.port), options)


async def test_the_chain_speaks_what_it_understood(clip: Clip) -> None:
    async with Peer(asr("turn it on", after=END + 0.2)) as ears, Peer(tts) as mouth:
        record = await take_turn(_chain(ears, mouth, ChainOptions(silence=1.0)), clip, 1, 20.0)
        await mouth.ended.get()
    assert record.error is None
    assert (record.transcript, mouth.connections[0].received[0].data["text"]) == ("turn it on", "turn it on")
    assert record.ms["transcript"] >= 200 + (END - clip.end_of_speech) * 1000 - TOLERANCE_MS
    assert record.ms["transcript"] <= record.ms["first_audio"] <= record.ms["last_audio"]


async def test_the_chains_audio_is_ended_for_servers_that_do_not(clip: Clip) -> None:
    options = ChainOptions(silence=0.1, own_silence=0.3, reply="Done.")
    async with Peer(asr("turn it on", after=None)) as ears, Peer(tts) as mouth:
        record = await take_turn(_chain(ears, mouth, options), clip, 1, 20.0)
        await mouth.ended.get()
    assert record.error is None
    assert seconds(ears.connections[0].audio) == pytest.approx(clip.end_of_speech + 0.3, abs=0.001)
    assert record.ms["transcript"] >= 300 - TOLERANCE_MS
    assert mouth.connections[0].received[0].data["text"] == "Done."


async def test_a_chain_that_understands_nothing_has_failed(clip: Clip) -> None:
    async with Peer(asr(" ", after=END)) as ears, Peer(tts) as mouth:
        record = await take_turn(_chain(ears, mouth, ChainOptions(1.0, reply="Done.")), clip, 1, 20.0)
    assert record.error_code == "no-speech"


async def test_both_are_measured_turn_by_turn_and_compared(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    ours = pipeline(END + 0.1, END + 0.1, END + 0.1, marks={"endpoint": 600.0, "done": 900.0})
    async with Peer(ours) as server, Peer(asr("what time was it", after=END + 0.4)) as ears, Peer(tts) as mouth:
        code = await run(
            parse(
                [
                    *(str(recording), "--labeller", "energy", "--text-reference", "name", "--rounds", "2"),
                    *("--server", server.uri, "--http", "", "--asr", ears.uri, "--tts", mouth.uri, "--json", str(file)),
                ]
            )
        )
    shown = capsys.readouterr().out
    document = json.loads(file.read_text(encoding="utf-8"))
    assert code == 0
    assert set(document) == {"schema", "started", "config", "machine", "targets", "clips", "turns", "summary"}
    assert [(turn["target"], turn["round"]) for turn in document["turns"]] == [
        *[("server", 1), ("chain", 1), ("server", 2), ("chain", 2)]
    ]
    assert set(document["turns"][0]) == set(TurnRecord.__dataclass_fields__)
    summary = document["summary"]
    for name in ("server", "chain"):
        times = [turn["ms"]["first_audio"] for turn in document["turns"] if turn["target"] == name]
        assert summary[name]["ms"]["first_audio"]["median"] == pytest.approx(sum(times) / 2, abs=0.11)
        assert summary[name]["peak_rss_mib"] > 0
        assert summary[name]["cpu_seconds"] >= 0
        assert document["targets"][name]["pids"] == [os.getpid()]
    assert (summary["server"]["wer"], summary["chain"]["wer"]) == (0.0, 0.25)
    assert list(summary["server"]["server_ms"]) == ["endpoint", "done"]
    medians = [summary[name]["ms"]["first_audio"]["median"] for name in ("server", "chain")]
    assert summary["ratio_of_medians"]["first_audio"] == pytest.approx(medians[0] / medians[1], abs=0.001)
    assert document["clips"][0]["reference"] == "what time is it"
    assert "first audio" in shown
    assert "ratio of" in shown
    assert f"{medians[1]:.0f}" in shown


async def test_a_failed_turn_is_listed_and_the_exit_code_is_1(recording: Path) -> None:
    script = replying(Error(text="The model is gone", code="engine").event(), after=0.1)
    async with Peer(script) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "bench/turn.py", str(recording), "--labeller", "energy", "--server", server.uri),
            *("--http", "", "--warmup", "0", "--json", "-"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, err.decode()
    document = json.loads(out)
    assert document["summary"]["server"]["failed"] == 1
    assert document["turns"][0]["error_code"] == "engine"
    assert "server, round 1, what time is it.wav: The model is gone [engine]" in err.decode()


async def test_without_recordings_the_servers_own_voice_asks(capsys: pytest.CaptureFixture[str]) -> None:
    async with Peer(pipeline(0.5, 0.5, 0.5)) as server:
        arguments = ["--labeller", "energy", "--server", server.uri, "--http", "", "--warmup", "0"]
        assert await run(parse(arguments)) == 0
    said = [event.data["text"] for peer in server.connections for event in peer.received if event.type == "synthesize"]
    assert said == list(QUESTIONS)
    assert "synthetic speech" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.wav"], "missing.wav does not exist"),
        (["."], "There is no WAV file in the folder"),
        (["text.wav"], "is not a WAV file that can be read"),
        (["silent.wav"], "silent.wav cannot be used: "),
        (["long.wav"], "is longer than 60 s"),
        (["good.wav", "--server", "http://127.0.0.1:1"], "is not an address of the form tcp://HOST:PORT"),
        (["good.wav", "--server", "tcp://127.0.0.1:1"], "No Wyoming server answers at tcp://127.0.0.1:1"),
        (["good.wav", "--asr", "127.0.0.1:1"], "a chain needs both --asr and --tts"),
        (["good.wav", "--reply", "Hello"], "need a chain"),
        (["good.wav", "--rounds", "0"], "0 is not a whole number above 0"),
        (["good.wav", "--silence", "nan"], "nan is not a number of seconds"),
        (["good.wav", "--json", "nowhere/out.json"], "the folder of nowhere/out.json does not exist"),
        (["good.wav", "--json", "."], ". is a folder; give the name of a file"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if arguments != ["."]:
        write_wav(tmp_path / "good.wav", sounds(0.2, 0.3, 0.1))
        write_wav(tmp_path / "silent.wav", bytes(BYTES_PER_SECOND))
        write_wav(tmp_path / "long.wav", bytes(61 * BYTES_PER_SECOND))
        (tmp_path / "text.wav").write_text("no audio", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    try:
        code = main([*arguments, "--labeller", "energy"])
    except SystemExit as ended:  # argparse's own
        code = int(ended.code or 0)
    message = capsys.readouterr().err
    assert code == 2
    assert sentence in message
    assert "Traceback" not in message


def test_children_of_a_server_count_as_the_server() -> None:
    usage = Usage([os.getpid()])
    before = usage.cpu_seconds()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    code = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", burn])
    after = usage.cpu_seconds()
    assert code == 0
    assert before is not None
    assert after is not None
    assert after - before >= 0.25


async def test_memory_of_a_running_child_counts() -> None:
    hold = "held = b'x' * (64 << 20)\nprint('ready', flush=True)\ninput()"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", hold), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 30) == b"ready\n"
    usage = Usage([os.getpid()])
    usage.look()
    own = psutil.Process().memory_info().rss / 2**20
    await child.communicate(b"\n")
    assert usage.peak_rss_mib is not None
    assert usage.peak_rss_mib >= own + 48  # the rest of the tolerance is this process's own change


async def test_a_server_is_found_by_its_port() -> None:
    async with Peer(tts) as peer:
        assert listening(("127.0.0.1", peer.port)) == {os.getpid()}
        assert listening(("192.0.2.1", peer.port)) == set()
    with pytest.raises(SettingsError, match="There is no process 999999999 to measure"):
        Usage([999_999_999])
