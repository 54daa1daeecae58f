"""Whole runs of bench/load.py against scripted servers on real sockets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from wyoming.error import Error

from bench.clips import Clip, make_clip
from bench.labels import energy_label
from bench.load import COMMANDS, main, parse, run
from bench.satellites import Plan, growth, run_level
from handlers.audio import write_wav
from tests.satellite.peer import Peer, PeerConnection, Script
from tests.support.bench_peers import pipeline, replying, sounds

PLAN = Plan(every=0.2, seconds=0.4, least_turns=1, timeout=10.0, seed=1)

END = 0.5
"""Where the tone of the clip ends."""


@pytest.fixture
def clip() -> Clip:
    return make_clip("what time is it.wav", sounds(0.2, END - 0.2, 0.3), energy_label, "what time is it")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "what time is it.wav"
    write_wav(path, sounds(0.2, END - 0.2, 0.3))
    return path


def _address(peer: Peer) -> tuple[str, int]:
    return "127.0.0.1", peer.port


def _arguments(peer: Peer, *more: str) -> list[str]:
    return [
        *("--labeller", "energy", "--server", peer.uri, "--http", "", "--satellites", "1,3"),
        *("--every", "0.1", "--seconds", "0.1", "--least-turns", "1", *more),
    ]


def test_each_satellite_speaks_once_in_each_interval_and_always_at_the_same_moments() -> None:
    plan = Plan(every=30.0, seconds=90.0, least_turns=6, timeout=15.0, seed=1)
    moments = plan.moments(10)
    assert [[int(moment // 30) for moment in own] for own in moments] == [[0, 1, 2]] * 10
    assert len({moment for own in moments for moment in own}) == 30
    assert moments == plan.moments(10)
    assert moments != replace(plan, seed=2).moments(10)


def test_a_level_of_few_satellites_lasts_until_it_has_enough_turns() -> None:
    plan = Plan(every=30.0, seconds=60.0, least_turns=7, timeout=15.0, seed=1)
    assert [len(own) for own in plan.moments(2)] == [4, 4]
    assert [len(own) for own in plan.moments(7)] == [2] * 7


async def test_every_satellite_is_itself_and_tells_what_was_played(clip: Clip) -> None:
    played: list[str] = []
    answer = pipeline(END + 0.1, END + 0.1, END + 0.1)

    async def script(connection: PeerConnection) -> None:
        await answer(connection)
        await connection.receive_until("played")
        played.append(connection.received[-1].type)

    async with Peer(script) as peer:
        level = await run_level(3, _address(peer), [clip], PLAN)
        for _ in range(6):
            await peer.ended.get()
    contexts = [connection.request.data["context"] for connection in peer.turns]
    assert sorted(context["satellite_id"] for context in contexts) == [
        f"load-3-{number}" for number in (0, 0, 1, 1, 2, 2)
    ]
    assert all(context["conversation_id"] == context["satellite_id"] for context in contexts)
    assert played == ["played"] * 6
    assert (len(level.records), level.errors, level.lost) == (6, 0, 0)
    assert level.summary.wer == 0.0
    assert level.summary.ms["first_audio"].n == 6
    assert 0 < level.client_cpu < 2
    chunks = [event.payload or b"" for event in peer.turns[0].received if event.type == "audio-chunk"]
    assert {len(chunk) for chunk in chunks[:-1]} == {2048}


async def test_lost_turns_and_errors_are_counted_apart(clip: Clip) -> None:
    def sometimes(bad: Script) -> Script:
        good = pipeline(END + 0.1, END + 0.1, END + 0.1)
        order = iter([good, bad] * 3)

        async def script(connection: PeerConnection) -> None:
            await next(order)(connection)

        return script

    plan = replace(PLAN, timeout=0.7)
    async with Peer(sometimes(replying())) as peer:
        level = await run_level(3, _address(peer), [clip], plan)
    assert (len(level.records), level.errors, level.lost) == (6, 0, 3)
    async with Peer(sometimes(replying(Error(text="No memory", code="engine").event(), after=0.1))) as peer:
        level = await run_level(3, _address(peer), [clip], plan)
    assert (len(level.records), level.errors, level.lost) == (6, 3, 0)


async def test_the_servers_counts_of_guesses_are_those_of_the_level(clip: Clip) -> None:
    asked = 0

    async def metrics(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(
            text=f'# HELP x\nmeadowlark_guesses_total{{outcome="kept"}} {10.0 * asked}\n'
            f'meadowlark_guesses_total{{outcome="discarded"}} {3.0 * asked}\n'
            f'meadowlark_guesses_total{{outcome="dropped"}} 7.0\nmeadowlark_guess_saved_seconds_total {2.5 * asked}\n'
            f"meadowlark_guess_saved_seconds_created 1.7e+09\n"
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with Peer(pipeline(END, END, END)) as peer:
            level = await run_level(1, _address(peer), [clip], PLAN, http=f"http://127.0.0.1:{port}")
            silent = await run_level(1, _address(peer), [clip], PLAN, http="")
    finally:
        await runner.cleanup()
    assert level.guesses is not None
    counted = level.guesses
    assert (counted.kept, counted.discarded, counted.dropped, counted.saved_seconds) == (10, 3, 0, 2.5)
    assert silent.guesses is None


async def test_levels_are_compared_with_the_first(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    async with Peer(pipeline(END + 0.1, END + 0.1, END + 0.1)) as peer:
        options = parse([str(recording), *_arguments(peer, "--text-reference", "name", "--json", str(file))])
        assert await run(options) == 0
    shown = capsys.readouterr().out
    document = json.loads(file.read_text(encoding="utf-8"))
    assert set(document) == {"schema", "started", "config", "machine", "server", "clips", "levels"}
    assert [level["satellites"] for level in document["levels"]] == [1, 3]
    assert [len(level["turns"]) for level in document["levels"]] == [1, 3]
    assert set(document["levels"][0]) == {
        *("satellites", "seconds", "errors", "lost", "server_cpu", "client_cpu", "other_cpu"),
        *("guesses", "summary", "turns", "growth"),
    }
    medians = [level["summary"]["ms"]["first_audio"]["median"] for level in document["levels"]]
    assert document["levels"][0]["growth"] == 1.0
    assert document["levels"][1]["growth"] == pytest.approx(medians[1] / medians[0], abs=0.01)
    assert document["levels"][1]["summary"]["peak_rss_mib"] > 0
    assert "growth of the median" in shown
    assert f"{medians[1]:.0f}" in shown


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (replying(Error(text="The model is gone", code="engine").event(), after=0.1), "ERROR"),
        (replying(), "LOST"),
    ],
)
async def test_errors_and_lost_turns_are_told_and_the_exit_code_is_1(
    recording: Path, script: Script, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Peer(script) as peer:
        assert await run(parse([str(recording), *_arguments(peer, "--timeout", "0.3")])) == 1
    told = capsys.readouterr()
    assert f"{word}  what time is it.wav" in told.err
    assert "growth of the median" in told.out


async def test_a_level_without_answers_has_no_growth(clip: Clip) -> None:
    async with Peer(replying(Error(text="Gone", code="engine").event())) as peer:
        level = await run_level(1, _address(peer), [clip], PLAN)
    assert [factor for _, factor in growth([level, level])] == [None, None]


async def test_without_recordings_the_servers_own_voice_asks() -> None:
    async with Peer(pipeline(0.5, 0.5, 0.5)) as peer:
        assert await run(parse(_arguments(peer))) == 0
    said = [event.data["text"] for turn in peer.connections for event in turn.received if event.type == "synthesize"]
    assert said == list(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.wav"], "missing.wav does not exist"),
        (["--satellites", "1,x"], "argument --satellites"),
        (["--satellites", "0"], "0 is no list of whole numbers from 1 to 1000"),
        (["--every", "30", "--seconds", "10"], "--seconds must be at least --every"),
        (["--every", "nan"], "nan is not a number of seconds"),
        (["--json", "nowhere/out.json"], "the folder of nowhere/out.json does not exist"),
        (["--server", "tcp://127.0.0.1:1"], "No Wyoming server answers at tcp://127.0.0.1:1"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([*arguments, "--labeller", "energy"])
    except SystemExit as ended:  # argparse's own
        code = int(ended.code or 0)
    message = capsys.readouterr().err
    assert code == 2
    assert sentence in message
    assert "Traceback" not in message
