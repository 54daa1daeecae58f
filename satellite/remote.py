"""A Unix socket by which other programs on this machine steer the satellite, and learn what happens.

One JSON object in each line, both ways. `{"do": "talk"}` is answered by `{"ok": true}` or by `{"error": …, "code": …}`;
`volume` also has a `percent`, and `status` answers with what `Controls.status` has. After `listen` each happening comes
as a line, `{"event": "woken", "score": 0.93, …}`, until one of the two closes. Only who runs the satellite may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from handlers.errors import RequestError, SettingsError
from satellite.happenings import Happening, Happenings, event_line
from satellite.partner import Controls
from satellite.remote_socket import bind, default_path
from satellite.volume import LOUDEST

_LOGGER = logging.getLogger(__name__)

LINE_BYTES = 4096
"""Of a request; the longest that means anything has 40."""

MOST_CONNECTIONS = 8
"""A few lights and a desktop's widget; more is a program that forgets to close."""

IDLE_SECONDS = 60.0
"""Without a request, for those that do not listen."""

SLOW_SECONDS = 5.0
"""A client that leaves what it is sent unread for so long, with the system's buffers and ours full, is dropped."""

_BEHIND = 100
"""Happenings that may wait for somebody who listens: some minutes' worth. Who is further behind is dropped."""

_CLOSE_SECONDS = 1.0
"""For the last answer to be read."""

_TURNS = 5
"""Of the event loop, in which a connection that was let in at the very end comes to `_meet`. asyncio's server would
leave it open when closed before that."""


def open_remote(setting: str, name: str, controls: Controls, happenings: Happenings) -> Remote | None:
    """The socket of the satellite called `name`. `setting` is auto, none, or a path.

    Raises SettingsError where there can be none. At the default path that is only told: another satellite may be there.
    """
    if setting == "none":
        return None
    path = default_path(name) if setting == "auto" else Path(setting).expanduser()
    try:
        return Remote(path, controls, happenings)
    except OSError as error:
        refusal = SettingsError(f"There can be no socket at {path} ({error.strerror}); choose another path, or none")
    except SettingsError as error:
        refusal = error
    if setting != "auto":
        raise refusal
    _LOGGER.warning("No other program can steer this satellite: %s", refusal)
    return None


