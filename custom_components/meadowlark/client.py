"""The server's HTTP API: what it is, whether it is ready, its memory, and announcements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from yarl import URL

from .const import HOUSE_PROTOCOL, NAME

_STATUS = "api/v1/voice/status"
_MEMORY = "api/v1/memory"
_ANNOUNCE = "api/v1/announce"

_ANSWER_SECONDS = 10.0
"""For any answer: the slowest are a search and a removal in a large memory, on a Raspberry Pi a second or two."""

_ANNOUNCE_SECONDS = 200.0
"""For an announcement: the server ends one after three minutes, in which it was spoken and played."""

_MOST_BYTES = 4 << 20
"""Of an answer: a hundred memories of the longest kind have a tenth of it."""

_MOST_FOUND = 100
"""Memories of one search, as many as the server gives."""

_ADMIN = "admin"
"""The role that a house needs: whoever lends one speaks for all who live there."""

HOUSEHOLD = "household"
"""The memory that everybody shares."""


class ClientError(Exception):
    """The server cannot be used. The class says why, and `key` names the sentence for the user."""

    key = "cannot_connect"


class CannotConnectError(ClientError):
    """Nobody answers, or not in time."""


class InvalidAuthError(ClientError):
    """The server asks for a token, and this is not it."""

    key = "invalid_auth"


class WeakTokenError(InvalidAuthError):
    """The token is good, but may not do what a house needs."""

    key = "weak_token"


class TooManyTriesError(ClientError):
    """The server takes no token for a while, as too many were wrong."""

    key = "too_many_tries"


class NotMeadowlarkError(ClientError):
    """Something else answers at this address."""

    key = "not_meadowlark"


class TooOldError(ClientError):
    """The server is from before this integration. The message is its version."""

    key = "too_old"


class TooNewError(ClientError):
    """This integration is from before the server. The message is the server's version."""

    key = "too_new"


class NotReadyError(ClientError):
    """The server is there, but cannot work yet. The message is its reason."""

    key = "not_ready"


class RefusedError(ClientError):
    """The server did not do it. The message is its own sentence about that."""

    key = "refused"


class NoMemoryError(RefusedError):
    """There is none, or it cannot be used now."""

    key = "no_memory"


class NoSuchMemoryError(RefusedError):
    """There is no memory of this id."""

    key = "no_such_memory"


class NoSatelliteError(RefusedError):
    """No satellite is there that could be called."""

    key = "no_satellite"


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    id: str
    """Its uuid, the same at every address."""
    name: str
    version: str
    url: str
    """Of its page."""
    host: str
    wyoming_port: int
    house_protocol: int


@dataclass(frozen=True)
class Memory:
    """Something that the server remembers."""

    id: str
    content: str
    created: float
    """Seconds since 1970."""
    score: float = field(default=0.0, compare=False)
    """How well it fits what was looked for, 0 to 1."""


