"""Answers the requests of one connection in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from handlers.errors import RequestError
from handlers.wire.connection import Connection

_WAITING = 16
"""Requests that a client may send ahead of their answers."""


class Ordered:
    """Runs one answer at a time as tasks of the connection; a client that runs too far ahead gets an error."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._turn = asyncio.Lock()  # wakes waiters in their order
        self._inside = 0

    def start(self, answer: Coroutine[None, None, None]) -> None:
        """Run `answer` after all that came before it."""
        if self._inside > _WAITING:
            answer.close()
            raise RequestError("busy", f"{_WAITING} requests wait on this connection; read their answers first")
        self._inside += 1
        task = self._connection.start(self._run(answer), self._name)
        task.add_done_callback(lambda _: self._end(answer))

    async def _run(self, answer: Coroutine[None, None, None]) -> None:
        async with self._turn:
            await answer

    def _end(self, answer: Coroutine[None, None, None]) -> None:
        self._inside -= 1
        answer.close()  # it may have been cancelled before its turn came
