"""Tools of other programs, by the Model Context Protocol: over stdin and stdout, or streamable HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client._transport import TransportStreams
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from handlers.agent.safety.data import clean
from handlers.agent.tools.arguments import question
from handlers.agent.tools.settings import McpSettings
from handlers.agent.tools.stage import Arguments, Tool, ToolError, ToolSpec
from handlers.session import Role, Session

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
"""Before the first new attempt: a program that is restarted is back in that time."""

_LONGEST_PAUSE = 60.0
"""Between attempts at a server that is gone for long."""

_SETTLED_SECONDS = 30.0
"""A connection that held so long was a good one; the next pause is short again."""

_LOOK_SECONDS = 60.0
"""How often the list of tools is asked for though nothing said that it changed: not all servers say so, and over HTTP
it is the only sign that a server is still there."""

_PACE_SECONDS = 0.2
"""Between two looks: a server that calls every answer a change costs no more than that."""

_LIST_SECONDS = 15.0
"""For one look at the list, which costs a server nothing, after a call that it may have to finish first."""

_CLOSE_SECONDS = 12.0
"""The protocol's own end of a program takes up to seven: two for each of asking, telling and killing it."""

_MOST_TOOLS = 128
"""Of one server; more would fill the context of every model."""

_LONGEST_DESCRIPTION = 1000
"""Characters of a tool's description, and of any text in its schema."""

_LONGEST_STDERR = 500
"""Characters of what a program said last, for the reason why it is not there."""

_STDERR_SECONDS = 0.5
"""For what it said to arrive after its end; a child of it may hold the pipe open."""

_HTTP_SECONDS = 30.0
"""To connect to an address and to send to it; the library's own value."""

_SILENCE_SECONDS = 300.0
"""Of a stream of events, after which it is opened again; the library's own value."""

_CONNECTING = "is being connected"

_DEEPEST_SCHEMA = 24
"""Levels of a schema; a real one has six."""

_LONGEST_SCHEMA = 16 * 1024
"""Characters of a schema; a longer one would fill the context of the model, which then gets none."""


