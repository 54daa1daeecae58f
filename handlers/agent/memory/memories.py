"""The memory as the agent and its owners use it: recall, remember, forget; always on behalf of somebody."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from babel import Locale
from babel.dates import format_date

from handlers.agent.conversations import Turn
from handlers.agent.memory.background import FinishedTurn, Upkeep
from handlers.agent.memory.forgetting import Forgetting, Forgotten
from handlers.agent.memory.heuristics import describe, find_secret_of_note
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.mentions import mentions, telling_words
from handlers.agent.memory.places import PrivatePlaces
from handlers.agent.memory.porting import BadFileError, Imported, export_lines, import_file
from handlers.agent.memory.recall import Recall
from handlers.agent.memory.rows import check_meaning, check_note
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
    Owner,
    OwnerKind,
    Query,
    Recalled,
    Source,
)
from handlers.agent.memory.tense import asks_about_past
from handlers.agent.stage import Request
from handlers.errors import EngineError, RequestError
from handlers.session import Role, Session
from handlers.workers import Workers

_LOOKED_AT = 4
"""Times as many notes are looked at for a subject as are told: some that fit do not speak of it."""

_MAX_PLACES = 1000
"""Places whose last notes are known, for "forget that" and "who told you that"."""

_PAGE = 500
"""Notes read at a time: a bound for what one call of the journal holds."""

_LINES = 50
"""Of an export, read at a time."""

IMPORTING = "import-"
"""Begins the names of folders with a file that is being imported, so that it never stays on disk."""

T = TypeVar("T")


class RefusedError(MemoryStoreError):
    """Something is not remembered on purpose. `reason` is 'secret', 'guest' or 'private'."""

    code = "refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        private: PrivatePlaces,
        names: Mapping[str, str],
    ) -> None:
        """All of them end with it. `folder` is the journal's; `names` are what people are called, by their id."""
        self.journal = journal
        self.folder = folder
        for left in folder.glob(f"{IMPORTING}*"):  # the process died while it read a file
            shutil.rmtree(left, ignore_errors=True)
        self._index = index
        self._embedder = embedder
        self._recall = recall
        self._upkeep = upkeep
        self._settings = settings
        self._names = names
        self.private = private
        self._workers = Workers("memory", threads=2)
        self._slow_workers = Workers("memory-slow")  # imports and the like, which nobody who speaks waits for
        self._last: OrderedDict[str, list[tuple[Owner, str]]] = OrderedDict()
        self._forgetting = Forgetting(journal, index, embedder, upkeep)

    def readable(self, session: Session) -> list[Owner]:
        """The memories that somebody may see, their own first. An unknown voice sees the household's, a guest none."""
        if session.role < Role.USER:
            return []
        return [*([own] if (own := _own(session)) is not None else []), HOUSEHOLD]

    async def recall(self, request: Request, history: Sequence[Turn]) -> list[Note]:
        """The notes that may help to answer. Never fails: at worst none. It may be asked on a guess."""
        owners = self.readable(request.session)
        if not owners:
            return []
        found = await self._recall.recall(
            owners,
            Query(
                request.text,
                previous=history[-1].question if history else "",
                speaker=request.session.user,
                room=request.session.room,
                past=asks_about_past(request.text, request.session.language),
            ),
        )
        return [recalled.note for recalled in found]

    def told(self, request: Request, notes: Sequence[Note]) -> None:
        """An answer was given with these notes: "forget that" and "who told you that" mean them."""
        self._note_last(request.session.place, notes)

    async def search(self, owners: Sequence[Owner], text: str, limit: int) -> list[Recalled]:
        """The notes of some memories that fit a text, best first."""
        return await self._recall.recall(owners, Query(text, past=True), limit, _all_tokens(limit))

    async def remember(self, request: Request, text: str, turn_id: str = "", *, shared: bool = False) -> Note:
        """Keep a sentence; it is on disk when this returns. `shared` keeps it for the whole household.

        RefusedError when it is a secret, or the speaker a guest, or the place in private mode.
        """
        session = request.session
        if session.role < Role.USER:
            raise RefusedError("guest", "A guest's words are not remembered")
        if request.session.place in self.private:
            raise RefusedError("private", "This place is in private mode: nothing is remembered")
        owner = HOUSEHOLD if shared else _own(session) or HOUSEHOLD
        source = Source(Origin.SAID, session.user, session.satellite, session.room, turn_id)
        note = await self.add(owner, text, source, session.language)
        self._note_last(request.session.place, [note])
        return note

    async def add(self, owner: Owner, text: str, source: Source, language: str | None = None) -> Note:
        """Keep a sentence in a memory. RefusedError for a secret, RequestError for one that cannot be a note. Without
        a `language` it is searched for secrets in all of them."""
        new = self._new(text, source, language)
        note = await self.call(lambda: self.journal.add(owner, new))
        self._upkeep.note_added(owner, note)
        return note

    async def edit(self, owner: Owner, note_id: str, text: str, source: Source, language: str | None = None) -> Note:
        """Correct the words of a note. They never change, so this is a new note in its place, told by the same person
        at the same time, true as long and linked to the same; the old one is forgotten."""
        old = await self.get(owner, note_id)
        if text.strip() == old.content:
            return old
        new = self._new(text, replace(old.source, origin=source.origin), language)
        await self._index.owe([owner])  # before: the process may die at any time
        note = await self.call(lambda: self.journal.correct(owner, note_id, new))
        self._upkeep.note_added(owner, note)
        await self.forget(Forgotten({owner: [old]}))  # what is left of it, in the index and on disk
        return note

    async def get(self, owner: Owner, note_id: str) -> Note:
        """A note of a memory; RequestError when it has none with this id."""
        found = await self.call(lambda: self.journal.get(owner, [note_id]))
        if not found:
            raise RequestError("no-note", "There is no such memory")
        return found[0]

    async def revise(
        self, owner: Owner, note_id: str, meaning: Meaning, source: Source, language: str | None = None
    ) -> Note:
        """Say anew what is known about a note; RequestError when that is too much or not text, RefusedError for a
        secret."""
        _checked(lambda: check_meaning(meaning))
        refuse_secrets((await self.get(owner, note_id)).content, meaning, language)
        note = await self.call(lambda: self.journal.revise(owner, note_id, meaning, source))
        self._upkeep.note_added(owner, note)
        return note

    async def undo(self, owner: Owner, note_id: str, source: Source) -> Note:
        """Take back the last change of a note; RequestError when there is none."""
        await self.get(owner, note_id)
        versions = await self.call(lambda: self.journal.versions(owner, note_id))
        if versions and (versions[-1].restores or versions[-1].number) == 1:
            raise RequestError("nothing-to-undo", "This memory is as it was at first: there is nothing to undo")
        note = await self.call(lambda: self.journal.undo(owner, note_id, source))
        self._upkeep.note_added(owner, note)
        return note

    async def forget_about(self, owner: Owner, subject: str) -> int:
        """Forget the notes of one memory that have all words of a subject, all of it for an empty one, and what of
        this memory waits to be learnt. Returns how many notes there were."""
        await self._upkeep.drop_turns(owner)
        notes = await self.notes_about(owner, subject)
        return await self.forget(Forgotten({owner: notes})) if notes else 0

    async def notes_about(self, owner: Owner, subject: str) -> list[Note]:
        """The notes of one memory that have all words of a subject; all of it for an empty one."""
        return await self._all(owner, subject)

    async def import_file(self, owner: Owner, path: Path) -> Imported:
        """Take over the notes of an exported file; those without a vector get one later, and links. RequestError for a
        file that is not one."""
        try:
            imported = await self._slowly(lambda: import_file(self.journal, owner, path))
        except BadFileError as error:
            raise RequestError("bad-file", str(error)) from None
        fresh = await self.call(lambda: self.journal.without_vector(owner, self._embedder.space, _PAGE))
        for note in fresh:
            self._upkeep.note_added(owner, note)
        return imported

    async def export(self, owner: Owner) -> AsyncGenerator[bytes, None]:
        """A whole memory as lines of JSON, some at a time. Notes may come and go meanwhile."""
        lines = export_lines(self.journal, owner)
        while portion := await self._slowly(lambda: list(islice(lines, _LINES))):
            yield "".join(portion).encode()

    async def page(self, owner: Owner, after: str = "", limit: int = 100) -> list[Note]:
        """Notes in the order in which they came, from behind the note `after`; RequestError when there never was one
        with that id."""
        try:
            return await self.call(lambda: self.journal.page(owner, after=after, limit=limit))
        except MemoryStoreError as error:
            if not after:
                raise
            await self.page(owner, limit=1)  # the journal answers, so it is the id
            raise RequestError("bad-request", str(error)) from None

    async def about_person(self, request: Request, limit: int) -> list[Note]:
        """What is known of whoever asks, the newest first: their own memory, and what everybody may know about them.
        Of an unknown voice, nothing."""
        own = await self.own(request)
        now = time.time()
        notes = [note for found in own.notes.values() for note in reversed(found) if note.holds(now)][:limit]
        self._note_last(request.session.place, notes)
        return notes

    async def about(self, request: Request, subject: str, limit: int) -> list[Note]:
        """What is known about something, of all that the speaker may see."""
        owners = self.readable(request.session)
        query = Query(subject, speaker=request.session.user, room=request.session.room)
        looked_at = limit * _LOOKED_AT
        found = await self._recall.recall(owners, query, looked_at, _all_tokens(looked_at)) if owners else []
        notes = [recalled.note for recalled in found if mentions(recalled.note, subject)][:limit]
        self._note_last(request.session.place, notes)
        return notes

    async def last(self, request: Request, answer: str = "") -> list[Note]:
        """The notes that were last kept, told or recalled where this is said; those that are still there. With an
        answer, only those that it speaks of, the likeliest first."""
        allowed = set(self.readable(request.session))
        notes: list[Note] = []
        for owner, note_id in self._last.get(request.session.place, []):
            if owner in allowed:
                notes += await self.call(partial(self.journal.get, owner, [note_id]))
        if not answer:
            return notes
        said = telling_words(answer, request.session.language)
        shared = {note.id: len(said & telling_words(note.content, request.session.language)) for note in notes}
        return sorted((note for note in notes if shared[note.id]), key=lambda note: -shared[note.id])

    async def mentioning(self, request: Request, subject: str) -> Forgotten:
        """All notes that speak of something, by its words, of all that the speaker may see: what would be forgotten."""
        found = {owner: await self._all(owner, subject) for owner in self.readable(request.session)}
        return Forgotten({owner: notes for owner, notes in found.items() if notes})

    async def own(self, request: Request) -> Forgotten:
        """Everything in the speaker's own memory, and what the household's says about them by name."""
        own = _own(request.session)
        if own is None or own not in self.readable(request.session):
            return Forgotten({})
        named = self.name(request.session.user)
        found = {own: await self._all(own), HOUSEHOLD: await self._all(HOUSEHOLD, named)}
        return Forgotten({owner: notes for owner, notes in found.items() if notes})

    async def drop_turns(self, request: Request) -> None:
        """Learn nothing of what was said so far in passing, by the speaker or by voices that nobody knows."""
        for owner in self.readable(request.session):
            await self._upkeep.drop_turns(owner)

    async def forget(self, forgotten: Forgotten) -> int:
        """Remove notes without a trace on disk; returns how many there were. Once begun it is done, whoever waits.

        MemoryStoreError when a trace is left; it is then tried again until it is gone.
        """
        return await self._forgetting.forget(forgotten)

    def is_private(self, request: Request) -> bool:
        """Whether nothing is remembered where this is said."""
        return request.session.place in self.private

    async def set_private(self, request: Request, private: bool) -> None:
        """Begin or end private mode where this is said; at a satellite it survives a restart. What was said in passing
        and not learnt yet is dropped. A guest cannot end it: RefusedError."""
        if not private and request.session.role < Role.USER:
            raise RefusedError("guest", "A guest cannot end private mode")
        if private:
            await self.drop_turns(request)
        place, lasting = request.session.place, bool(request.session.satellite)
        await self.call(lambda: self.private.set(place, private, lasting=lasting))

    def turn_finished(self, request: Request, answer: str, turn_id: str) -> None:
        """A turn that a language model answered is over: what matters of it is kept, later and in the background."""
        session = request.session
        if not self._settings.learn or session.role < Role.USER or self.is_private(request):
            return
        turn = FinishedTurn(
            request.text,
            answer,
            time.time(),
            session.user,
            session.satellite,
            session.room,
            turn_id,
            session.conversation,
            session.language,
        )
        self._upkeep.turn_finished(_own(session) or HOUSEHOLD, turn)

    def sentence(self, note: Note) -> str:
        """A note as a language model reads it: what, who said so and when, of what day, and whether it still holds."""
        who = self._names.get(note.source.speaker, note.source.speaker)
        parts = [f"{who} said so" if who else "said", *_on("on", note.created)]
        about = _on("; it is about", note.event_time)
        until = _on("; true until", note.valid_to)
        return f"{note.content} ({' '.join(parts)}{''.join(about)}{''.join(until)})"

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
        return await _explained(self._workers.run(work))

    async def close(self) -> None:
        """End the work in the background and let go of the files. The embedder is others' too, and stays open."""
        async with contextlib.AsyncExitStack() as parts:  # the last one first
            parts.push_async_callback(asyncio.to_thread, self.journal.close)
            for part in (self._slow_workers, self._workers, self._index, self._recall, self._upkeep):
                parts.push_async_callback(part.close)
            parts.push_async_callback(self._forgetting.close)

    def _new(self, text: str, source: Source, language: str | None) -> NewNote:
        text = text.strip()
        new = NewNote(text, source, describe(text, self._names.get(source.speaker, source.speaker)))
        _checked(lambda: check_note(new))
        refuse_secrets(text, Meaning(), language)
        return new

    async def _all(self, owner: Owner, subject: str = "") -> list[Note]:
        """All notes of a memory, or those that have all words of a subject."""

        def read() -> list[Note]:
            notes: list[Note] = []
            after = ""
            while page := self.journal.page(owner, after=after, limit=_PAGE):
                after = page[-1].id
                notes += [note for note in page if mentions(note, subject)] if subject else page
            return notes

        return await self._slowly(read)

    async def _slowly(self, work: Callable[[], T]) -> T:
        return await _explained(self._slow_workers.run(work))

    def _note_last(self, place: str, notes: Sequence[Note]) -> None:
        self._last.pop(place, None)
        if notes:
            self._last[place] = [(note.owner, note.id) for note in notes]
            while len(self._last) > _MAX_PLACES:
                self._last.popitem(last=False)


