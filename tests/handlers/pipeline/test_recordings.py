"""What was said, kept as sound: only what was understood in the open, for a time, and only for the server's eyes."""

from __future__ import annotations

import json
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from handlers.asr.stage import Transcript
from handlers.audio import RATE
from handlers.pipeline.recordings import Recordings, RecordingSettings
from handlers.session import Role, Session

KIM = Session("kim", "hall", "hall", Role.USER, "tablet", "en", "c", "office")


@dataclass(frozen=True)
class Said:
    """Something that was said once."""

    turn: str
    age: timedelta = timedelta()
    seconds: float = 0.5


async def spoken(seconds: float) -> AsyncIterator[bytes]:
    """A tenth of a second at a time, each of its own."""
    for number in range(round(seconds * 10)):
        yield bytes([number % 256, 0]) * (RATE // 10)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def kept(folder: Path, *said: Said, **settings: int) -> list[Path]:
    """The files in the folder, after these were kept."""
    recordings = Recordings(folder, RecordingSettings.model_validate({"keep_days": 1, **settings}))
    for one in said:
        recording = recordings.begin(KIM)
        assert recording is not None
        recording.began -= one.age
        assert [chunk async for chunk in recording.of(spoken(one.seconds))] == [
            chunk async for chunk in spoken(one.seconds)
        ]
        recording.keep(one.turn, Transcript("Good morning.", "en", one.seconds))
    await recordings.close()
    return files(folder)


async def test_the_sound_of_a_turn_and_what_was_understood(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    told, sound = await kept(folder, Said("abc"))
    with wave.open(str(sound)) as read:
        assert (read.getframerate(), read.getnchannels(), read.getsampwidth()) == (16_000, 1, 2)
        assert read.readframes(RATE) == b"".join([chunk async for chunk in spoken(0.5)])
    said = json.loads(told.read_text())
    assert datetime.fromisoformat(said.pop("at")).tzinfo is not None
    assert said == {
        "turn": "abc",
        "seconds": 0.5,
        "text": "Good morning.",
        "language": "en",
        "tenant": "office",
        "user": "kim",
        "satellite": "hall",
        "room": "hall",
        "token": "tablet",
    }
    assert [path.stat().st_mode & 0o777 for path in (folder, told, sound)] == [0o700, 0o600, 0o600]


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    left = await kept(tmp_path, Said("new", timedelta(hours=23)), Said("old", timedelta(hours=25)))
    assert [path.name.partition("-")[2] for path in left] == ["new.json", "new.wav"]


async def test_the_oldest_of_what_is_too_much_goes(tmp_path: Path) -> None:
    many = [Said(f"{minutes}", timedelta(minutes=minutes), 150) for minutes in (9, 6, 3)]  # 4.8 MB each
    left = await kept(tmp_path, *many, most_mb=10)
    assert [path.name.partition("-")[2] for path in left] == ["6.json", "6.wav", "3.json", "3.wav"]


async def test_a_recording_is_bounded(tmp_path: Path) -> None:
    _, sound = await kept(tmp_path, Said("long", seconds=400))
    assert sound.stat().st_size == 44 + 300 * 2 * RATE


async def test_what_has_grown_too_old_goes_though_nobody_speaks(tmp_path: Path) -> None:
    told, sound = await kept(tmp_path, Said("abc"))
    recordings = Recordings(tmp_path, RecordingSettings(keep_days=1))
    await recordings.prune()
    assert files(tmp_path) == [told, sound]
    for path in (told, sound):
        path.rename(path.with_name(f"20200101{path.name[8:]}"))
    await recordings.prune()
    assert files(tmp_path) == []
    await recordings.close()


async def test_what_was_understood_goes_where_somebody_has_removed_the_sound(tmp_path: Path) -> None:
    told, sound = await kept(tmp_path, Said("abc", timedelta(hours=23)))
    sound.unlink()
    told.rename(told.with_name(f"20200101{told.name[8:]}"))
    assert await kept(tmp_path) == []


async def test_switched_off_they_go_and_nothing_else(tmp_path: Path) -> None:
    others = ["1.wav", "20200101-birthday.wav", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    assert len(await kept(tmp_path, Said("abc"))) == 5
    assert [path.name for path in await kept(tmp_path, keep_days=0)] == others


async def test_who_is_not_recorded(tmp_path: Path) -> None:
    on, off = (Recordings(tmp_path, RecordingSettings(keep_days=days)) for days in (1, 0))
    assert on.begin(KIM) is not None
    assert on.begin(replace(KIM, role=Role.GUEST)) is None
    assert off.begin(KIM) is None
    await on.close()
    await off.close()


async def test_a_disk_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "recordings"
    folder.write_text("no folder")
    recordings = Recordings(folder, RecordingSettings(keep_days=1))
    for number in range(20):  # more than wait for a disk, too
        recording = recordings.begin(KIM)
        assert recording is not None
        recording.keep(str(number), Transcript("Secret words.", "en", 0.5))
    await recordings.close()
    assert len(caplog.records) == 1
    assert "make room" in caplog.text
    assert "Secret" not in caplog.text
