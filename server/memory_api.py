"""The memory over HTTP: list, search, add, edit, undo, forget, export and import the notes of a memory."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import AfterValidator, Field

from handlers.agent.caller import Role
from handlers.agent.memory.forgetting import Forgotten
from handlers.agent.memory.memories import IMPORTING, Memories, RefusedError, refuse_secrets
from handlers.agent.memory.rows import LONGEST_CONTEXT, LONGEST_NAME, LONGEST_WORD, MOST_WORDS
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    LONGEST_CONTENT,
    Meaning,
    MemoryStoreError,
    Note,
    Origin,
    Source,
    Tenant,
    TenantKind,
)
from handlers.errors import RequestError
from server.access import Access, access_of
from server.json_api import Body, error_answer, is_text, read_body, require_type

_BASE = "/api/v1/memory"

_PAGE = 100
_LONGEST_PAGE = 500
"""Notes of one answer, which then has a few megabytes at most."""

_LONGEST_QUERY = 500

_LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/json"})
"""Types that the page of a stranger cannot send without asking first, unlike text or a form."""

_MOST_IMPORTED = 256 * 1024 * 1024
"""Bytes of one file: some hundred thousand notes with vectors."""

_CHUNK = 64 * 1024

_UPLOAD_SECONDS = 600.0
"""For the largest file over a slow wireless network."""

_TAKEN_SECONDS = 60.0
"""For a client to take the next part of an export."""

_SOURCE = Source(Origin.API)

_STATUS = {
    "not-allowed": 403,
    "no-note": 404,
    "nothing-to-undo": 409,
    "too-slow": 408,
    "too-large": 413,
    "wrong-type": 415,
}
"""Of what a client did wrong; else 400."""

V = TypeVar("V")


_Content = Annotated[str, Field(min_length=1, max_length=LONGEST_CONTENT), AfterValidator(is_text)]
_Word = Annotated[str, Field(min_length=1, max_length=LONGEST_WORD), AfterValidator(is_text)]
_Context = Annotated[str, Field(max_length=LONGEST_CONTEXT), AfterValidator(is_text)]


_Language = Annotated[str | None, Field(max_length=35)]
"""Secrets are looked for in this language and English; in all of them where there is none."""


class _New(Body):
    content: _Content
    language: _Language = None


class _Changes(Body):
    content: _Content | None = None
    language: _Language = None
    keywords: list[_Word] | None = Field(None, max_length=MOST_WORDS)
    tags: list[_Word] | None = Field(None, max_length=MOST_WORDS)
    context: _Context | None = None


class MemoryApi:
    """The routes below /api/v1/memory. A query's `tenant` says whose memory is meant: household where there is none."""

    def __init__(self, memories: Callable[[], Memories | None]) -> None:
        """`memories` gives the memory once it is open, None before and where there is none."""
        self._open = memories
        self._importing = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(_BASE, self._guarded(self._list)),
            web.post(_BASE, self._guarded(self._add)),
            web.delete(_BASE, self._guarded(self._forget_about)),
            web.get(f"{_BASE}/tenants", self._guarded(self._tenants)),
            web.get(f"{_BASE}/search", self._guarded(self._search)),
            web.get(f"{_BASE}/export", self._guarded(self._export), allow_head=False),
            web.post(f"{_BASE}/import", self._guarded(self._import)),
            web.get(f"{_BASE}/{{id}}", self._guarded(self._show)),
            web.patch(f"{_BASE}/{{id}}", self._guarded(self._edit)),
            web.delete(f"{_BASE}/{{id}}", self._guarded(self._forget)),
            web.post(f"{_BASE}/{{id}}/undo", self._guarded(self._undo)),
        ]

    def _guarded(
        self, handler: Callable[[web.Request, Memories, Tenant], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            memories = self._open()
            if memories is None:
                return error_answer(
                    503, "There is no memory: it is loading still, or switched off (agent.memory.enabled)"
                )
            try:
                tenant = _tenant(request)
                _require_right(access_of(request), tenant)
                return await handler(request, memories, tenant)
            except RefusedError as error:
                return error_answer(409, str(error))
            except RequestError as error:
                return error_answer(_STATUS.get(error.code, 400), str(error))
            except MemoryStoreError as error:
                return error_answer(503, str(error))

        return guarded

    async def _list(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        limit = _number(request, "limit", _PAGE, _LONGEST_PAGE)
        notes = await memories.page(tenant, request.query.get("after", ""), limit)
        more = notes[-1].id if len(notes) == limit else None
        return web.json_response({"notes": [_note(note) for note in notes], "after": more})

    async def _tenants(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        access = access_of(request)
        tenants = [found for found in await memories.call(memories.journal.tenants) if _may_see(access, found)]
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
        new = await read_body(request, _New)
        note = await memories.add(tenant, new.content, _SOURCE, new.language)
        return web.json_response(_note(note), status=201)

    async def _show(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        note = await memories.get(tenant, request.match_info["id"])
        versions = await memories.call(lambda: memories.journal.versions(tenant, note.id))
        links = await memories.call(lambda: memories.journal.links(tenant, [note.id]))
        return web.json_response(
            {
                **_note(note),
                "versions": [asdict(version) for version in versions[-_LONGEST_PAGE:]],
                "links": [asdict(link) for link in links[:_LONGEST_PAGE]],
            }
        )

    async def _edit(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        changes = await read_body(request, _Changes)
        if not changes.model_fields_set & {"content", "keywords", "tags", "context"}:
            raise RequestError("bad-request", "Say what to change: content, keywords, tags or context")
        note = await memories.get(tenant, request.match_info["id"])
        given = Meaning(tuple(changes.keywords or ()), tuple(changes.tags or ()), changes.context or "")
        refuse_secrets(changes.content or note.content, given, changes.language)  # before anything is changed
        if changes.content is not None:
            note = await memories.edit(tenant, note.id, changes.content, _SOURCE, changes.language)
        meaning = note.meaning
        if changes.keywords is not None:
            meaning = replace(meaning, keywords=tuple(changes.keywords))
        if changes.tags is not None:
            meaning = replace(meaning, tags=tuple(changes.tags))
        if changes.context is not None:
            meaning = replace(meaning, context=changes.context)
        if meaning != note.meaning:
            note = await memories.revise(tenant, note.id, meaning, _SOURCE, changes.language)
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
        if len(about) > _LONGEST_QUERY:
            raise RequestError("bad-request", f"What to forget may have {_LONGEST_QUERY} characters")
        return web.json_response({"forgotten": await memories.forget_about(tenant, "" if about == "*" else about)})

    async def _export(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        """Lines of JSON. A file whose last line is missing was broken off; it cannot be imported."""
        async with contextlib.aclosing(memories.export(tenant)) as portions:
            first = await anext(portions)  # an error is still an answer here
            response = web.StreamResponse(
                headers={
                    "Content-Type": "application/x-ndjson",
                    "Content-Disposition": 'attachment; filename="meadowlark-memory.jsonl"',
                }
            )
            await response.prepare(request)
            await _write(response, first)
            async for portion in portions:
                await _write(response, portion)
        await response.write_eof()
        return response

    async def _import(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        require_type(request, _LINES)
        if request.content_length is not None and request.content_length > _MOST_IMPORTED:
            raise _too_large()
        if self._importing.locked():  # each has its file on disk
            raise MemoryStoreError("Another file is being imported: try again when it is done")
        async with self._importing:
            return await self._import_file(request, memories, tenant)

    async def _import_file(self, request: web.Request, memories: Memories, tenant: Tenant) -> web.StreamResponse:
        kept = await _on_disk(
            lambda: tempfile.TemporaryDirectory(prefix=IMPORTING, dir=memories.folder, ignore_cleanup_errors=True)
        )
        with kept as folder:  # what cannot be removed of it is at the next start
            path = Path(folder) / "memory.jsonl"
            try:
                async with asyncio.timeout(_UPLOAD_SECONDS):
                    await _save(request.content.iter_chunked(_CHUNK), path)
            except TimeoutError:
                raise RequestError("too-slow", "The file did not come in time: send it in parts") from None
            try:
                imported = await memories.import_file(tenant, path)
            except RequestError as error:
                told = str(error).replace(str(path), "the file").replace(path.name, "the file")
                raise RequestError(error.code, told[:1].upper() + told[1:]) from None
        return web.json_response(asdict(imported))


async def _write(response: web.StreamResponse, portion: bytes) -> None:
    """ConnectionError when the client takes nothing any more."""
    try:
        async with asyncio.timeout(_TAKEN_SECONDS):
            await response.write(portion)
    except TimeoutError:
        raise ConnectionAbortedError("the export was not taken") from None


async def _save(chunks: AsyncIterator[bytes], path: Path) -> None:
    size = 0
    file = await _on_disk(lambda: path.open("wb"))
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > _MOST_IMPORTED:
                raise _too_large()
            await _on_disk(partial(file.write, chunk))
        await _on_disk(file.flush)
    finally:
        with contextlib.suppress(OSError):  # of what could not be written, which was said
            file.close()


async def _on_disk(work: Callable[[], V]) -> V:
    """MemoryStoreError when the disk is full or cannot be written."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise MemoryStoreError(
            f"The file cannot be kept while it is read ({error.strerror or error}): make room on the disk, and the "
            "data folder writable"
        ) from None


def _too_large() -> RequestError:
    return RequestError("too-large", f"The file is larger than {_MOST_IMPORTED // 2**20} MiB: send it in parts")


def _tenant(request: web.Request) -> Tenant:
    key = request.query.get("tenant", HOUSEHOLD.key)
    if len(key) <= LONGEST_NAME and key.isprintable():
        with contextlib.suppress(ValueError):
            return Tenant.parse(key)
    raise RequestError("bad-request", "The tenant is none: 'household', or 'person:ID', 'guest:ID' or 'satellite:ID'")


def _may_see(access: Access, tenant: Tenant) -> bool:
    """A user sees what the household shares and what is their own, an admin everything."""
    if access.role >= Role.ADMIN:
        return True
    own = bool(access.user) and tenant == Tenant(TenantKind.PERSON, access.user)
    return access.role >= Role.USER and (own or tenant == HOUSEHOLD)


def _require_right(access: Access, tenant: Tenant) -> None:
    if not _may_see(access, tenant):
        raise RequestError(
            "not-allowed",
            f"The token '{access.token}' may not see this memory: a user's may see the household's and that of the "
            "person whose it is, an admin's every one",
        )


def _number(request: web.Request, key: str, default: int, most: int) -> int:
    text = request.query.get(key, str(default))
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= most:
            return int(text)
    raise RequestError("bad-request", f"'{key}' must be a whole number from 1 to {most}")


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
