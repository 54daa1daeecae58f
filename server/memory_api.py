"""The memory over HTTP: list, search, add, edit, undo, forget, export and import the notes of a memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handlers.agent.memory.memories import Forgotten, Memories, RefusedError
from handlers.agent.memory.porting import export_file, import_file
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    LONGEST_CONTENT,
    MemoryStoreError,
    Note,
    Origin,
    Source,
    Tenant,
)
from handlers.errors import RequestError

_PAGE = 100
_LONGEST_PAGE = 500
_LONGEST_QUERY = 500

_MOST_IMPORTED = 256 * 1024 * 1024
"""Bytes of one file: some hundred thousand notes with vectors."""

_CHUNK = 64 * 1024

_SOURCE = Source(Origin.API)

T = TypeVar("T", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _New(_Body):
    content: str = Field(min_length=1, max_length=LONGEST_CONTENT)
    language: str = Field("en", max_length=35)


class _Changes(_Body):
    content: str | None = Field(None, min_length=1, max_length=LONGEST_CONTENT)
    keywords: list[str] | None = Field(None, max_length=50)
    tags: list[str] | None = Field(None, max_length=50)
    context: str | None = Field(None, max_length=LONGEST_CONTENT)


class MemoryApi:
    """The routes below /api/v1/memory. A query's `tenant` says whose memory is meant: household where there is none."""

    def __init__(self, memories: Callable[[], Memories | None]) -> None:
        """`memories` gives the memory once it is open, None before and where there is none."""
        self._open = memories

    def routes(self) -> list[web.RouteDef]:
        base = "/api/v1/memory"
        return [
            web.get(base, self._guarded(self._list)),
            web.post(base, self._guarded(self._add)),
            web.delete(base, self._guarded(self._forget_about)),
            web.get(f"{base}/tenants", self._guarded(self._tenants)),
            web.get(f"{base}/search", self._guarded(self._search)),
            web.get(f"{base}/export", self._guarded(self._export)),
            web.post(f"{base}/import", self._guarded(self._import)),
            web.get(f"{base}/{{id}}", self._guarded(self._show)),
            web.patch(f"{base}/{{id}}", self._guarded(self._edit)),
            web.delete(f"{base}/{{id}}", self._guarded(self._forget)),
            web.post(f"{base}/{{id}}/undo", self._guarded(self._undo)),
        ]

    def _guarded(
        self, handler: Callable[[web.Request, Memories, Tenant], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            memories = self._open()
            if memories is None:
                return _error(503, "There is no memory: it is loading still, or switched off (agent.memory.enabled)")
            try:
                return await handler(request, memories, _tenant(request))
            except RefusedError as error:
                return _error(409, str(error))
            except RequestError as error:
                return _error(404 if error.code == "no-note" else 400, str(error))
            except MemoryStoreError as error:
                return _error(503, str(error))

        return guarded

    async def _list(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        limit = _number(request, "limit", _PAGE, _LONGEST_PAGE)
        notes = await memories.page(tenant, request.query.get("after", ""), limit)
        more = notes[-1].id if len(notes) == limit else None
        return web.json_response({"notes": [_note(note) for note in notes], "after": more})

    async def _tenants(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        tenants = await memories.call(memories.journal.tenants)
        counts = {found.key: await memories.call(lambda t=found: memories.journal.count(t)) for found in tenants}  # type: ignore[misc]
        return web.json_response({"tenants": counts})

    async def _search(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        text = request.query.get("q", "").strip()
        if not text or len(text) > _LONGEST_QUERY:
            raise RequestError("bad-request", f"Say what to look for: ?q=… with 1 to {_LONGEST_QUERY} characters")
        found = await memories.search([tenant], text, _number(request, "limit", 10, _PAGE))
        notes = [{**_note(recalled.note), "score": round(recalled.score, 4)} for recalled in found]
        return web.json_response({"notes": notes})

    async def _add(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        new = await _body(request, _New)
        note = await memories.add(tenant, new.content, _SOURCE, new.language)
        return web.json_response(_note(note), status=201)

    async def _show(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        note = await memories.get(tenant, request.match_info["id"])
        versions = await memories.call(lambda: memories.journal.versions(tenant, note.id))
        links = await memories.call(lambda: memories.journal.links(tenant, [note.id]))
        return web.json_response(
            {
                **_note(note),
                "versions": [{**asdict(version), "source": asdict(version.source)} for version in versions],
                "links": [asdict(link) for link in links],
            }
        )

    async def _edit(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        changes = await _body(request, _Changes)
        note = await memories.get(tenant, request.match_info["id"])
        if changes.content is not None:
            note = await memories.edit(tenant, note.id, changes.content, _SOURCE)
        meaning = note.meaning
        if changes.keywords is not None:
            meaning = replace(meaning, keywords=tuple(changes.keywords))
        if changes.tags is not None:
            meaning = replace(meaning, tags=tuple(changes.tags))
        if changes.context is not None:
            meaning = replace(meaning, context=changes.context)
        if meaning != note.meaning:
            note = await memories.revise(tenant, note.id, meaning, _SOURCE)
        return web.json_response(_note(note))

    async def _undo(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        return web.json_response(_note(await memories.undo(tenant, request.match_info["id"], _SOURCE)))

    async def _forget(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        note = await memories.get(tenant, request.match_info["id"])
        return web.json_response({"forgotten": await memories.forget(Forgotten({tenant: [note]}))})

    async def _forget_about(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        """All notes with these words; of a whole memory only where that is said: ?about=*."""
        about = request.query.get("about", "").strip()
        if not about:
            raise RequestError("bad-request", "Say what to forget: ?about=WORDS, or ?about=* for the whole memory")
        found = await memories.notes_about(tenant, "" if about == "*" else about)
        return web.json_response({"forgotten": await memories.forget(Forgotten({tenant: found}))})

    async def _export(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "memory.jsonl"
            await memories.call(lambda: export_file(memories.journal, tenant, path))
            response = web.StreamResponse(
                headers={
                    "Content-Type": "application/x-ndjson",
                    "Content-Disposition": 'attachment; filename="meadowlark-memory.jsonl"',
                }
            )
            await response.prepare(request)
            with path.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, _CHUNK):
                    await response.write(chunk)
            await response.write_eof()
            return response

    async def _import(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "memory.jsonl"
            await _save(request.content.iter_chunked(_CHUNK), path)
            try:
                imported = await memories.call(lambda: import_file(memories.journal, tenant, path))
            except MemoryStoreError as error:
                return _error(400, str(error).replace(str(path), "the file"))
        await memories.notes_came(tenant)
        return web.json_response(asdict(imported))


async def _save(chunks: AsyncIterator[bytes], path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > _MOST_IMPORTED:
                raise RequestError(
                    "too-large", f"The file is larger than {_MOST_IMPORTED // 2**20} MiB; send it in parts"
                )
            await asyncio.to_thread(file.write, chunk)


def _tenant(request: web.Request) -> Tenant:
    key = request.query.get("tenant", HOUSEHOLD.key)
    try:
        return Tenant.parse(key[:_LONGEST_QUERY])
    except ValueError:
        raise RequestError(
            "bad-request", "The tenant is none: 'household', or 'person:ID', 'guest:ID' or 'satellite:ID'"
        ) from None


def _number(request: web.Request, key: str, default: int, most: int) -> int:
    text = request.query.get(key, str(default))
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= most:
            return int(text)
    raise RequestError("bad-request", f"'{key}' must be a whole number from 1 to {most}")


async def _body(request: web.Request, shape: type[T]) -> T:
    if request.content_type != "application/json":  # a page of a stranger can send no JSON without asking first
        raise RequestError("bad-request", "Send JSON, with 'Content-Type: application/json'")
    try:
        return shape.model_validate(await request.json())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise RequestError("bad-request", "The body is not JSON") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise RequestError("bad-request", f"{where}: {first['msg']}") from None


def _note(note: Note) -> Mapping[str, object]:
    return {
        "id": note.id,
        "tenant": note.tenant.key,
        "content": note.content,
        **asdict(note.meaning),
        "source": asdict(note.source),
        "created": note.created,
        "event_time": note.event_time,
        "valid_to": note.valid_to,
        "version": note.version,
    }


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
