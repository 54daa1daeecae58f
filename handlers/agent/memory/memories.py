"""The memory as the agent and its owners use it: recall, remember, forget; always on behalf of somebody."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from babel.dates import format_date

from handlers.agent.caller import Caller, Role
from handlers.agent.conversations import Turn
from handlers.agent.memory.background import FinishedTurn, Upkeep
from handlers.agent.memory.heuristics import describe
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.places import PrivatePlaces
from handlers.agent.memory.recall import Recall
from handlers.agent.memory.secrets import find_secret
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    LONGEST_CONTENT,
    Embedder,
    Meaning,
    MemoryStoreError,
    NewNote,
    Note,
    Origin,
    Query,
    Recalled,
    Source,
    Tenant,
    TenantKind,
)
from handlers.agent.stage import Request, place_of
from handlers.errors import RequestError
from handlers.workers import Workers

_MAX_PLACES = 1000
"""Places whose last notes are known, for "forget that" and "who told you that"."""

_PAGE = 500
"""Notes read at a time: a bound for what one call of the journal holds."""

_MOST_FORGOTTEN = 5000
"""Notes that one request removes."""

_PAST = re.compile(
    r"\b(was|were|used to|before|previously|last (week|month|year)|früher|war|vorher|brukade|förut|était|avant|antes|"
    r"era)\b",
    re.IGNORECASE,
)
"""A question about what was true before."""

T = TypeVar("T")


class RefusedError(MemoryStoreError):
    """Something is not remembered on purpose. `reason` is 'secret', 'guest', 'private' or 'off'."""

    code = "refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Forgotten:
    """What a request to forget would remove: of which tenant, which notes."""

    notes: Mapping[Tenant, Sequence[Note]]

    @property
    def count(self) -> int:
        return sum(len(notes) for notes in self.notes.values())


class Memories:
    """The memories of a household. Every call says who asks; what they may see follows from that and nothing else."""

    def __init__(
        self,
        journal: Journal,
        index: SearchIndex,
        embedder: Embedder,
        recall: Recall,
        upkeep: Upkeep,
        settings: MemorySettings,
        folder: Path,
        names: Mapping[str, str],
    ) -> None:
        """All of them end with it. `folder` is the journal's; `names` are what people are called, by their id."""
        self.journal = journal
        self._index = index
        self._embedder = embedder
        self._recall = recall
        self._upkeep = upkeep
        self._settings = settings
        self._names = names
        self._private = PrivatePlaces(folder / "private.json")
        self._workers = Workers("memory", threads=2)
        self._last: OrderedDict[str, list[tuple[Tenant, str]]] = OrderedDict()

    def readable(self, caller: Caller) -> list[Tenant]:
        """The memories that a caller may see, their own first. An unknown voice sees the household's, a guest none."""
        if caller.role < Role.USER:
            return []
        return [*([own] if (own := _own(caller)) is not None else []), HOUSEHOLD]

    async def recall(self, request: Request, history: Sequence[Turn]) -> list[str]:
        """What may help to answer, each a sentence that says who said it, and when. Never fails: at worst nothing."""
        tenants = self.readable(request.caller)
        if not tenants or not self._settings.enabled:
            return []
        found = await self._recall.recall(
            tenants,
            Query(
                request.text,
                previous=history[-1].question if history else "",
                speaker=request.caller.user,
                room=request.caller.room,
                past=_PAST.search(request.text) is not None,
            ),
        )
        self._note_last(place_of(request), [recalled.note for recalled in found])
        return [self.sentence(recalled.note) for recalled in found]

    async def search(self, tenants: Sequence[Tenant], text: str, limit: int) -> list[Recalled]:
        """The notes of some memories that fit a text, best first."""
        return await self._recall.recall(tenants, Query(text, past=True), limit, _all_tokens(limit))

    async def remember(self, request: Request, text: str, turn_id: str = "", *, shared: bool = False) -> Note:
        """Keep a sentence; it is on disk when this returns. `shared` keeps it for the whole household.

        RefusedError when it is a secret, or the caller a guest, or the place in private mode.
        """
        caller = request.caller
        if caller.role < Role.USER:
            raise RefusedError("guest", "A guest's words are not remembered")
        if place_of(request) in self._private:
            raise RefusedError("private", "This place is in private mode: nothing is remembered")
        tenant = HOUSEHOLD if shared else _own(caller) or HOUSEHOLD
        source = Source(Origin.SAID, caller.user, caller.satellite, caller.room, turn_id)
        note = await self.add(tenant, text, source, request.language)
        self._note_last(place_of(request), [note])
        return note

    async def add(self, tenant: Tenant, text: str, source: Source, language: str = "en") -> Note:
        """Keep a sentence in a memory. RefusedError for a secret, RequestError for one that is empty or too long."""
        text = text.strip()
        if not text or len(text) > LONGEST_CONTENT:
            raise RequestError("bad-note", f"A memory has 1 to {LONGEST_CONTENT} characters")
        secret = find_secret(text, language)
        if secret is not None:
            raise RefusedError("secret", f"Secrets are not kept ({secret.kind}): use a password manager for them")
        if not self._settings.enabled:
            raise RefusedError("off", "The memory is switched off (agent.memory.enabled)")
        meaning = describe(text, self._names.get(source.speaker, source.speaker))
        note = await self.call(lambda: self.journal.add(tenant, NewNote(text, source, meaning)))
        self._upkeep.note_added(tenant, note)
        return note

    async def edit(self, tenant: Tenant, note_id: str, text: str, source: Source) -> Note:
        """Say something else in place of a note. Its words never change: this is a new one, and the old is gone."""
        old = await self.get(tenant, note_id)
        if text.strip() == old.content:
            return old
        new = await self.add(tenant, text, source)
        await self.forget(Forgotten({tenant: [old]}))
        return new

    async def get(self, tenant: Tenant, note_id: str) -> Note:
        """A note of a memory; RequestError when it has none with this id."""
        found = await self.call(lambda: self.journal.get(tenant, [note_id]))
        if not found:
            raise RequestError("no-note", "There is no such memory")
        return found[0]

    async def revise(self, tenant: Tenant, note_id: str, meaning: Meaning, source: Source) -> Note:
        """Say anew what is known about a note."""
        note = await self.call(lambda: self.journal.revise(tenant, note_id, meaning, source))
        self._upkeep.note_added(tenant, note)
        return note

    async def undo(self, tenant: Tenant, note_id: str, source: Source) -> Note:
        """Take back the last change of a note; RequestError when there is none."""
        note = await self.get(tenant, note_id)
        if note.version == 1:
            raise RequestError("nothing-to-undo", "This memory was never changed")
        note = await self.call(lambda: self.journal.undo(tenant, note_id, source))
        self._upkeep.note_added(tenant, note)
        return note

    async def notes_about(self, tenant: Tenant, subject: str) -> list[Note]:
        """The notes of one memory that have all words of a subject; all of it for an empty one."""
        notes = await self._all(tenant)
        return [note for note in notes if _mentions(note, subject)] if subject else notes

    async def notes_came(self, tenant: Tenant) -> None:
        """Notes came by another way: those without a vector get one, and links."""
        fresh = await self.call(lambda: self.journal.without_vector(tenant, self._embedder.space, _PAGE))
        for note in fresh:
            self._upkeep.note_added(tenant, note)

    async def page(self, tenant: Tenant, after: str = "", limit: int = 100) -> list[Note]:
        """Notes in the order in which they came, from behind the note `after`."""
        return await self.call(lambda: self.journal.page(tenant, after=after, limit=limit))

    async def about_person(self, request: Request, limit: int) -> list[Note]:
        """What is known of whoever asks, the newest first: their own memory; of an unknown voice, nothing."""
        own = _own(request.caller)
        if own is None or request.caller.role < Role.USER:
            return []
        notes = [note for note in await self._all(own) if note.valid_to is None]
        newest = notes[::-1][:limit]
        self._note_last(place_of(request), newest)
        return newest

    async def about(self, request: Request, subject: str, limit: int) -> list[Note]:
        """What is known about something, of all that the caller may see."""
        tenants = self.readable(request.caller)
        found = await self._recall.recall(tenants, Query(subject), limit, _all_tokens(limit)) if tenants else []
        notes = [recalled.note for recalled in found if _mentions(recalled.note, subject)]
        self._note_last(place_of(request), notes)
        return notes

    async def last(self, request: Request) -> list[Note]:
        """The notes that were last kept or recalled where this is said; those that are still there."""
        places = self._last.get(place_of(request), [])
        allowed = set(self.readable(request.caller))
        notes = []
        for tenant, note_id in places:
            if tenant in allowed:
                notes += await self.call(partial(self.journal.get, tenant, [note_id]))
        return notes

    async def mentioning(self, request: Request, subject: str) -> Forgotten:
        """All notes that speak of something, by its words, of all that the caller may see: what would be forgotten."""
        found: dict[Tenant, Sequence[Note]] = {}
        for tenant in self.readable(request.caller):
            notes = await self.notes_about(tenant, subject)
            if notes:
                found[tenant] = notes[:_MOST_FORGOTTEN]
        return Forgotten(found)

    async def own(self, request: Request) -> Forgotten:
        """Everything in the caller's own memory."""
        own = _own(request.caller)
        notes = await self._all(own) if own is not None and request.caller.role >= Role.USER else []
        return Forgotten({own: notes} if own is not None and notes else {})

    async def forget(self, forgotten: Forgotten) -> int:
        """Remove notes without a trace on disk; returns how many there were. MemoryStoreError when a trace is left."""
        count = 0
        for tenant, notes in forgotten.notes.items():
            ids = [note.id for note in notes]
            await self._upkeep.drop_turns(tenant)  # or it would be learnt again
            count += await self.call(partial(self.journal.forget, tenant, ids))
            await self._index.remove(tenant, self._embedder.space, ids)
            await self._index.purge(tenant, self._embedder.space)
        await self.call(self.journal.purge)
        return count

    def is_private(self, request: Request) -> bool:
        """Whether nothing is remembered where this is said."""
        return place_of(request) in self._private

    async def set_private(self, request: Request, private: bool) -> None:
        """Begin or end private mode where this is said."""
        place = place_of(request)
        await self.call(lambda: self._private.set(place, private))

    def turn_finished(self, request: Request, answer: str, turn_id: str) -> None:
        """A turn that a language model answered is over: what matters of it is kept, later and in the background."""
        caller = request.caller
        if not (self._settings.enabled and self._settings.learn) or caller.role < Role.USER or self.is_private(request):
            return
        turn = FinishedTurn(
            request.text,
            answer,
            time.time(),
            caller.user,
            caller.satellite,
            caller.room,
            turn_id,
            request.conversation_id,
            request.language,
        )
        self._upkeep.turn_finished(_own(caller) or HOUSEHOLD, turn)

    def sentence(self, note: Note) -> str:
        """A note as a language model reads it: what, who said so, when, and whether it still holds."""
        who = self._names.get(note.source.speaker, note.source.speaker)
        said = f"{who} said so on" if who else "said on"
        until = f"; true until {_date(note.valid_to)}" if note.valid_to is not None else ""
        return f"{note.content} ({said} {_date(note.created)}{until})"

    def name(self, user: str) -> str:
        """What a person is called."""
        return self._names.get(user, user)

    def pause(self) -> None:
        """Somebody speaks: the work in the background stops at once."""
        self._upkeep.pause()

    def resume(self) -> None:
        """Nobody speaks any more."""
        self._upkeep.resume()

    async def call(self, work: Callable[[], T]) -> T:
        """Let the journal work, off the event loop."""
        return await self._workers.run(work)

    async def close(self) -> None:
        """End the work in the background and let go of the files."""
        await self._upkeep.close()
        await self._recall.close()
        await self._index.close()
        await self._embedder.close()
        await self._workers.close()
        await asyncio.to_thread(self.journal.close)

    async def _all(self, tenant: Tenant) -> list[Note]:
        notes: list[Note] = []
        while page := await self.page(tenant, notes[-1].id if notes else "", _PAGE):
            notes += page
            if len(page) < _PAGE:
                break
        return notes

    def _note_last(self, place: str, notes: Sequence[Note]) -> None:
        if notes:
            self._last[place] = [(note.tenant, note.id) for note in notes]
            self._last.move_to_end(place)
            while len(self._last) > _MAX_PLACES:
                self._last.popitem(last=False)


def _own(caller: Caller) -> Tenant | None:
    return Tenant(TenantKind.PERSON, caller.user) if caller.user else None


def _mentions(note: Note, subject: str) -> bool:
    """Whether a note has all the words of a subject, as they stand."""
    text = f"{note.content} {' '.join(note.meaning.keywords)}".lower()
    words = re.findall(r"\w+", subject.lower())
    return bool(words) and all(re.search(rf"\b{re.escape(word)}", text) for word in words)


def _all_tokens(notes: int) -> int:
    return notes * LONGEST_CONTENT


def _date(at: float | None) -> str:
    return "" if at is None else format_date(datetime.fromtimestamp(at).astimezone(), "d MMMM y", locale="en")
