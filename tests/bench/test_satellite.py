from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from bench.satellite import STATES, Cost, _hear, _Pipe, installed_mib, report
from handlers.errors import EngineError


def test_the_table_has_medians_and_what_the_peer_needs_for_one_of_ours() -> None:
    costs = [
        Cost(side, state, cpu * factor, 80.0, 40.0 * factor)
        for state in STATES
        for side, factor in (("meadowlark", 1.0), ("peer", 3.0))
        for cpu in (2.0, 1.0, 90.0)
    ]
    lines = [line.split() for line in report(costs, {"meadowlark": 47.4}).splitlines()]
    assert ["idle", "meadowlark", "2.0", "80.0", "40.0"] in lines
    assert ["playing", "peer", "6.0", "80.0", "120.0"] in lines
    assert lines.count(["ratio", "3.0", "1.0", "3.0"]) == len(STATES)
    assert lines[-1] == ["installed", "meadowlark", "47", "MiB"]


def test_what_python_compiles_is_not_installed(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages" / "one"
    (packages / "__pycache__").mkdir(parents=True)
    (packages / "a.py").write_bytes(bytes(2 * 2**20))
    (packages / "__pycache__" / "a.pyc").write_bytes(bytes(2**20))
    assert installed_mib(tmp_path) == 2.0


async def test_audio_comes_in_real_time_and_a_satellite_that_does_not_read_is_told() -> None:
    class Deaf:
        name = "deaf"
        pids: list[int] = []  # noqa: RUF012
        woken = asyncio.Event()

        def __init__(self, pipe: _Pipe) -> None:
            self.hear = pipe.write

        def answering(self) -> None:
            raise AssertionError

    reading, writing = os.pipe()
    pipe = _Pipe(writing)
    try:
        began = time.monotonic()
        await _hear(Deaf(pipe), bytes(64_000), 0.64)  # type: ignore[arg-type]
        assert time.monotonic() - began >= 0.63
        assert len(os.read(reading, 100_000)) == 20_480
        with pytest.raises(EngineError, match="does not keep up"):
            fill(pipe)
    finally:
        pipe.close()
        os.close(reading)


def fill(pipe: _Pipe) -> None:
    for _ in range(100):  # 200 KB; a pipe holds 64
        pipe.write(bytes(2048))
