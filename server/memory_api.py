"""The memory over HTTP: list, search, add, edit, undo, forget, export and import the notes of a memory."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import AfterValidator, Field

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
    Owner,
    OwnerKind,
    Source,
)
from handlers.agent.safety.audit import Action, Audit, Ending
from handlers.errors import MeadowlarkError, RequestError
from handlers.session import Role
from server.access import Access, access_of
from server.json_api import (
    Body,
    GoneError,
    error_answer,
    is_text,
    read_body,
    refusal,
    require_type,
    whole_number,
    with_retry,
)

PATH = "/api/v1/memory"

_NOTE = f"{PATH}/{{id:(?!(?:tenants|search|export|import)$)[^/]+}}"
"""Addresses of what is no note know no methods of notes."""

MOST_FOUND = 100
"""Notes of one search."""

_PAGE = 100
LONGEST_PAGE = 500
"""Notes of one answer, which then has a few megabytes at most."""

LONGEST_QUERY = 500

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

V = TypeVar("V")


_Content = Annotated[str, Field(min_length=1, max_length=LONGEST_CONTENT), AfterValidator(is_text)]
_Word = Annotated[str, Field(min_length=1, max_length=LONGEST_WORD), AfterValidator(is_text)]
_Context = Annotated[str, Field(max_length=LONGEST_CONTEXT), AfterValidator(is_text)]


_Language = Annotated[str | None, Field(max_length=35)]
"""Secrets are looked for in this language and English; in all of them where there is none."""


class NewNoteBody(Body):
    """A note that is to be kept."""

    content: _Content
    language: _Language = None


class NoteChangesBody(Body):
    """What is to be changed of a note; what is not here stays."""

    content: _Content | None = None
    language: _Language = None
    keywords: list[_Word] | None = Field(None, max_length=MOST_WORDS)
    tags: list[_Word] | None = Field(None, max_length=MOST_WORDS)
    context: _Context | None = None


class MemoryApi:
    """The routes below /api/v1/memory. A query's `tenant` says whose memory is meant: household where there is none."""

    def __init__(self, memories: Callable[[Access], Memories | None], audit: Callable[[Access], Audit]) -> None:
        """`memories` gives a household's once it is open, None before and where there is none; `audit` the log in
        which each change is written down, without its words: what is forgotten leaves no trace there either."""
        self._open = memories
        self._audit = audit
        self._importing: set[str] = set()  # tenants of the server, one file each

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self._guarded(self._list)),
            web.post(PATH, self._guarded(self._add)),
            web.delete(PATH, self._guarded(self._forget_about)),
            web.get(f"{PATH}/tenants", self._guarded(self._owners)),
            web.get(f"{PATH}/search", self._guarded(self._search)),
            web.get(f"{PATH}/export", self._guarded(self._export), allow_head=False),
            web.post(f"{PATH}/import", self._guarded(self._import)),
            web.get(_NOTE, self._guarded(self._show)),
            web.patch(_NOTE, self._guarded(self._edit)),
            web.delete(_NOTE, self._guarded(self._forget)),
            web.post(f"{_NOTE}/undo", self._guarded(self._undo)),
        ]

    def _guarded(
        self, handler: Callable[[web.Request, Memories, Owner], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            memories = self._open(access_of(request))
            if memories is None:
                return with_retry(
                    error_answer(503, "There is no memory: it is loading still, or switched off (agent.memory.enabled)")
                )
            try:
                owner = _owner(request)
                _require_right(access_of(request), owner)
                return await handler(request, memories, owner)
            except RefusedError as error:
                return error_answer(409, str(error))
            except MeadowlarkError as error:
                return refusal(error)

        return guarded

    @contextlib.asynccontextmanager
    async def _acting(self, request: web.Request, what: str, owner: Owner) -> AsyncGenerator[Ending, None]:
        """The length of something that is done with a memory."""
        access = access_of(request)
        action = Action(f"memory/{what}", {"memory": owner.key, **request.match_info}, access.session)
        async with self._audit(access).acting(action) as ending:
            yield ending
            ending.failed = False

    async def _list(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        limit = whole_number(request, "limit", _PAGE, LONGEST_PAGE)
        notes = await memories.page(owner, request.query.get("after", ""), limit)
        more = notes[-1].id if len(notes) == limit else None
        return web.json_response({"notes": [_note(note) for note in notes], "after": more})

    async def _owners(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        access = access_of(request)
        owners = [found for found in await memories.call(memories.journal.owners) if _may_see(access, found)]
        counts = {found.key: await memories.call(lambda t=found: memories.journal.count(t)) for found in owners}  # type: ignore[misc]
        return web.json_response({"tenants": counts})

    async def _search(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        text = request.query.get("q", "").strip()
        if not text or len(text) > LONGEST_QUERY:
            raise RequestError("bad-request", f"Say what to look for: ?q=… with 1 to {LONGEST_QUERY} characters")
        found = await memories.search([owner], text, whole_number(request, "limit", 10, MOST_FOUND))
        notes = [{**_note(recalled.note), "score": round(recalled.score, 4)} for recalled in found]
        return web.json_response({"notes": notes})

    async def _add(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        new = await read_body(request, NewNoteBody)
        async with self._acting(request, "add", owner) as ending:
            note = await memories.add(owner, new.content, _SOURCE, new.language)
            ending.text = note.id
        return web.json_response(_note(note), status=201)

    async def _show(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        note = await memories.get(owner, request.match_info["id"])
        versions = await memories.call(lambda: memories.journal.versions(owner, note.id))
        links = await memories.call(lambda: memories.journal.links(owner, [note.id]))
        return web.json_response(
            {
                **_note(note),
                "versions": [asdict(version) for version in versions[-LONGEST_PAGE:]],
                "links": [asdict(link) for link in links[:LONGEST_PAGE]],
            }
        )

    async def _edit(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        changes = await read_body(request, NoteChangesBody)
        if not changes.model_fields_set & {"content", "keywords", "tags", "context"}:
            raise RequestError("bad-request", "Say what to change: content, keywords, tags or context")
        note = await memories.get(owner, request.match_info["id"])
        given = Meaning(tuple(changes.keywords or ()), tuple(changes.tags or ()), changes.context or "")
        refuse_secrets(changes.content or note.content, given, changes.language)  # before anything is changed
        async with self._acting(request, "edit", owner) as ending:
            if changes.content is not None:
                note = await memories.edit(owner, note.id, changes.content, _SOURCE, changes.language)
            meaning = _changed(note.meaning, changes)
            if meaning != note.meaning:
                note = await memories.revise(owner, note.id, meaning, _SOURCE, changes.language)
            ending.text = note.id
        return web.json_response(_note(note))

    async def _undo(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        async with self._acting(request, "undo", owner):
            note = await memories.undo(owner, request.match_info["id"], _SOURCE)
        return web.json_response(_note(note))

    async def _forget(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        note = await memories.get(owner, request.match_info["id"])
        async with self._acting(request, "forget", owner) as ending:
            forgotten = await memories.forget(Forgotten({owner: [note]}))
            ending.text = str(forgotten)
        return web.json_response({"forgotten": forgotten})

    async def _forget_about(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        """All notes with these words; of a whole memory only where that is said: ?about=*."""
        about = request.query.get("about", "").strip()
        if not about:
            raise RequestError("bad-request", "Say what to forget: ?about=WORDS, or ?about=* for the whole memory")
        if len(about) > LONGEST_QUERY:
            raise RequestError("bad-request", f"What to forget may have {LONGEST_QUERY} characters")
        async with self._acting(request, "forget", owner) as ending:
            forgotten = await memories.forget_about(owner, "" if about == "*" else about)
            ending.text = str(forgotten)
        return web.json_response({"forgotten": forgotten})

    async def _export(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        """Lines of JSON. A file whose last line is missing was broken off; it cannot be imported."""
        async with contextlib.aclosing(memories.export(owner)) as portions, self._acting(request, "export", owner):
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

    async def _import(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        require_type(request, _LINES)
        if request.content_length is not None and request.content_length > _MOST_IMPORTED:
            raise _too_large()
        whose = access_of(request).tenant
        if whose in self._importing:  # each has its file on disk
            raise MemoryStoreError("Another file is being imported: try again when it is done")
        self._importing.add(whose)
        try:
            return await self._import_file(request, memories, owner)
        finally:
            self._importing.discard(whose)

    async def _import_file(self, request: web.Request, memories: Memories, owner: Owner) -> web.StreamResponse:
        kept = await _on_disk(
            lambda: tempfile.TemporaryDirectory(prefix=IMPORTING, dir=memories.folder, ignore_cleanup_errors=True)
        )
        with kept as folder:  # what cannot be removed of it is at the next start
            path = Path(folder) / "memory.jsonl"
            try:
                async with asyncio.timeout(_UPLOAD_SECONDS):
                    await _save(request.content.iter_chunked(_CHUNK), path)
            except TimeoutError:
                raise RequestError("timeout", "The file did not come in time: send it in parts") from None
            except ConnectionError:
                raise GoneError from None
            try:
                async with self._acting(request, "import", owner) as ending:
                    imported = await memories.import_file(owner, path)
                    ending.text = str(imported.notes)
            except RequestError as error:
                told = str(error).replace(str(path), "the file").replace(path.name, "the file")
                raise RequestError(error.code, told[:1].upper() + told[1:]) from None
        return web.json_response(asdict(imported))


def _changed(meaning: Meaning, changes: NoteChangesBody) -> Meaning:
    if changes.keywords is not None:
        meaning = replace(meaning, keywords=tuple(changes.keywords))
    if changes.tags is not None:
        meaning = replace(meaning, tags=tuple(changes.tags))
    if changes.context is not None:
        meaning = replace(meaning, context=changes.context)
    return meaning


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


def _owner(request: web.Request) -> Owner:
    key = request.query.get("tenant", HOUSEHOLD.key)
    if len(key) <= LONGEST_NAME and key.isprintable():
        with contextlib.suppress(ValueError):
            return Owner.parse(key)
    raise RequestError("bad-request", "The tenant is none: 'household', or 'person:ID', 'guest:ID' or 'satellite:ID'")


def _may_see(access: Access, owner: Owner) -> bool:
    """A user sees what the household shares and what is their own, an admin everything."""
    if access.role >= Role.ADMIN:
        return True
    own = bool(access.user) and owner == Owner(OwnerKind.PERSON, access.user)
    return access.role >= Role.USER and (own or owner == HOUSEHOLD)


def _require_right(access: Access, owner: Owner) -> None:
    if not _may_see(access, owner):
        raise RequestError(
            "not-allowed",
            f"The token '{access.token}' may not see this memory: a user's may see the household's and that of the "
            "person whose it is, an admin's every one",
        )


def _note(note: Note) -> Mapping[str, object]:
    return {
        "id": note.id,
        "tenant": note.owner.key,
        "content": note.content,
        **asdict(note.meaning),
        "source": asdict(note.source),
        "created": note.created,
        "event_time": note.event_time,
        "valid_to": note.valid_to,
        "version": note.version,
    }
