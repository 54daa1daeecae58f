"""Writes Wyoming events as one piece of bytes.

The library's `async_write_event` makes three or four small TCP segments of an event, and its `writelines` is not
flow-controlled on Python 3.12.0 to 3.12.8 and 3.13.0 to 3.13.1 (CVE-2024-12254).
"""

from __future__ import annotations

import json

from wyoming import __version__
from wyoming.event import Event


def encode(event: Event) -> bytes:
    """The bytes of an event on the wire; half a surrogate pair in a text becomes '?'."""
    header: dict[str, object] = {"type": event.type, "version": __version__}
    data = b""
    if event.data:
        data = _json(event.data)
        header["data_length"] = len(data)
    payload = event.payload or b""
    if payload:
        header["payload_length"] = len(payload)
    return b"".join((_json(header), b"\n", data, payload))


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