class McpServer:
    """One server of tools. Connects in the background, comes back when it was lost, and follows its list of tools.

    One task owns the connection from its beginning to its end, because the library's scopes may only be left where they
    were entered. Nobody waits for that task but `close`.
    """

    def __init__(self, name: str, settings: McpSettings) -> None:
        self._name = name
        self._settings = settings
        self._tools: list[McpTool] = []
        self._client: Client | None = None
        self._unavailable = _CONNECTING
        self._look = asyncio.Event()
        self._listed = asyncio.Event()
        self._scope: anyio.CancelScope | None = None
        self._owner: asyncio.Task[None] | None = None
        self._stderr = ""
        self._status = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def unavailable(self) -> str:
        """Why there are no tools of it now, for the status page; empty when there are."""
        return self._unavailable

    def start(self) -> None:
        """Begin to connect. Returns at once, whatever the server does."""
        if self._owner is None:
            self._scope = anyio.CancelScope()
            self._owner = asyncio.create_task(self._own(self._scope), name=f"mcp-{self._name}")

    async def listed(self, seconds: float) -> bool:
        """Wait until its tools are known; False when that took longer."""
        try:
            async with asyncio.timeout(seconds):
                await self._listed.wait()
        except TimeoutError:
            return False
        return True

    def tools(self, session: Session) -> Sequence[Tool]:
        return self._tools

    async def close(self) -> None:
        """Disconnect, and end the program that was started."""
        if self._owner is None or self._scope is None:
            return
        self._scope.cancel()  # not the task: the library would leave programs behind
        _, late = await asyncio.wait({self._owner}, timeout=_CLOSE_SECONDS)
        for task in late:
            _log.warning("the tools of %s do not end, they are left alone", self._name)
            task.cancel()

    async def call(self, tool: str, arguments: Arguments) -> str:
        """Call a tool by the server's own name for it; raises ToolError."""
        client = self._client
        if client is None:
            raise ToolError(f"The tools of {self._name} cannot be reached at the moment: it {self._unavailable}")
        try:
            result = await client.call_tool(tool, dict(arguments), read_timeout_seconds=self._settings.seconds)
        except MCPError as error:
            self._look.set()  # perhaps the connection is gone, or the list has changed
            if error.code == types.CONNECTION_CLOSED:
                raise ToolError(f"{self._name} went away during the call; whether it was done is not known") from error
            raise ToolError(f"{self._name} says: {clean(error.message)[:_LONGEST_DESCRIPTION]}") from error
        except Exception as error:  # what the transports and the checks of results raise
            self._look.set()
            _log.debug("a call of %s at %s failed", tool, self._name, exc_info=error)
            raise ToolError(f"{self._name} gave no usable answer ({type(error).__name__})") from error
        text = _text(result)
        if result.is_error:
            raise ToolError(text or "It failed and does not say why")
        return text

    async def _own(self, scope: anyio.CancelScope) -> None:
        pause = _FIRST_PAUSE
        with scope:
            while True:
                began = time.monotonic()
                try:
                    await self._serve()
                except Exception as error:  # anything: a connection to a program of others
                    self._lost(_reason(error, self._status))
                pause = _FIRST_PAUSE if time.monotonic() - began > _SETTLED_SECONDS else min(2 * pause, _LONGEST_PAUSE)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- so that not all come back at once
        self._tools = []

    async def _serve(self) -> None:
        """One connection, until it breaks."""
        self._stderr, self._status = "", 0
        with anyio.CancelScope(deadline=anyio.current_time() + self._settings.connect_seconds) as connecting:
            async with self._dial() as client:
                connecting.deadline = math.inf
                try:
                    async with anyio.create_task_group() as tasks:
                        if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                            tasks.start_soon(self._listen, client)
                        await self._follow(client)
                finally:
                    self._client = None
                    self._tools = []
        if connecting.cancelled_caught:
            raise TimeoutError

    async def _follow(self, client: Client) -> None:
        """Keep the list of tools as the server has it."""
        while True:
            self._look.clear()
            with anyio.fail_after(_LIST_SECONDS + self._settings.seconds):
                self._tools = await self._list(client)
            self._client = client
            if self._unavailable:
                _log.info("%s offers %d tools", self._name, len(self._tools))
            self._unavailable = ""
            self._listed.set()
            await asyncio.sleep(_PACE_SECONDS)
            with anyio.move_on_after(_LOOK_SECONDS):
                await self._look.wait()

    async def _list(self, client: Client) -> list[McpTool]:
        found: list[McpTool] = []
        cursor: str | None = None
        for _ in range(_MOST_TOOLS):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            found += [McpTool(self, tool, self._settings) for tool in page.tools if self._allowed(tool)]
            cursor = page.next_cursor
            if cursor is None or len(found) >= _MOST_TOOLS:
                break
        if len(found) > _MOST_TOOLS or cursor is not None:
            _log.warning("%s has too many tools, only %d are used; choose some with 'allow'", self._name, _MOST_TOOLS)
        return found[:_MOST_TOOLS]

    def _allowed(self, tool: types.Tool) -> bool:
        return not self._settings.allow or tool.name in self._settings.allow

    async def _listen(self, client: Client) -> None:
        """How newer servers tell of changes; older ones send a message, see _on_message."""
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    self._look.set()  # for what changed before it began to tell
                    async for _ in changes:
                        self._look.set()
            except (MCPError, RuntimeError, TimeoutError):  # it does not offer that, or the connection is gone
                _log.debug("%s does not tell of changes", self._name, exc_info=True)
            self._look.set()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._look.set()

    def _lost(self, reason: str) -> None:
        said = " ".join(clean(self._stderr).split())
        if said and self._unavailable:  # it has not even begun, so it speaks of itself and not of anybody's call
            reason = f"{reason}; it said: {said}"
        news = self._unavailable in ("", _CONNECTING)
        _log.log(logging.WARNING if news else logging.DEBUG, "%s offers no tools: it %s", self._name, reason)
        self._unavailable = reason

    def _dial(self) -> Client:
        url = self._settings.url
        return Client(
            _watched(self._program() if url is None else self._address(str(url)), self._look),
            message_handler=self._on_message,
            client_info=types.Implementation(name="meadowlark", version="1"),
            read_timeout_seconds=self._settings.connect_seconds,
        )

    @contextlib.asynccontextmanager
    async def _address(self, url: str) -> AsyncGenerator[TransportStreams, None]:
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        if self._settings.token.get_secret_value():
            headers["Authorization"] = f"Bearer {self._settings.token.get_secret_value()}"
        timeout = httpx2.Timeout(_HTTP_SECONDS, read=max(_SILENCE_SECONDS, self._settings.seconds))
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [self._answered]}) as client,
            streamable_http_client(url, http_client=client) as streams,
        ):
            yield streams

    async def _answered(self, response: httpx2.Response) -> None:
        self._status = response.status_code

    @contextlib.asynccontextmanager
    async def _program(self) -> AsyncGenerator[TransportStreams, None]:
        server = StdioServerParameters(
            command=os.path.expanduser(self._settings.command),  # noqa: ASYNC240, PTH111 -- touches no disk
            args=self._settings.args,
            env={name: value.get_secret_value() for name, value in self._settings.env.items()},
            cwd=self._settings.cwd,
        )
        reading, writing = os.pipe()
        stderr = asyncio.StreamReader()
        with open(writing, "w") as theirs, open(reading, "rb") as ours:  # noqa: ASYNC230, PTH123 -- pipes
            loop = asyncio.get_running_loop()
            pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stderr), ours)
            try:
                async with anyio.create_task_group() as tasks:
                    heard = anyio.Event()
                    tasks.start_soon(self._hear, stderr, heard)
                    try:
                        async with stdio_client(server, errlog=theirs) as streams:
                            theirs.close()
                            yield streams
                    finally:
                        with anyio.move_on_after(_STDERR_SECONDS, shield=True):
                            theirs.close()
                            await heard.wait()
                        tasks.cancel_scope.cancel()
            finally:
                pipe.close()

    async def _hear(self, stderr: asyncio.StreamReader, ended: anyio.Event) -> None:
        """Remember the end of what the program says, for the reason why it is gone."""
        while data := await stderr.read(4096):
            text = data.decode("utf-8", "replace")
            _log.debug("%s: %s", self._name, text.rstrip())
            self._stderr = (self._stderr + text)[-_LONGEST_STDERR:]
        ended.set()


