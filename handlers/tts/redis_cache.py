"""Spoken replies in Redis, so that several servers share them. It may fail at any time: then there is nothing in it."""

from __future__ import annotations

import asyncio
import logging
import time

from handlers.errors import MissingExtraError, SettingsError

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.exceptions import RedisError
except ImportError:
    raise MissingExtraError("A cache of spoken replies in Redis", "redis") from None

_LOGGER = logging.getLogger(__name__)

_READ_SECONDS = 0.05
"""Piper makes a short reply in about that time."""

_WRITE_SECONDS = 2.0
"""Nobody waits for a write; long enough to open a connection with TLS, which the next read then finds open."""

_PAUSE_SECONDS = 30.0
"""After a failure no read is tried for so long, so that a dead Redis does not cost its deadline again and again."""

_CONNECTIONS = 8
"""More than reads of a millisecond ever need at the same time."""

_WRITES = 16
"""Writes under way; one more is left out."""

_LIFE_SECONDS = 7 * 24 * 3600
"""A week: what nobody has said for so long can be made anew."""

_LONGEST_BYTES = 2_000_000
"""Bound of one reply, 45 s of a medium voice; whatever else lies in Redis does not fill our memory."""

_PREFIX = "meadowlark:tts:1:"
"""The number changes with the format of a value: s16le PCM in the format that is part of its digest."""


class RedisCache:
    """One Redis. No method raises because of it; the first failure is logged."""

    def __init__(self, url: str) -> None:
        """Connects at first use. Raises SettingsError for a URL that cannot be one."""
        try:
            # An unknown option in the URL shows only when a connection is made.
            pool = BlockingConnectionPool.from_url(
                url, max_connections=_CONNECTIONS, timeout=_READ_SECONDS, socket_timeout=_WRITE_SECONDS
            )
            pool.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"tts.cache_redis is not the address of a Redis ({error}): write redis://HOST:PORT"
            ) from None
        self._redis = Redis.from_pool(pool)
        self._writes: set[asyncio.Task[None]] = set()
        self._again_at = 0.0
        self._told = False

    async def get(self, digest: str) -> bytes | None:
        """The audio under `digest`, or None, within 50 ms."""
        if time.monotonic() < self._again_at:
            return None
        try:
            async with asyncio.timeout(_READ_SECONDS):
                # One byte more than is allowed shows that there is more.
                pcm = await self._redis.getrange(_PREFIX + digest, 0, _LONGEST_BYTES)
        except (RedisError, OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: not decoded
            self._failed(error)
            return None
        if not isinstance(pcm, bytes) or not 0 < len(pcm) <= _LONGEST_BYTES or len(pcm) % 2:
            return None
        return pcm

    def put(self, digest: str, pcm: bytes) -> None:
        """Keep audio for a week. Returns at once; the writing goes on."""
        if not 0 < len(pcm) <= _LONGEST_BYTES or len(self._writes) >= _WRITES:
            return
        writing = asyncio.create_task(self._write(digest, pcm), name="tts-cache-write")
        self._writes.add(writing)
        writing.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Give up what is being written, and close the connections."""
        for writing in self._writes:
            writing.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._redis.aclose()

    async def _write(self, digest: str, pcm: bytes) -> None:
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._redis.set(_PREFIX + digest, pcm, ex=_LIFE_SECONDS)
        except (RedisError, OSError) as error:
            self._failed(error)
        else:
            self._again_at = 0.0  # it is back

    def _failed(self, error: Exception) -> None:
        self._again_at = time.monotonic() + _PAUSE_SECONDS
        if not self._told:
            self._told = True
            reason = str(error) or "no answer in time"
            _LOGGER.warning("Spoken replies are not shared: Redis fails (%s). The server goes on without it", reason)
