"""Whatever several tenants do with whatever ids, none ever sees a note of another."""

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
    Source,
    Space,
    Tenant,
    TenantKind,
)

TENANTS = [
    HOUSEHOLD,
    Tenant(TenantKind.PERSON, "anna"),
    Tenant(TenantKind.GUEST, "anna"),
]
SPACE = Space("model", "", 2)
SOURCE = Source(Origin.SAID)
tenants = st.sampled_from(TENANTS)


class Household(RuleBasedStateMachine):
    """Each note's content tells whose it is; `known` has all ids that ever were, of all tenants."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = Journal(self.folder / "memory")
        self.known: list[str] = ["unknown"]
        self.owned: dict[Tenant, set[str]] = {tenant: set() for tenant in TENANTS}

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)

    def pick(self, tenant: Tenant, place: int) -> str:
        """Half of the time one of the tenant's own, else any that ever was."""
        own = [note_id for note_id in self.known if note_id in self.owned[tenant]]
        ids = own if own and place % 2 else self.known
        return ids[place // 2 % len(ids)]

    @rule(tenant=tenants, word=st.sampled_from(["tea", "bins", "garage"]), previous=st.integers(0, 99))
    def add(self, tenant: Tenant, word: str, previous: int) -> None:
        meaning = Meaning((word,), (), "", word, "is")
        content = f"{word} {len(self.known)} of owner{TENANTS.index(tenant)}"
        note = self.journal.add(tenant, NewNote(content, SOURCE, meaning, previous_id=self.pick(tenant, previous)))
        self.owned[tenant].add(note.id)
        self.known.append(note.id)

    @rule(tenant=tenants, first=st.integers(0, 99), second=st.integers(0, 99), what=st.integers(0, 4))
    def change(self, tenant: Tenant, first: int, second: int, what: int) -> None:
        a, b = self.pick(tenant, first), self.pick(tenant, second)
        own = self.owned[tenant]
        meaning = Meaning((f"owner{TENANTS.index(tenant)}",), (), "", "tea", "is")
        try:
            if what == 0:
                self.journal.revise(tenant, a, meaning, SOURCE, because=[b])
            elif what == 1:
                self.journal.replace(tenant, a, b, 1.0, SOURCE)
            elif what == 2:
                self.journal.undo(tenant, a, SOURCE)
                assert a in own
                return
            else:
                self.journal.link(tenant, [Link(a, b, LinkKind.RELATED)], SOURCE)
            assert {a, b} <= own
        except MemoryStoreError:
            pass

    @rule(tenant=tenants, places=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
    def embed(self, tenant: Tenant, places: list[int]) -> None:
        ids = [self.pick(tenant, place) for place in places]
        self.journal.put_vectors(tenant, SPACE, ids, np.tile(np.array([[0.6, 0.8]], np.float32), (len(ids), 1)))

    @rule(tenant=tenants, places=st.lists(st.integers(0, 99), max_size=3))
    def forget(self, tenant: Tenant, places: list[int]) -> None:
        ids = {self.pick(tenant, place) for place in places}
        assert self.journal.forget(tenant, list(ids)) == len(ids & self.owned[tenant])
        self.owned[tenant] -= ids

    @rule(tenant=tenants)
    def forget_all(self, tenant: Tenant) -> None:
        assert self.journal.forget_tenant(tenant) == len(self.owned[tenant])
        self.owned[tenant].clear()

    @precondition(lambda self: len(self.known) > 3)
    @rule(tenant=tenants)
    def export_and_import(self, tenant: Tenant) -> None:
        export_file(self.journal, tenant, self.folder / "export", SPACE)
        assert import_file(self.journal, tenant, self.folder / "export").notes == 0

    @invariant()
    def everybody_sees_their_own(self) -> None:
        assert set(self.journal.tenants()) == {tenant for tenant in TENANTS if self.owned[tenant]}
        for tenant in TENANTS:
            own, mark = self.owned[tenant], f"owner{TENANTS.index(tenant)}"
            for notes in (self.journal.get(tenant, self.known), self.journal.page(tenant, limit=10_000)):
                assert {note.id for note in notes} == own
                assert all(note.tenant == tenant and mark in note.content for note in notes)
                assert all(note.previous_id in own | {""} for note in notes)
            assert self.journal.count(tenant) == len(own)
            found = self.journal.lexical(tenant, "owner0 OR owner1 OR owner2", 10_000)
            assert {note_id for note_id, _ in found} == own
            for other in range(len(TENANTS)):
                if mark != f"owner{other}":  # nor by a window or a keyword that came from elsewhere
                    assert self.journal.lexical(tenant, f"owner{other}", 10_000) == []
            assert {end for link in self.journal.links(tenant, self.known) for end in (link.first, link.second)} <= own
            for note_id in self.known:
                versions = self.journal.versions(tenant, note_id)
                assert bool(versions) == (note_id in own)
                assert {cause for version in versions for cause in version.because} <= own
            with_vector = set(self.journal.vectors(tenant, SPACE)[0])
            without = {note.id for note in self.journal.without_vector(tenant, SPACE, 10_000)}
            assert with_vector | without == own
            assert {note.id for note in self.journal.same_fact(tenant, "tea", "is")} <= own
            for line in export_lines(self.journal, tenant, SPACE):
                record = json.loads(line)
                if "note" in record:
                    assert record["note"]["id"] in own
                elif "link" in record:
                    assert {record["link"]["first"], record["link"]["second"]} <= own
                elif "vector" in record:
                    assert record["vector"]["note"] in own


TestTenants = Household.TestCase
TestTenants.settings = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes of real files
)
