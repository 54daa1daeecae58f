"""Who computes first, who may wait, and that no slot is ever lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import BusyError

SOON = 10.0
"""A deadline that only a defect reaches."""


class Runs:
    """Runs that hold a slot until they are told to end."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.began: list[str] = []
        self.changed = asyncio.Condition()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, name: str, urgency: Urgency | Ticket) -> asyncio.Task[None]:
        """Begin a run, and come back when it holds a slot or waits for one."""
        ticket = urgency if isinstance(urgency, Ticket) else Ticket(urgency)
        self._ends[name] = asyncio.Event()
        task = asyncio.create_task(self._run(name, ticket))
        self._tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def end(self, name: str, *, then: str) -> None:
        """End a run; wait until another has begun."""
        self._ends[name].set()
        async with asyncio.timeout(SOON), self.changed:
            await self.changed.wait_for(lambda: then in self.began)

    async def end_all(self) -> None:
        for end in self._ends.values():
            end.set()
        async with asyncio.timeout(SOON):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, ticket: Ticket) -> None:
        async with self.cpu.slot(ticket):
            self.began.append(name)
            async with self.changed:
                self.changed.notify_all()
            await self._ends[name].wait()


@pytest.fixture
async def runs() -> AsyncIterator[Runs]:
    made = Runs(Cpu(1))
    yield made
    await made.end_all()
    await all_free(made.cpu, 1)


async def all_free(cpu: Cpu, slots: int) -> None:
    """Nothing waits, and every slot can be had at once."""
    assert cpu.waiting == 0
    held = [cpu.slot(Ticket(Urgency.GUESS)) for _ in range(slots)]
    for slot in held:
        async with asyncio.timeout(SOON):
            await slot.__aenter__()
    for slot in held:
        await slot.__aexit__(None, None, None)


async def test_the_urgent_go_first_and_equals_in_their_order(runs: Runs) -> None:
    await runs.start("running", Urgency.GUESS)
    for name, urgency in [
        ("guess", Urgency.GUESS),
        ("final 1", Urgency.FINAL),
        ("voice", Urgency.VOICE),
        ("final 2", Urgency.FINAL),
    ]:
        await runs.start(name, urgency)
    assert runs.began == ["running"]
    order = ["running", "voice", "final 1", "final 2", "guess"]
    for ended, next_one in itertools.pairwise(order):
        await runs.end(ended, then=next_one)
    assert runs.began == order


async def test_as_many_at_once_as_there_are_slots() -> None:
    runs = Runs(Cpu(2))
    for name in "abc":
        await runs.start(name, Urgency.FINAL)
    assert runs.began == ["a", "b"]
    assert runs.cpu.waiting == 1
    await runs.end_all()
    await all_free(runs.cpu, 2)


async def test_a_guess_that_becomes_what_is_waited_for_moves_up(runs: Runs) -> None:
    ticket = Ticket(Urgency.GUESS)
    await runs.start("running", Urgency.FINAL)
    await runs.start("guess", ticket)
    await runs.start("final", Urgency.FINAL)
    ticket.urgency = Urgency.FINAL
    await runs.end("running", then="guess")
    assert runs.began == ["running", "guess"]


async def test_a_guess_is_refused_when_many_wait_and_a_final_run_is_not(runs: Runs) -> None:
    for name in ("running", "waiting 1", "waiting 2"):
        await runs.start(name, Urgency.FINAL)
    guess = await runs.start("guess", Urgency.GUESS)
    with pytest.raises(BusyError, match="2 runs wait"):
        await guess
    await runs.start("final", Urgency.FINAL)
    assert runs.cpu.waiting == 3


async def test_even_final_runs_have_a_bound(runs: Runs) -> None:
    await runs.start("running", Urgency.FINAL)
    waiting = [asyncio.create_task(wait_for_a_slot(runs.cpu)) for _ in range(1024)]
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="1024 runs wait"):
        await wait_for_a_slot(runs.cpu)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert runs.cpu.waiting == 0


async def test_who_is_cancelled_while_waiting_leaves_at_once(runs: Runs) -> None:
    await runs.start("running", Urgency.FINAL)
    first = await runs.start("first", Urgency.FINAL)
    await runs.start("second", Urgency.FINAL)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert runs.cpu.waiting == 1
    await runs.end("running", then="second")
    assert "first" not in runs.began


async def test_a_slot_that_comes_free_in_the_moment_of_a_cancellation_goes_to_the_next(runs: Runs) -> None:
    slot = runs.cpu.slot(Ticket(Urgency.FINAL))
    await slot.__aenter__()
    cancelled = await runs.start("cancelled", Urgency.FINAL)
    await runs.start("next", Urgency.FINAL)
    cancelled.cancel()  # its task runs only after the slot has been given on
    await slot.__aexit__(None, None, None)
    async with asyncio.timeout(SOON), runs.changed:
        await runs.changed.wait_for(lambda: runs.began == ["next"])


async def test_who_is_cancelled_in_the_moment_of_being_granted_gives_the_slot_on(runs: Runs) -> None:
    slot = runs.cpu.slot(Ticket(Urgency.FINAL))
    await slot.__aenter__()
    granted = await runs.start("granted", Urgency.FINAL)
    await runs.start("next", Urgency.FINAL)
    await slot.__aexit__(None, None, None)
    granted.cancel()
    async with asyncio.timeout(SOON), runs.changed:
        await runs.changed.wait_for(lambda: runs.began == ["next"])


async def test_a_run_that_fails_gives_its_slot_back() -> None:
    cpu = Cpu(1)
    with pytest.raises(ZeroDivisionError):
        async with cpu.slot(Ticket(Urgency.VOICE)):
            raise ZeroDivisionError
    await all_free(cpu, 1)


async def wait_for_a_slot(cpu: Cpu) -> None:
    async with cpu.slot(Ticket(Urgency.FINAL)):
        pass
