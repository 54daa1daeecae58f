"""A real Home Assistant as a process, driven by its HTTP and WebSocket APIs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Self

import aiohttp

type Json = dict[str, Json] | list[Json] | str | int | float | bool | None

SOON = 60.0
"""A deadline that only a defect reaches."""

START_SECONDS = 120.0
"""Of Home Assistant's start: 4 s on an idle machine, 20 s on a busy one; the first one writes byte code, too."""


END_SECONDS = 60.0
"""Of the end of a process."""


class CallError(Exception):
    """Home Assistant refused a command. The code is its own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class HomeAssistant:
    """One installation: its configuration folder, its process and a connection to it as its owner."""

    def __init__(self, folder: Path, configuration: str) -> None:
        """`configuration` is its configuration.yaml, but for `http`."""
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        http = f"http:\n  server_host: 127.0.0.1\n  server_port: {self.port}\n"
        (folder / "configuration.yaml").write_text(configuration + http, encoding="utf-8")
        self.password = secrets.token_urlsafe(12)
        """Of its owner, anna."""
        self._output = folder / "output.log"
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._refresh_token = ""
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The WebSocket connection, while it runs."""
        assert self._connection is not None
        return self._connection

    @property
    def log(self) -> str:
        """All that it has logged since the installation was made."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    async def start(self) -> None:
        """Returns when everything is set up and the owner is connected."""
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "homeassistant", "--config", str(self.folder)),
                *("--skip-pip", "--log-no-color"),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            )
        self._session = aiohttp.ClientSession(self.url)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._wait_until_it_serves()
                await self._log_in()
                self._connection = await Connection.open(self._session, self._token)
                await self._wait_until_it_runs()
        except TimeoutError:
            raise AssertionError(f"Home Assistant did not start in time:\n{self.log}") from None

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._process is not None:
            await end(self._process, number)
            self._process = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def call(self, type_: str, **data: Json) -> Json:
        """A command of the WebSocket API; raises CallError."""
        return await self.connection.call(type_, **data)

    async def service(self, name: str, **data: Json) -> None:
        """Call 'domain.service' and wait for its end."""
        domain, _, service = name.partition(".")
        await self.call("call_service", domain=domain, service=service, service_data=data)

    async def respond(self, name: str, **data: Json) -> Json:
        """The response of 'domain.service'."""
        domain, _, service = name.partition(".")
        answer = await self.call(
            "call_service", domain=domain, service=service, service_data=data, return_response=True
        )
        assert isinstance(answer, dict)
        return answer["response"]

    async def state(self, entity: str) -> str:
        """Of an entity; '' where there is none."""
        async with self._request("GET", f"/api/states/{entity}") as response:
            return str((await response.json())["state"]) if response.status == 200 else ""

    async def post(self, path: str, **body: Json) -> Mapping[str, Json]:
        """POST to the HTTP API, where the answer is an object."""
        async with self._request("POST", path, body) as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    async def get(self, path: str) -> Json:
        async with self._request("GET", path) as response:
            assert response.status == 200, await response.text()
            found: Json = await response.json()
            return found

    async def delete(self, path: str) -> None:
        async with self._request("DELETE", path) as response:
            assert response.status == 200, await response.text()

    async def entities(self, platform: str, entry: str = "") -> dict[str, str]:
        """Ids of an integration's entities, or of one of its entries, by the last part of their unique ids."""
        found = await self.listed("config/entity_registry/list")
        return {
            str(entity["unique_id"]).rpartition("-")[2]: str(entity["entity_id"])
            for entity in found
            if entity["platform"] == platform and entry in ("", entity["config_entry_id"])
        }

    async def entry(self, entry_id: str) -> Mapping[str, Json]:
        """A config entry."""
        found = await self.call("config_entries/get_single", entry_id=entry_id)
        assert isinstance(found, dict)
        entry = found["config_entry"]
        assert isinstance(entry, dict)
        return entry

    async def flows(self, domain: str) -> list[Mapping[str, Json]]:
        """Config flows that wait for the user, but for those that a user has begun."""
        return [flow for flow in await self.listed("config_entries/flow/progress") if flow["handler"] == domain]

    async def issues(self, domain: str) -> list[Mapping[str, Json]]:
        """What the user is to repair."""
        found = await self.call("repairs/list_issues")
        assert isinstance(found, dict)
        issues = found["issues"]
        assert isinstance(issues, list)
        return [issue for issue in issues if isinstance(issue, dict) and issue["domain"] == domain]

    async def listed(self, type_: str, **data: Json) -> list[Mapping[str, Json]]:
        """A command whose result is a list of objects."""
        found = await self.call(type_, **data)
        assert isinstance(found, list)
        return [item for item in found if isinstance(item, dict)]

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        """The body of a file, such as speech, while it comes."""
        async with self._request("GET", path) as response:
            assert response.status == 200, await response.text()
            yield response.content

    async def set_up(self, domain: str, *answers: Mapping[str, Json]) -> Mapping[str, Json]:
        """Go through an integration's config flow, each form with one of the answers; what came of the last."""
        step = await self.post("/api/config/config_entries/flow", handler=domain, show_advanced_options=False)
        for answer in answers:
            step = await self.answer(step, answer)
        return step

    async def form(self, flow: Mapping[str, Json]) -> Mapping[str, Json]:
        """What a flow asks now."""
        found = await self.get(f"/api/config/config_entries/flow/{flow['flow_id']}")
        assert isinstance(found, dict)
        return found

    async def answer(self, form: Mapping[str, Json], answer: Mapping[str, Json]) -> Mapping[str, Json]:
        """Fill a form of a flow in; what follows."""
        assert form["type"] == "form", form
        return await self.post(f"/api/config/config_entries/flow/{form['flow_id']}", **answer)

    def _request(
        self, method: str, path: str, body: Mapping[str, Json] | None = None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return self._session.request(method, path, json=body, headers=headers)

    async def _wait_until_it_serves(self) -> None:
        assert self._session is not None
        assert self._process is not None
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.get("/manifest.json") as response:
                    if response.status in (200, 404):
                        return
            assert self._process.returncode is None, f"Home Assistant did not start:\n{self.log}"
            await asyncio.sleep(0.05)

    async def _log_in(self) -> None:
        """As the owner, who is made at the first start as a person makes one in the browser."""
        client_id = f"{self.url}/"
        if self._refresh_token:
            grant = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        else:
            owner = {"name": "Anna", "username": "anna", "password": self.password}
            made = await self.post("/api/onboarding/users", client_id=client_id, language="en", **owner)
            grant = {"grant_type": "authorization_code", "code": str(made["auth_code"])}
        assert self._session is not None
        async with self._session.post("/auth/token", data={**grant, "client_id": client_id}) as response:
            tokens = await response.json()
        self._token = tokens["access_token"]
        self._refresh_token = tokens.get("refresh_token", self._refresh_token)

    async def _wait_until_it_runs(self) -> None:
        while True:
            config = await self.call("get_config")
            assert isinstance(config, dict)
            if config["state"] == "RUNNING":
                return
            await asyncio.sleep(0.05)


class Connection:
    """A connection of the WebSocket API."""

    def __init__(self, socket_: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket_
        self._ids = itertools.count(1)
        self._messages: dict[int, asyncio.Queue[dict[str, Json] | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, token: str) -> Self:
        socket_ = await session.ws_connect("/api/websocket", max_msg_size=1 << 26)
        assert (await socket_.receive_json())["type"] == "auth_required"
        await socket_.send_json({"type": "auth", "access_token": token})
        answer = await socket_.receive_json()
        assert answer["type"] == "auth_ok", answer
        connection = cls(socket_)
        connection._reading = asyncio.create_task(connection._read())
        return connection

    async def close(self) -> None:
        await self._socket.close()
        if self._reading is not None:
            await self._reading

    async def call(self, type_: str, **data: Json) -> Json:
        """The result of one command."""
        subscription = await self.subscribe(type_, **data)
        del self._messages[subscription.id]
        return subscription.result

    async def subscribe(self, type_: str, **data: Json) -> Subscription:
        """A command that events follow."""
        number = next(self._ids)
        messages = self._messages[number] = asyncio.Queue()
        await self._socket.send_json({"id": number, "type": type_, **data})
        async with asyncio.timeout(SOON):
            answer = await messages.get()
        assert answer is not None, f"The connection ended before the answer to {type_}"
        if not answer["success"]:
            error = answer["error"]
            assert isinstance(error, dict)
            raise CallError(str(error["code"]), str(error["message"]))
        return Subscription(number, answer["result"], messages)

    async def send_audio(self, handler: int, audio: bytes) -> None:
        """Audio for a pipeline run that has asked for it with `stt_binary_handler_id`; b'' is its end."""
        await self._socket.send_bytes(bytes([handler]) + audio)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                received = message.json()
                for one in received if isinstance(received, list) else [received]:
                    if (messages := self._messages.get(one["id"])) is not None:
                        messages.put_nowait(one)
        for messages in self._messages.values():
            messages.put_nowait(None)


class Subscription:
    """The events that follow a command."""

    def __init__(self, number: int, result: Json, messages: asyncio.Queue[dict[str, Json] | None]) -> None:
        self.id = number
        self.result = result
        self._messages = messages

    async def event(self) -> dict[str, Json] | None:
        """The next one; None when the connection has ended."""
        async with asyncio.timeout(SOON):
            message = await self._messages.get()
        if message is None:
            return None
        event = message["event"]
        assert isinstance(event, dict)
        return event


async def until[T](ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Ask again until the answer is a good one; fails at the deadline, with the last one."""
    deadline = time.monotonic() + SOON
    while not good(answer := await ask()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        await asyncio.sleep(0.05)
    return answer


async def end(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a process a signal, if it runs, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"A process did not end within {END_SECONDS:g} s") from None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