class Remote:
    """The socket. It is there from the beginning; requests are answered while `run` is at work."""

    def __init__(
        self,
        path: Path,
        controls: Controls,
        happenings: Happenings,
        *,
        idle_seconds: float = IDLE_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Raises as `bind` does."""
        self._controls = controls
        self._idle_seconds = idle_seconds
        self._slow_seconds = slow_seconds
        self._connections: set[asyncio.Task[None]] = set()
        self._listeners: dict[asyncio.Task[None], asyncio.Queue[Happening]] = {}
        self._plain: dict[str, Callable[[], None]] = {
            "talk": self._talk,
            "done": controls.done,
            "stop": controls.stop,
            "mute": controls.mute,
            "unmute": controls.unmute,
            "toggle-mute": lambda: controls.unmute() if controls.is_muted else controls.mute(),
        }
        self._ended = False
        self.path = path
        self._socket = bind(path)
        self._inode = path.stat().st_ino
        happenings.add(self._observe)

    async def run(self) -> None:
        """Serve until cancelled; then the socket is gone."""
        try:
            server = await asyncio.start_unix_server(
                self._meet, sock=self._socket, limit=LINE_BYTES, start_serving=False
            )
            try:
                await server.start_serving()
                await asyncio.Event().wait()
            finally:
                self._ended = True
                asyncio.get_running_loop().remove_reader(self._socket)
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                server.close()
                for connection in self._connections:
                    connection.cancel()
                await asyncio.gather(*self._connections, return_exceptions=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await server.wait_closed()
        finally:
            self.close()

    def close(self) -> None:
        """For its owner, as `run` may be cancelled before it has begun; harmless after it."""
        self._socket.close()
        if self.path.exists() and self.path.stat().st_ino == self._inode:  # else somebody has replaced it
            self.path.unlink(missing_ok=True)

    def _observe(self, happening: Happening) -> None:
        for telling, waiting in list(self._listeners.items()):
            try:
                waiting.put_nowait(happening)
            except asyncio.QueueFull:
                _LOGGER.info("Somebody who listened on the socket did not read, and was dropped")
                del self._listeners[telling]
                telling.cancel()

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._ended:  # it was let in a moment before
            writer.close()
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.write(_line(_refusal(RequestError("busy", f"There are {MOST_CONNECTIONS} connections already"))))
            writer.close()
            return
        connection = asyncio.create_task(self._attend(reader, writer), name="remote")
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        connection.add_done_callback(lambda _: writer.close())  # also where it was cancelled before it began

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except OSError:  # it is gone, or slow
            pass
        finally:
            await _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    line = await reader.readline()
            except ValueError:
                await self._send(writer, _refusal(RequestError("malformed", f"A line has at most {LINE_BYTES} bytes")))
                return
            if not line:
                return
            try:
                request = _read(line)
                if request.get("do") == "listen":
                    await self._listen(reader, writer)
                    return
                answer = {"ok": True, **self._do(request)}
            except RequestError as error:
                answer = _refusal(error)
            await self._send(writer, answer)

    def _do(self, request: dict[str, object]) -> dict[str, object]:
        """Do as asked; what the answer has to say."""
        word = request.get("do")
        if word == "status":
            return dict(self._controls.status)
        if word == "volume":
            percent = request.get("percent")
            if not isinstance(percent, int) or isinstance(percent, bool) or not 0 <= percent <= LOUDEST:
                raise RequestError("percent", f"'percent' must be a whole number from 0 to {LOUDEST}")
            self._controls.set_volume(percent)
        elif isinstance(word, str) and word in self._plain:
            self._plain[word]()
        else:
            words = [*self._plain, "volume", "status", "listen"]
            near = difflib.get_close_matches(word, words, 1) if isinstance(word, str) else []
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
            raise RequestError("unknown", f"Nothing can be done that is called so; {hint}")
        return {}

    def _talk(self) -> None:
        if self._controls.is_muted:
            raise RequestError("muted", "The satellite is muted; unmute it first")
        self._controls.talk()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[Happening] = asyncio.Queue(_BEHIND)
        telling = asyncio.create_task(self._tell(waiting, writer))
        closing = asyncio.create_task(_closed(reader))
        self._listeners[telling] = waiting
        try:
            await asyncio.wait({telling, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._listeners.pop(telling, None)
            for each in (telling, closing):
                each.cancel()
            await asyncio.gather(telling, closing, return_exceptions=True)

    async def _tell(self, waiting: asyncio.Queue[Happening], writer: asyncio.StreamWriter) -> None:
        await self._send(writer, {"ok": True})
        while True:
            await self._write(writer, event_line(await waiting.get()))

    async def _send(self, writer: asyncio.StreamWriter, answer: dict[str, object]) -> None:
        await self._write(writer, _line(answer))

    async def _write(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        """Raises TimeoutError when the client does not read."""
        writer.write(line)
        async with asyncio.timeout(self._slow_seconds):
            await writer.drain()


def _read(line: bytes) -> dict[str, object]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise RequestError("malformed", 'Each line must be a JSON object such as {"do": "status"}')
    return request


def _refusal(error: RequestError) -> dict[str, object]:
    return {"error": str(error), "code": error.code}


def _line(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def _closed(reader: asyncio.StreamReader) -> None:
    """Return when the client closes; what it says until then is not read by anybody."""
    while await reader.read(LINE_BYTES):
        pass


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await writer.wait_closed()
    except OSError:  # it does not read, or is gone
        writer.transport.abort()
