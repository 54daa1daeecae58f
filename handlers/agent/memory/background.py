"""The memory's work in the background: vectors, links, distilling; stopped at once when somebody speaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from handlers.agent.llm.errors import AnswerError
from handlers.agent.memory.distil import MOST_TURNS, FinishedTurn, by_patterns, distil
from handlers.agent.memory.evolve import (
    MOST_SHOWN,
    NEIGHBOURS,
    apply,
    by_similarity,
    close_contradicted,
    judge,
)
from handlers.agent.memory.heuristics import find_keywords, may_hold_facts
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.lexical import embedding_text
from handlers.agent.memory.secrets import find_secret
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.memory.stage import (
    Embedder,
    MemoryStoreError,
    NewNote,
    Note,
    Origin,
    Owner,
    OwnerKind,
    Space,
    Vector,
    Vectors,
)
from handlers.agent.stage import LanguageModel
from handlers.errors import DeadlineError, EngineError, MeadowlarkError
from handlers.workers import Workers

__all__ = ["FinishedTurn", "Pace", "Upkeep"]

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_WAITING_TURNS = 100
"""Turns that wait for the language model: more than a household has while it is busy; then the oldest go."""

_MOST_WAITING_NOTES = 500
"""Notes that wait for it: an hour of work or more. The rest is found again at the next start."""

_MOST_FRESH_NOTES = 5000
"""New notes that wait to be compared with older ones: only an import has more, and it brings its own history."""

_WORDS_AT_ONCE = 3000
"""Characters of turns in one call: about 1000 tokens, so that prompt and answer fit in 4096."""

_EMBED_AT_ONCE = 8
"""Notes: a quarter of a second on a small board, which is how long a pause waits at most for a thread to be free."""

_PAGE = 200
"""Notes read at once when looking for unfinished ones."""

_CLOSE_SECONDS = 0.9
"""For what runs to notice that it is to end; then it is cancelled for good."""

_SIMILAR = 0.55
"""Cosine from which on notes are linked without a language model. Of notes as they are embedded, with MiniLM, those on
one topic have 0.58 to 0.9; unrelated ones of the same speaker up to 0.54, most of them 0.33."""

_TRIES = 3
"""Calls that fail for one note, or take too long for some turns, before it is done without the language model."""


@dataclass(frozen=True)
class Pace:
    """How the background makes way for people."""

    quiet_seconds: float = 20.0
    """Nobody has spoken for so long: a conversation is over, and its turns are distilled together."""
    answer_seconds: float = 120.0
    """For one answer of the language model; a slow machine writes 5 tokens a second."""
    retry_seconds: float = 15.0
    """After a failure; doubled each time."""
    longest_retry: float = 900.0


class Upkeep:
    """Finishes what was remembered: one task that works while nobody speaks.

    The journal knows what is unfinished, so that a restart goes on with it: notes without a vector, and notes that no
    language model has seen. Only turns that were not distilled yet are lost; they are kept in memory alone, because
    nobody asked that they be kept.
    """

    def __init__(
        self,
        journal: Journal,
        index: SearchIndex,
        embedder: Embedder,
        model: Callable[[], LanguageModel | None],
        settings: MemorySettings,
        *,
        names: Mapping[str, str] | None = None,
        pace: Pace | None = None,
    ) -> None:
        """names: what people are called, by their ids; it may change. It belongs to whoever calls `close`; the parts do
        not."""
        self._journal = journal
        self._index = index
        self._embedder = embedder
        self._model = model
        self._settings = settings
        self._names: Mapping[str, str] = {} if names is None else names
        self._pace = pace or Pace()
        self._workers = Workers("memory-upkeep", 1, 8)
        self._turns: OrderedDict[int, tuple[Owner, FinishedTurn]] = OrderedDict()
        self._turn_number = 0
        self._too_slow = 0
        self._fresh: OrderedDict[tuple[Owner, str], None] = OrderedDict()
        self._unjudged: OrderedDict[tuple[Owner, str], int] = OrderedDict()  # and how often it failed
        self._unembedded: OrderedDict[Owner, None] = OrderedDict()
        self._looked_for_owners = False
        self._looked_for_unjudged = False
        self._complete = False
        self._paused = False
        self._closing = False
        self._quiet_at = 0.0
        self._changed = asyncio.Event()
        self._resting = asyncio.Event()
        self._storing = asyncio.Lock()
        self._stop_step: Callable[[], object] | None = None
        self._interrupted = False
        self._owner: asyncio.Task[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether every note has a vector in the embedder's space; until then an older space knows more."""
        return self._complete

    @property
    def waiting(self) -> int:
        """Turns and notes that wait for the language model."""
        return len(self._turns) + len(self._unjudged)

    def start(self) -> None:
        """Begin, also with what an earlier run left."""
        assert self._owner is None
        self._make_quiet()
        self._owner = asyncio.create_task(self._run(), name="memory-upkeep")

    def turn_finished(self, owner: Owner, turn: FinishedTurn) -> None:
        """Distil a turn when there is quiet, if it may be and is worth it. Costs no time."""
        self._make_quiet()
        if turn.private or owner.kind is OwnerKind.GUEST or not self._settings.learn or self._able_model() is None:
            return
        if not may_hold_facts(turn.question) or find_secret(turn.question, turn.language) is not None:
            return
        if find_secret(turn.answer, turn.language) is not None:
            turn = replace(turn, answer="")
        self._turn_number += 1
        self._turns[self._turn_number] = (owner, turn)
        while len(self._turns) > _MOST_WAITING_TURNS:
            self._turns.popitem(last=False)
        self._tell()

    def note_added(self, owner: Owner, note: Note) -> None:
        """A note is in the journal. Costs no time. One that was there already may be given again."""
        self._unembedded[owner] = None
        self._fresh[owner, note.id] = None
        while len(self._fresh) > _MOST_FRESH_NOTES:
            self._fresh.popitem(last=False)
        if note.version == 1:
            self._wait_for_judgement(owner, note.id)
        self._tell()

    async def drop_turns(self, owner: Owner) -> None:
        """Forget the turns of an owner that wait to be distilled; nothing is made of them after this returns. Call it
        before forgetting what may have been made of them."""
        for number in [number for number, (whose, _) in self._turns.items() if whose == owner]:
            del self._turns[number]
        self._interrupt()
        self._tell()
        async with self._storing:  # what is being stored now can be forgotten then
            pass

    def pause(self) -> None:
        """Somebody speaks: stop at once, also the language model in the middle of a word. What was begun is done
        again later. May be called again while paused."""
        self._paused = True
        self._interrupt()

    def resume(self) -> None:
        """Nobody speaks any more: go on after a while of quiet."""
        if self._paused:
            self._paused = False
            self._make_quiet()
            self._tell()

    async def idle(self) -> None:
        """Wait until there is nothing left to do."""
        while not self._resting.is_set():
            await self._resting.wait()

    async def close(self) -> None:
        """End within a second; what is unfinished is found again by the next start."""
        self._closing = True
        self._interrupt()
        self._tell()
        if self._owner is not None:
            await asyncio.wait({self._owner}, timeout=_CLOSE_SECONDS)
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        await self._workers.close()

    # What is to be done, in the order in which it is done

    async def _run(self) -> None:
        chores = [
            _Chore(lambda: not self._looked_for_owners, self._look_for_owners),
            _Chore(lambda: bool(self._fresh), self._close_contradicted),
            _Chore(lambda: bool(self._unembedded), self._embed),
            _Chore(lambda: bool(self._turns) and self._able_model() is not None, self._distil, quietly=True),
            _Chore(
                lambda: not self._looked_for_unjudged and self._able_model() is not None,
                self._look_for_unjudged,
                quietly=True,
            ),
            _Chore(lambda: bool(self._unjudged) and self._able_model() is not None, self._judge, quietly=True),
        ]
        while not self._closing:
            self._changed.clear()
            wait = await self._work(chores)
            if wait == 0:
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

    async def _work(self, chores: Sequence[_Chore]) -> float | None:
        """Do the first thing that is due. Returns the seconds until the next one is; None when there is nothing."""
        if self._paused:
            return None
        waiting = [chore for chore in chores if chore.needed()]
        if not waiting:
            self._resting.set()
            return None
        now = time.monotonic()
        due = {id(chore): max(chore.due, self._quiet_at if chore.quietly else 0.0) for chore in waiting}
        for chore in waiting:
            if due[id(chore)] <= now:
                await self._do(chore)
                return 0
        return min(due.values()) - now

    async def _do(self, chore: _Chore) -> None:
        try:
            await chore.work()
            chore.failures = 0
        except _InterruptedError:
            pass
        except Exception as error:
            wait = min(self._pace.retry_seconds * 2**chore.failures, self._pace.longest_retry)
            chore.failures = min(chore.failures + 1, 30)
            chore.due = time.monotonic() + wait
            _LOGGER.log(
                logging.WARNING if chore.failures == 1 else logging.DEBUG,
                "The memory's background work failed and is tried again in %.0f s: %s",
                wait,
                error if isinstance(error, MeadowlarkError) else type(error).__name__,  # no words of anybody
            )
            if not isinstance(error, MeadowlarkError):  # a defect; it must not end the rest of the work
                _LOGGER.debug("A defect in the memory's background work", exc_info=error)

    async def _look_for_owners(self) -> None:
        for owner in await self._workers.run(self._journal.owners):
            self._unembedded[owner] = None
        self._looked_for_owners = True

    async def _close_contradicted(self) -> None:
        (owner, note_id), _ = next(iter(self._fresh.items()))

        def close() -> None:
            for note in self._journal.get(owner, [note_id]):
                close_contradicted(self._journal, note, self._names)

        await self._workers.run(close)
        self._fresh.pop((owner, note_id), None)

    async def _embed(self) -> None:
        """Give some notes of one owner their vectors, and links where no language model will."""
        space = self._embedder.space
        owner = next(iter(self._unembedded))
        del self._unembedded[owner]
        try:
            notes = await self._workers.run(lambda: self._journal.without_vector(owner, space, _EMBED_AT_ONCE))
            if notes:
                vectors = await self._interruptible(self._embedder.embed_notes([self._text(note) for note in notes]))
                await self._keep(owner, notes, vectors)
        except BaseException:
            self._unembedded[owner] = None
            raise
        if notes:
            self._unembedded[owner] = None  # there may be more
            self._unembedded.move_to_end(owner, last=False)
        elif not self._unembedded and self._looked_for_owners and not self._complete and space.dimensions:
            await self._drop_other_spaces(space)
            self._complete = True

    async def _drop_other_spaces(self, space: Space) -> None:
        """All notes have a vector in this one: the others go, also from the index."""
        others = await self._workers.run(lambda: self._journal.has_other_spaces(space))
        owners = await self._workers.run(self._journal.owners) if others else []
        await self._index.owe(owners)
        await self._workers.run(lambda: self._journal.drop_other_spaces(space))
        for owner in owners:
            with contextlib.suppress(MemoryStoreError):  # the next start tries again
                await self._index.purge(owner, space)

    async def _keep(self, owner: Owner, notes: Sequence[Note], vectors: Vectors) -> None:
        """Into index and journal, except for what was forgotten meanwhile."""
        space = self._embedder.space
        ids = [note.id for note in notes]
        await self._index.keep(owner, space, ids, vectors, [note.version for note in notes])
        known = {note.id for note in await self._workers.run(lambda: self._journal.get(owner, ids))}
        gone = [note_id for note_id in ids if note_id not in known]
        if gone:
            await self._index.remove(owner, space, gone)
        if self._able_model() is None:
            for note, vector in zip(notes, vectors, strict=True):
                if note.id in known:
                    await self._link_by_similarity(note, vector)

    async def _link_by_similarity(self, note: Note, vector: Vector) -> None:
        near = await self._near(note, vector)
        changes = by_similarity(note, near, _SIMILAR)
        await self._workers.run(lambda: None if self._is_linked(note) else apply(self._journal, note, changes))

    async def _distil(self) -> None:
        """Make notes of some turns of one owner."""
        model = self._able_model()
        assert model is not None
        numbers = self._some_turns()
        owner = self._turns[numbers[0]][0]
        turns = [self._turns[number][1] for number in numbers]
        try:
            found = await self._interruptible(distil(model, turns, self._names, self._pace.answer_seconds))
        except DeadlineError:
            self._too_slow += 1
            if self._too_slow < _TRIES:
                raise
            found = by_patterns(turns, self._names)
        self._too_slow = 0
        async with self._storing:
            if any(number not in self._turns for number in numbers):  # dropped meanwhile: begin again without them
                return
            for note in await self._workers.run(lambda: self._add(owner, found, turns)):
                self.note_added(owner, note)
            for number in numbers:
                self._turns.pop(number, None)

    def _some_turns(self) -> list[int]:
        """The oldest turn that waits, and those of the same owner that fit beside it."""
        first = next(iter(self._turns.values()))[0]
        numbers: list[int] = []
        room = _WORDS_AT_ONCE
        for number, (owner, turn) in self._turns.items():
            if owner != first:
                continue
            room -= len(turn.question) + len(turn.answer)
            if numbers and (room < 0 or len(numbers) == MOST_TURNS):
                break
            numbers.append(number)
        return numbers

    def _add(self, owner: Owner, found: Sequence[tuple[int, NewNote]], turns: Sequence[FinishedTurn]) -> list[Note]:
        """Store what was distilled, each fact once; a fact refers to the one before it in the same conversation."""
        added: list[Note] = []
        last: dict[str, str] = {}
        for position, new in found:
            about = new.meaning
            known = self._journal.same_fact(owner, about.subject, about.attribute) if about.subject else []
            if any(set(find_keywords(note.content)) == set(find_keywords(new.content)) for note in known):
                continue
            conversation = turns[position].conversation_id
            note = self._journal.add(
                owner, replace(new, previous_id=last.get(conversation, "") if conversation else "")
            )
            last[conversation] = note.id
            added.append(note)
        return added

    async def _look_for_unjudged(self) -> None:
        """Notes that no language model has seen: those of an earlier run, or from before there was one."""
        for owner in await self._workers.run(self._journal.owners):
            after: str | None = ""
            while after is not None:
                unseen, after = await self._workers.run(partial(self._unseen, owner, after))
                for note_id in unseen:
                    self._wait_for_judgement(owner, note_id)
        self._looked_for_unjudged = True

    def _unseen(self, owner: Owner, after: str) -> tuple[list[str], str | None]:
        """Of a page of notes those that no language model has seen, and the last of the page; None at the end."""
        page = self._journal.page(owner, after=after, limit=_PAGE)
        unseen = [note.id for note in page if note.valid_to is None and note.version == 1]
        return unseen, page[-1].id if len(page) == _PAGE else None

    async def _judge(self) -> None:
        """Let the language model see one new note beside its neighbours."""
        model = self._able_model()
        assert model is not None
        (owner, note_id), failed = next(iter(self._unjudged.items()))
        note = await self._workers.run(lambda: self._to_judge(owner, note_id))
        if note is None:
            self._unjudged.pop((owner, note_id), None)
            return
        vectors = await self._interruptible(self._embedder.embed_notes([self._text(note)]))
        near = await self._near(note, vectors[0])
        older = await self._workers.run(lambda: self._older(note, [key for key, _ in near]))
        try:
            changes = await self._interruptible(judge(model, note, older, self._names, self._pace.answer_seconds))
        except EngineError as error:
            self._unjudged[owner, note_id] = failed + 1
            if failed + 1 < _TRIES and not isinstance(error, AnswerError):
                raise
            changes = by_similarity(note, near, _SIMILAR)
        revised = await self._workers.run(lambda: apply(self._journal, note, changes))
        if revised is None:  # something was forgotten meanwhile; the next time it is not shown
            return
        if revised:
            self._unembedded[owner] = None
        self._unjudged.pop((owner, note_id), None)

    def _to_judge(self, owner: Owner, note_id: str) -> Note | None:
        """The note, unless it is gone, no longer true, or written anew by a person, who knows better."""
        for note in self._journal.get(owner, [note_id]):
            last = self._journal.versions(owner, note_id)[-1:]
            if note.valid_to is None and all(each.number == 1 or each.source.origin is Origin.EVOLVED for each in last):
                return note
        return None

    def _older(self, note: Note, near: Sequence[str]) -> list[Note]:
        """What a note is shown beside: others about the same fact, then its neighbours; only what still holds."""
        about = note.meaning
        same = self._journal.same_fact(note.owner, about.subject, about.attribute) if about.subject else []
        notes = {
            other.id: other for other in (*same[-(MOST_SHOWN - NEIGHBOURS) :], *self._journal.get(note.owner, near))
        }
        return [other for other in notes.values() if other.id != note.id and other.valid_to is None]

    async def _near(self, note: Note, vector: Vector) -> list[tuple[str, float]]:
        near = await self._index.search(note.owner, self._embedder.space, vector, NEIGHBOURS + 1)
        return [(key, alike) for key, alike in near if key != note.id][:NEIGHBOURS]

    def _text(self, note: Note) -> str:
        return embedding_text(note, self._names.get(note.source.speaker, ""))

    def _is_linked(self, note: Note) -> bool:
        return bool(self._journal.links(note.owner, [note.id]))

    def _able_model(self) -> LanguageModel | None:
        model = self._model()
        return model if model is not None and model.follows_schemas else None

    def _wait_for_judgement(self, owner: Owner, note_id: str) -> None:
        self._unjudged[owner, note_id] = 0
        while len(self._unjudged) > _MOST_WAITING_NOTES:
            self._unjudged.popitem(last=False)

    def _make_quiet(self) -> None:
        self._quiet_at = time.monotonic() + self._pace.quiet_seconds

    def _tell(self) -> None:
        self._resting.clear()
        self._changed.set()

    def _interrupt(self) -> None:
        if self._stop_step is not None:
            self._interrupted = True
            self._stop_step()

    async def _interruptible(self, work: Coroutine[object, object, T]) -> T:
        """Do what may be stopped in the middle. Raises _InterruptedError when it was."""
        if self._paused or self._closing:
            work.close()
            raise _InterruptedError
        step = asyncio.ensure_future(work)
        self._stop_step, self._interrupted = step.cancel, False
        try:
            return await step
        except (asyncio.CancelledError, MeadowlarkError):
            task = asyncio.current_task()
            if not self._interrupted or (task is not None and task.cancelling()):
                raise
            raise _InterruptedError from None
        finally:
            self._stop_step = None


class _InterruptedError(Exception):
    """Somebody spoke, or it is the end."""


@dataclass
class _Chore:
    """A kind of work, and when it may be tried."""

    needed: Callable[[], bool]
    work: Callable[[], Awaitable[None]]
    quietly: bool = False
    """Needs the language model, so it waits until a conversation is over."""
    due: float = 0.0
    failures: int = 0
