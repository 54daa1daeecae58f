"""What the benchmarks write into their JSON besides their figures, and the writing."""

from __future__ import annotations

import json
import os
import platform
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from bench.clips import Clip
from handlers.audio import seconds
from handlers.errors import SettingsError

_WEB_SECONDS = 3.0
"""What the web port tells is a courtesy to the reader; the measuring does not wait for it."""

_WEB_BYTES = 1024 * 1024
"""Far more than any status or list of metrics."""


def about_machine() -> dict[str, object]:
    """The key `machine`."""
    return {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}


def about_clip(clip: Clip) -> dict[str, object]:
    """An entry of the key `clips`."""
    return {
        "name": clip.name,
        "seconds": round(seconds(clip.pcm), 3),
        "end_of_speech": round(clip.end_of_speech, 3),
        "cut_seconds": round(clip.cut_seconds, 3),
        "reference": clip.reference,
    }


def server_status(url: str) -> object:
    """What a server says of itself on its web port; None when it says nothing."""
    try:
        status: object = json.loads(read_web(url, "/api/v1/voice/status") or b"null")
    except ValueError:
        return None
    if isinstance(status, dict):
        status.pop("turns", None)  # the turns here say more
    return status


def read_web(url: str, path: str) -> bytes | None:
    """A page of a server's web port; None when it does not give it. Blocks for at most a few seconds."""
    if not url.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}{path}", timeout=_WEB_SECONDS) as answer:
            content: bytes = answer.read(_WEB_BYTES)
    except (OSError, ValueError):
        return None
    return content


def write_json(target: str, document: Mapping[str, object]) -> None:
    """Write to a file, or to standard output for '-'. Raises SettingsError when the file cannot be written."""
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The JSON cannot be written to {target} ({error.strerror or error})") from None