class McpTool:
    """One tool of a server. What the server says about it is for the model, and is cleaned like all text of others."""

    def __init__(self, server: McpServer, tool: types.Tool, settings: McpSettings) -> None:
        hints = tool.annotations
        self._server = server
        self._name = tool.name
        self._destructive = tool.name in settings.destructive or bool(
            hints and hints.destructive_hint and not hints.read_only_hint
        )
        self._reads_only = bool(hints and hints.read_only_hint) and not self._destructive
        self._settings = settings
        description = clean(tool.description or tool.title or tool.name)[:_LONGEST_DESCRIPTION]
        schema = _plain_schema(tool.input_schema)
        if not isinstance(schema, Mapping) or len(json.dumps(schema)) > _LONGEST_SCHEMA:
            schema = {"type": "object"}
        self.spec = ToolSpec(tool.name, description, schema)

    @property
    def role(self) -> Role:
        return Role.parse(self._settings.role)

    @property
    def destructive(self) -> bool:
        """As the settings or the server's own hint say. A server that gives no hint is not taken to be destructive,
        though the protocol would: every lamp would be confirmed."""
        return self._destructive

    @property
    def reads_only(self) -> bool:
        return self._reads_only

    @property
    def untrusted(self) -> bool:
        return not self._settings.trusted

    @property
    def seconds(self) -> float:
        """A little longer than the server is given, so that the protocol's own cancellation comes first."""
        return self._settings.seconds + 1

    def question(self, arguments: Arguments) -> str:
        return question(self._name, arguments)

    async def call(self, arguments: Arguments, session: Session) -> str:
        return await self._server.call(self._name, arguments)


@contextlib.asynccontextmanager
async def _watched(
    transport: contextlib.AbstractAsyncContextManager[TransportStreams], ended: asyncio.Event
) -> AsyncGenerator[TransportStreams, None]:
    """The same transport; it says when the other side has closed, which the library tells only waiting calls."""
    async with transport as (read, write):
        into, out = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def relay() -> None:
            async with into:
                with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    async for item in read:
                        await into.send(item)
            ended.set()

        async with out, anyio.create_task_group() as tasks:
            tasks.start_soon(relay)
            try:
                yield out, write
            finally:
                tasks.cancel_scope.cancel()


def _plain_schema(schema: object, depth: int = 0) -> object:
    """A schema of others without hostile text and without patterns, which could take for ever to match: the server
    checks them itself."""
    if depth > _DEEPEST_SCHEMA:
        return {}
    if isinstance(schema, Mapping):
        return {
            str(key): _plain_schema(value, depth + 1)
            for key, value in schema.items()
            if key != "patternProperties" and not (key == "pattern" and isinstance(value, str))
        }
    if isinstance(schema, list):
        return [_plain_schema(value, depth + 1) for value in schema]
    return clean(schema)[:_LONGEST_DESCRIPTION] if isinstance(schema, str) else schema


def _text(result: types.CallToolResult) -> str:
    """What the model reads of a result: its texts, and what else there is in words."""
    parts: list[str] = []
    for content in result.content:
        match content:
            case types.TextContent(text=text):
                parts.append(text)
            case types.ImageContent(mime_type=kind) | types.AudioContent(mime_type=kind):
                parts.append(f"[{kind}, which cannot be read aloud]")
            case types.ResourceLink(uri=uri, name=name):
                parts.append(f"[a link to {name}: {uri}]")
            case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
                parts.append(text)
            case types.EmbeddedResource(resource=resource):
                parts.append(f"[a file: {resource.uri}]")
    if not parts and result.structured_content is not None:
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return "\n".join(parts)


def _reason(error: BaseException, status: int) -> str:
    """Why a connection ended, as a predicate: 'closed the connection'. status: of the last HTTP answer, or 0."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = " ".join(clean(str(error)).split())[:_LONGEST_STDERR] or type(error).__name__
    match error:
        case TimeoutError():
            return "did not answer in time"
        case FileNotFoundError():
            return f"cannot be started: there is no program or folder '{error.filename}'"
        case OSError():
            return f"cannot be started: {error.strerror or said}"
        case httpx2.TransportError():
            return f"cannot be reached: {said}"
        case MCPError() if status in (401, 403):
            return f"refuses the connection (HTTP {status}); check its 'token'"
        case MCPError() if status >= 400:
            return f"does not speak the protocol at this address (HTTP {status}); check its 'url'"
        case MCPError(code=types.CONNECTION_CLOSED):
            return "closed the connection"
    return f"cannot be used: {said}"
