"""Keeps what was said, for owners who switch that on: the sound of each turn, and what was understood."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import wave
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import Field

from handlers.asr.stage import Transcript
from handlers.audio import RATE
from handlers.session import Role, Session
from handlers.settings import Section

_LOGGER = logging.getLogger(__name__)

_LONGEST_SECONDS = 300
"""Of one recording, 10 MB; somebody who talks to a house is done before that."""

_MOST_WAITING = 8
"""Recordings on their way to a slow disk; one more is dropped."""

_STAMP = "%Y%m%dT%H%M%S.%fZ"
"""How the names of the files begin: sorted by name they are sorted by time."""

_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-.+\.(wav|json)")
"""A file of ours: others in the folder are somebody else's, and stay."""


class RecordingSettings(Section):
    """What was said, kept as sound. Off unless it is switched on; never in private mode, and never of guests."""

    keep_days: int = Field(0, ge=0, le=365)
    """Days for which it is kept, in the data folder's `recordings`; 0 keeps nothing, and removes what was kept."""

    most_mb: int = Field(1000, ge=10, le=1_000_000)
    """Megabytes of all recordings together, of which each minute takes 2; the oldest go first."""


class Recordings:
    """Recordings in a folder, each a WAV with a JSON beside it, that only the server may read. Close it at the end."""

    def __init__(self, folder: Path, settings: RecordingSettings) -> None:
        """Where they are switched off, what was kept before is removed."""
        self._folder = folder
        self._keep = timedelta(days=settings.keep_days)
        self._most = settings.most_mb * 1_000_000
        self._waiting = 0
        self._failing = False
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="recordings")
        self._disk.submit(self._prune)

    def begin(self, session: Session) -> Recording | None:
        """For somebody who begins to speak; None where it is not to be kept."""
        return Recording(self, session) if self._keep and session.role > Role.GUEST else None

    def keep(self, recording: Recording, turn: str, transcript: Transcript) -> None:
        """Write it to the disk. Does not wait; what fails there is only logged, once until it works again."""
        if self._waiting >= _MOST_WAITING:
            self._complain("the disk is too slow")
            return
        self._waiting += 1
        written = asyncio.get_running_loop().run_in_executor(self._disk, self._write, recording, turn, transcript)
        written.add_done_callback(self._written)

    async def prune(self) -> None:
        """Remove what is too old."""
        await asyncio.get_running_loop().run_in_executor(self._disk, self._prune)

    async def close(self) -> None:
        """Finish writing."""
        await asyncio.to_thread(self._disk.shutdown)

    def _written(self, written: asyncio.Future[None]) -> None:
        self._waiting -= 1
        if written.cancelled():
            return
        error = written.exception()
        if error is None:
            self._failing = False
        else:
            self._complain(getattr(error, "strerror", None) or type(error).__name__)

    def _complain(self, why: str) -> None:
        if not self._failing:
            _LOGGER.error("What is said cannot be kept in %s (%s): make room on the disk", self._folder, why)
        self._failing = True

    def _write(self, recording: Recording, turn: str, transcript: Transcript) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        session = recording.session
        told = {
            "turn": turn,
            "at": recording.began.isoformat(),
            "seconds": round(len(recording.pcm) / (2 * RATE), 2),
            "text": transcript.text,
            "language": transcript.language,
            "tenant": session.tenant,
            "user": session.user,
            "satellite": session.satellite,
            "room": session.room,
            "token": session.token,
        }
        name = f"{recording.began.strftime(_STAMP)}-{turn}"
        sound = self._folder / f"{name}.wav"
        try:
            _write_file(sound, _wav(bytes(recording.pcm)))
            _write_file(sound.with_suffix(".json"), (json.dumps(told, ensure_ascii=False) + "\n").encode())
        except OSError:
            _remove(sound)  # half a recording is none
            raise
        self._prune()

    def _prune(self) -> None:
        """Remove what is too old, and the oldest of what is too much."""
        oldest = (datetime.now(UTC) - self._keep).strftime(_STAMP)
        total = 0
        names = {path.stem for path in self._folder.glob("*") if _NAME.fullmatch(path.name)}
        for name in sorted(names, reverse=True):
            sound = self._folder / f"{name}.wav"
            with contextlib.suppress(OSError):  # somebody has removed it, and left the JSON
                total += sound.stat().st_size
            if not self._keep or name < oldest or total > self._most:
                with contextlib.suppress(OSError):  # tried again with the next
                    _remove(sound)


class Recording:
    """The sound of one turn, while it is heard: 16 kHz mono s16le."""

    def __init__(self, recordings: Recordings, session: Session) -> None:
        self.session = session
        self.began = datetime.now(UTC)
        self.pcm = bytearray()
        self._recordings = recordings

    async def of(self, audio: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same audio, which is kept as it passes."""
        async for chunk in audio:
            room = 2 * RATE * _LONGEST_SECONDS - len(self.pcm)
            self.pcm += chunk[: max(room, 0)]
            yield chunk

    def keep(self, turn: str, transcript: Transcript) -> None:
        """All was heard, and this was understood."""
        self._recordings.keep(self, turn, transcript)


def _write_file(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(data)


def _remove(sound: Path) -> None:
    sound.with_suffix(".json").unlink(missing_ok=True)
    sound.unlink(missing_ok=True)


def _wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(pcm)
    return file.getvalue()