class Client:
    """Asks one server over HTTP. Everything that waits raises ClientError, within 10 s but for `announce`."""

    def __init__(self, session: aiohttp.ClientSession, host: str, port: int, token: str | None) -> None:
        """`host` is a name or an address, IPv6 without brackets. ValueError where it is none."""
        self._session = session
        self._host = host
        self._base = URL.build(scheme="http", host=host, port=port, path="/")
        self.url = str(self._base)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def server(self) -> Server:
        """What answers there."""
        status, answer = await self._ask("GET", _STATUS)
        ours = "error" in answer
        if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and ours):
            raise InvalidAuthError
        if status == HTTPStatus.TOO_MANY_REQUESTS and ours:
            raise TooManyTriesError
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise CannotConnectError(f"HTTP status {status}")
        version = answer.get("version")
        if status != HTTPStatus.OK or not isinstance(version, str) or "engines" not in answer:
            raise NotMeadowlarkError
        protocol, wyoming_port, server_id = (answer.get(key) for key in ("house_protocol", "wyoming_port", "id"))
        if not isinstance(protocol, int) or protocol < HOUSE_PROTOCOL:
            raise TooOldError(version)
        if protocol > HOUSE_PROTOCOL:
            raise TooNewError(version)
        if not isinstance(wyoming_port, int) or not isinstance(server_id, str) or not server_id:
            raise NotMeadowlarkError
        access = answer.get("access")
        if isinstance(access, Mapping) and access.get("role") != _ADMIN:
            raise WeakTokenError
        return Server(
            id=server_id,
            name=str(answer.get("name") or NAME),
            version=version,
            url=self.url,
            host=self._host,
            wyoming_port=wyoming_port,
            house_protocol=protocol,
        )

    async def check_ready(self) -> None:
        """Have the server try itself; NotReadyError with the reason while it cannot answer."""
        status, answer = await self._ask("GET", "ready")
        if status != HTTPStatus.OK:
            raise NotReadyError(str(answer.get("reason") or f"HTTP status {status}"))

    async def status(self) -> Mapping[str, object]:
        """All that the server says of itself."""
        status, answer = await self._ask("GET", _STATUS)
        _check(status, answer)
        return answer

    async def remember(self, content: str, tenant: str = HOUSEHOLD, language: str | None = None) -> Memory:
        """Keep a sentence. RefusedError when it is a secret, as a password is, or cannot be kept for another reason."""
        body = {"content": content} | ({"language": language} if language else {})
        status, answer = await self._ask("POST", _MEMORY, {"tenant": tenant}, body)
        _check(status, answer)
        return _memory(answer)

    async def recall(self, query: str, limit: int, tenant: str = HOUSEHOLD) -> list[Memory]:
        """What is remembered that fits `query`, best first."""
        parameters = {"tenant": tenant, "q": query, "limit": str(limit)}
        status, answer = await self._ask("GET", f"{_MEMORY}/search", parameters)
        _check(status, answer)
        notes = answer.get("notes")
        return [_memory(note) for note in notes if isinstance(note, dict)] if isinstance(notes, list) else []

    async def forget(self, memory_id: str, tenant: str = HOUSEHOLD) -> Memory:
        """Forget one memory, and say what it was. NoSuchMemoryError where there is none."""
        path = f"{_MEMORY}/{quote(memory_id, safe='')}"
        status, answer = await self._ask("GET", path, {"tenant": tenant})
        if status == HTTPStatus.NOT_FOUND:
            raise NoSuchMemoryError(memory_id)
        _check(status, answer)
        forgotten = _memory(answer)
        status, answer = await self._ask("DELETE", path, {"tenant": tenant})
        _check(status, answer)
        return forgotten

    async def forget_about(self, words: str, tenant: str = HOUSEHOLD) -> tuple[int, list[Memory]]:
        """Forget all memories that have all of these words: how many there were, and the first hundred of them."""
        before = await self.recall(words, _MOST_FOUND, tenant)
        status, answer = await self._ask("DELETE", _MEMORY, {"tenant": tenant, "about": words})
        _check(status, answer)
        count = answer.get("forgotten")
        if not isinstance(count, int) or not count:
            return 0, []
        left = {memory.id for memory in await self.recall(words, _MOST_FOUND, tenant)}
        return count, [memory for memory in before if memory.id not in left]

    async def announce(
        self, text: str, satellites: Sequence[str] | None, language: str, *, chime: bool = True
    ) -> dict[str, bool]:
        """Speak at satellites, at all for None. Returns where it was heard and where not, when it is over, within
        three minutes. NoSatelliteError where none of them is connected."""
        body = {"text": text, "satellites": satellites or "all", "language": language, "chime": chime}
        status, answer = await self._ask("POST", _ANNOUNCE, None, body, _ANNOUNCE_SECONDS)
        if status == HTTPStatus.NOT_FOUND:
            raise NoSatelliteError(_sentence(status, answer))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise NotReadyError(_sentence(status, answer))
        _check(status, answer)
        told = answer.get("satellites")
        heard = told.items() if isinstance(told, dict) else ()
        return {str(name): came in ("heard", "stopped") for name, came in heard}

    async def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        seconds: float = _ANSWER_SECONDS,
    ) -> tuple[int, dict[str, object]]:
        """The status and JSON object of an answer; an empty object where it is something else."""
        url = self._base.joinpath(path, encoded=True).with_query(parameters)
        # Requests are rare, so that a connection that is kept would only outlive the entry.
        headers = {**self.headers, "Connection": "close"}
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(method, url, headers=headers, json=body, allow_redirects=False) as response,
            ):
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > _MOST_BYTES:
                        raise NotMeadowlarkError
                return response.status, _json_object(raw)
        except TimeoutError:
            raise CannotConnectError(f"no answer within {seconds:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise CannotConnectError(str(error) or type(error).__name__) from None


def _json_object(raw: bytes | bytearray) -> dict[str, object]:
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _check(status: int, answer: Mapping[str, object]) -> None:
    """Raise what an answer says went wrong."""
    if status < HTTPStatus.BAD_REQUEST:
        return
    sentence = _sentence(status, answer)
    if status == HTTPStatus.UNAUTHORIZED:
        raise InvalidAuthError
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.NOT_FOUND):
        raise NoMemoryError(sentence)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise CannotConnectError(sentence)
    raise RefusedError(sentence)


def _sentence(status: int, answer: Mapping[str, object]) -> str:
    return str(answer.get("error") or f"HTTP status {status}")


def _memory(note: Mapping[str, object]) -> Memory:
    return Memory(
        id=str(note.get("id", "")),
        content=str(note.get("content", "")),
        created=_number(note.get("created")),
        score=_number(note.get("score")),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
