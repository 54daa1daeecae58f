"""Reads Wyoming events with a bound on everything: sizes, nesting and time.

Wire format (wyoming 1.10.2, `event.py`): one line of JSON with `type`, optionally `data`, `data_length` and
`payload_length`; then `data_length` bytes of JSON that are merged over `data`; then `payload_length` bytes.
Lengths that are absent, null, zero or negative mean that the part is absent, as in the library.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass

from wyoming.event import Event

from handlers.errors import ProtocolError


@dataclass(frozen=True)
class Limits:
    """What one event may cost."""

    header: int = 64 * 1024
    """Bytes of the JSON line."""

    data: int = 1024 * 1024
    """Bytes of the JSON block; Home Assistant's largest (a long text) stays far below."""

    payload: int = 1024 * 1024
    """Bytes of the payload: 32 s of internal audio; clients send 20 to 100 ms."""

    nesting: int = 32
    """Objects and lists inside each other; `info`, the deepest of the protocol's own, has 6."""

    event_seconds: float = 30.0
    """From the first byte of an event to its last. A slow Wi-Fi sends 1 MiB in less."""


DEFAULT_LIMITS = Limits()


class IdleError(ProtocolError):
    """No event began within the time that a connection may be silent."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"No event for {seconds:g} seconds", code="idle")


class EventReader:
    """Reads events from a stream whose own limit must be `limits.header`.

    That limit also bounds what asyncio reads ahead while nobody asks for an event: twice the limit and one read.
    """

    def __init__(self, stream: asyncio.StreamReader, limits: Limits = DEFAULT_LIMITS) -> None:
        self._stream = stream
        self._limits = limits

    async def read(self, idle: float | None = None) -> Event | None:
        """The next event, or None at the end of the stream.

        Raises ProtocolError for what is not an event, IdleError when none begins within `idle` seconds (reading may
        go on after that one), and OSError when the connection is lost. Cancelling it in the middle of an event loses
        the place in the stream, so callers bound the wait with `idle` and never from outside.
        """
        # `expired()` tells our deadlines from the TimeoutError that is the socket's own ETIMEDOUT.
        try:
            async with asyncio.timeout(idle) as deadline:
                first = await self._stream.read(1)
        except TimeoutError:
            if idle is None or not deadline.expired():
                raise
            raise IdleError(idle) from None
        if not first:
            return None
        try:
            async with asyncio.timeout(self._limits.event_seconds) as deadline:
                return await self._read_event(first)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ProtocolError(
                f"An event did not arrive whole within {self._limits.event_seconds:g} seconds", code="timeout"
            ) from None
        except asyncio.IncompleteReadError:
            raise ProtocolError("The connection ended in the middle of an event", code="truncated") from None

    async def _read_event(self, first: bytes) -> Event:
        header = self._parse(await self._read_line(first), "The header")
        event_type = header.get("type")
        if not isinstance(event_type, str) or not event_type:
            raise ProtocolError("The header has no 'type' that is a text")
        data = header.get("data")
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise ProtocolError("The header's 'data' is not an object")
        data_length = _length(header, "data_length", self._limits.data)
        payload_length = _length(header, "payload_length", self._limits.payload)
        if data_length:
            block = await self._stream.readexactly(data_length)
            data = {**data, **self._parse(block, "The data block")}
        payload = await self._stream.readexactly(payload_length) if payload_length else None
        return Event(type=event_type, data=data, payload=payload)

    async def _read_line(self, first: bytes) -> bytes:
        if first == b"\n":
            return first
        try:
            return first + await self._stream.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise ProtocolError(f"The header is longer than {self._limits.header} bytes", code="too-large") from None

    def _parse(self, raw: bytes, what: str) -> dict[str, object]:
        """Strict JSON: what passes can be written again as it is, to any peer."""
        try:
            # Decoded here because json.loads would also take UTF-16, UTF-32 and half surrogates.
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
            raise ProtocolError(f"{what} is not JSON in UTF-8 ({type(error).__name__})") from None
        if not isinstance(value, dict):
            raise ProtocolError(f"{what} is not a JSON object")
        if not _is_flat(value, self._limits.nesting):
            raise ProtocolError(f"{what} is nested deeper than {self._limits.nesting} levels")
        if b"\\ud" in raw.lower() and not _is_text(value):
            raise ProtocolError(f"{what} has half of a surrogate pair, which is not text")
        return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("A number is too large")
    return value


def _is_flat(value: dict[str, object], levels: int) -> bool:
    """Whether lists and objects are inside each other at most `levels` deep."""
    containers: list[dict[str, object] | list[object]] = [value]
    for _ in range(levels):
        containers = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, (dict, list))
        ]
        if not containers:
            return True
    return False


def _is_text(value: dict[str, object]) -> bool:
    """Whether every string in `value` can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _length(header: dict[str, object], key: str, limit: int) -> int:
    value = header.get(key)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"The header's '{key}' is not a whole number")
    if value > limit:
        raise ProtocolError(f"The header's '{key}' is over the limit of {limit} bytes", code="too-large")
    return max(0, value)
