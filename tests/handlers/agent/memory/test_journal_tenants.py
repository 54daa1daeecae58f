"""Whatever several owners do with whatever ids, none ever sees a note of another."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from handlers.agent.memory.journal import Journal
from handlers.agent.memory.porting import export_file, export_lines, import_file
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Link,
    LinkKind,
    Meaning,
    MemoryStoreError,
    NewNote,
    Origin,
    Owner,
    OwnerKind,
    Source,
    Space,
)

OWNERS = [
    HOUSEHOLD,
    Owner(OwnerKind.PERSON, "anna"),
    Owner(OwnerKind.GUEST, "anna"),
]
SPACE = Space("model", "", 2)
SOURCE = Source(Origin.SAID)
owners = st.sampled_from(OWNERS)


class Household(RuleBasedStateMachine):
    """Each note's content tells whose it is; `known` has all ids that ever were, of all owners."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = Journal(self.folder / "memory")
        self.known: list[str] = ["unknown"]
        self.owned: dict[Owner, set[str]] = {owner: set() for owner in OWNERS}

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)

    def pick(self, owner: Owner, place: int) -> str:
        """Half of the time one of the owner's own, else any that ever was."""
        own = [note_id for note_id in self.known if note_id in self.owned[owner]]
        ids = own if own and place % 2 else self.known
        return ids[place // 2 % len(ids)]

    @rule(owner=owners, word=st.sampled_from(["tea", "bins", "garage"]), previous=st.integers(0, 99))
    def add(self, owner: Owner, word: str, previous: int) -> None:
        meaning = Meaning((word,), (), "", word, "is")
        content = f"{word} {len(self.known)} of owner{OWNERS.index(owner)}"
        note = self.journal.add(owner, NewNote(content, SOURCE, meaning, previous_id=self.pick(owner, previous)))
        self.owned[owner].add(note.id)
        self.known.append(note.id)

    @rule(owner=owners, first=st.integers(0, 99), second=st.integers(0, 99), what=st.integers(0, 4))
    def change(self, owner: Owner, first: int, second: int, what: int) -> None:
        a, b = self.pick(owner, first), self.pick(owner, second)
        own = self.owned[owner]
        meaning = Meaning((f"owner{OWNERS.index(owner)}",), (), "", "tea", "is")
        try:
            if what == 0:
                self.journal.revise(owner, a, meaning, SOURCE, because=[b])
            elif what == 1:
                self.journal.replace(owner, a, b, 1.0, SOURCE)
            elif what == 2:
                self.journal.undo(owner, a, SOURCE)
                assert a in own
                return
            else:
                self.journal.link(owner, [Link(a, b, LinkKind.RELATED)], SOURCE)
            assert {a, b} <= own
        except MemoryStoreError:
            pass

    @rule(owner=owners, places=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
    def embed(self, owner: Owner, places: list[int]) -> None:
        ids = [self.pick(owner, place) for place in places]
        self.journal.put_vectors(owner, SPACE, ids, np.tile(np.array([[0.6, 0.8]], np.float32), (len(ids), 1)))

    @rule(owner=owners, places=st.lists(st.integers(0, 99), max_size=3))
    def forget(self, owner: Owner, places: list[int]) -> None:
        ids = {self.pick(owner, place) for place in places}
        assert self.journal.forget(owner, list(ids)) == len(ids & self.owned[owner])
        self.owned[owner] -= ids

    @rule(owner=owners)
    def forget_all(self, owner: Owner) -> None:
        assert self.journal.forget_owner(owner) == len(self.owned[owner])
        self.owned[owner].clear()

    @precondition(lambda self: len(self.known) > 3)
    @rule(owner=owners)
    def export_and_import(self, owner: Owner) -> None:
        export_file(self.journal, owner, self.folder / "export", SPACE)
        assert import_file(self.journal, owner, self.folder / "export").notes == 0

    @invariant()
    def everybody_sees_their_own(self) -> None:
        assert set(self.journal.owners()) == {owner for owner in OWNERS if self.owned[owner]}
        for owner in OWNERS:
            own, mark = self.owned[owner], f"owner{OWNERS.index(owner)}"
            for notes in (self.journal.get(owner, self.known), self.journal.page(owner, limit=10_000)):
                assert {note.id for note in notes} == own
                assert all(note.owner == owner and mark in note.content for note in notes)
                assert all(note.previous_id in own | {""} for note in notes)
            assert self.journal.count(owner) == len(own)
            found = self.journal.lexical(owner, "owner0 OR owner1 OR owner2", 10_000)
            assert {note_id for note_id, _ in found} == own
            for other in range(len(OWNERS)):
                if mark != f"owner{other}":  # nor by a window or a keyword that came from elsewhere
                    assert self.journal.lexical(owner, f"owner{other}", 10_000) == []
            assert {end for link in self.journal.links(owner, self.known) for end in (link.first, link.second)} <= own
            for note_id in self.known:
                versions = self.journal.versions(owner, note_id)
                assert bool(versions) == (note_id in own)
                assert {cause for version in versions for cause in version.because} <= own
            with_vector = set(self.journal.vectors(owner, SPACE)[0])
            without = {note.id for note in self.journal.without_vector(owner, SPACE, 10_000)}
            assert with_vector | without == own
            assert {note.id for note in self.journal.same_fact(owner, "tea", "is")} <= own
            for line in export_lines(self.journal, owner, SPACE):
                record = json.loads(line)
                if "note" in record:
                    assert record["note"]["id"] in own
                elif "link" in record:
                    assert {record["link"]["first"], record["link"]["second"]} <= own
                elif "vector" in record:
                    assert record["vector"]["note"] in own


TestOwners = Household.TestCase
TestOwners.settings = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes of real files
)