def refuse_secrets(content: str, meaning: Meaning, language: str | None) -> None:
    """RefusedError when a note, or what is to be known about it, holds a secret in a language, or in any for None."""
    secret = find_secret_of_note(content, meaning, language)
    if secret is not None:
        raise RefusedError("secret", f"Secrets are not kept ({secret.kind}): use a password manager for them")


def day(at: float | None, locale: Locale | str, style: str = "long") -> str:
    """A day as it is said where the server stands; empty for none, and for one that no calendar has."""
    try:
        return "" if at is None else format_date(datetime.fromtimestamp(at).astimezone(), style, locale=locale)
    except (ValueError, OverflowError, OSError):  # an imported note may say anything
        return ""


def _own(session: Session) -> Owner | None:
    return Owner(OwnerKind.PERSON, session.user) if session.user else None


def _checked(check: Callable[[], None]) -> None:
    """What the journal does not take is the caller's mistake."""
    try:
        check()
    except MemoryStoreError as error:
        raise RequestError("bad-note", str(error)) from None


async def _explained(work: Coroutine[None, None, T]) -> T:
    try:
        return await work
    except EngineError as error:  # closed, or too much waits
        raise MemoryStoreError(f"The memory does not answer: {error}") from error


def _all_tokens(notes: int) -> int:
    return notes * LONGEST_CONTENT


def _on(words: str, at: float | None) -> list[str]:
    date = day(at, "en", "d MMMM y")
    return [f"{words} {date}"] if date else []
