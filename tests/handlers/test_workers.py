"""The pools in which engines work: bounds, cancellation and their end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from handlers.errors import BusyError, EngineError
from handlers.workers import STREAM_AHEAD, Workers

SOON = 10.0
"""A deadline that only a defect reaches."""


class Gate:
    """Work that runs until it is let through."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.open = threading.Event()
        self.ran = 0

    def work(self) -> int:
        self.ran += 1
        self.running.set()
        assert self.open.wait(SOON)
        return self.ran

    async def until_running(self) -> None:
        assert await asyncio.to_thread(self.running.wait, SOON)


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers("test", threads=1, waiting=2)
    yield made
    async with asyncio.timeout(SOON):
        await made.close()


@pytest.fixture
async def gate(workers: Workers) -> AsyncIterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture(autouse=True)
async def nothing_unseen() -> AsyncIterator[None]:
    """No task may end with an exception that nobody looked at, and no generator unclosed."""
    seen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(str(context)))
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert not seen


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens in a thread
            await asyncio.sleep(0.001)


async def test_work_runs_in_the_pool_and_its_errors_come_back(workers: Workers) -> None:
    assert (await workers.run(threading.current_thread)).name.startswith("test")
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    assert workers.inside == 0


async def test_one_more_than_may_wait_is_busy_and_places_come_back(workers: Workers, gate: Gate) -> None:
    tasks = [asyncio.create_task(workers.run(gate.work)) for _ in range(3)]
    await gate.until_running()
    with pytest.raises(BusyError, match="test has 3 requests waiting"):
        await workers.run(gate.work)
    with pytest.raises(BusyError):
        await anext(workers.stream_calls(lambda emit: None))
    gate.open.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3]
    assert workers.inside == 0
    assert await workers.run(gate.work) == 4


async def test_what_waits_is_dropped_when_it_is_cancelled(workers: Workers, gate: Gate) -> None:
    running, waiting = (asyncio.create_task(workers.run(gate.work)) for _ in range(2))
    await gate.until_running()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert workers.inside == 1
    gate.open.set()
    assert await running == 1
    assert await workers.run(lambda: gate.ran) == 1  # it never ran


async def test_cancelled_work_that_fails_later_is_not_an_unseen_exception(workers: Workers, gate: Gate) -> None:
    def fail() -> None:
        gate.work()
        raise ValueError

    task = asyncio.create_task(workers.run(fail))
    await gate.until_running()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workers.inside == 0
    gate.open.set()
    assert await workers.run(lambda: "alive") == "alive"


async def test_a_stream_is_in_order_and_whole(workers: Workers) -> None:
    def count(emit: Callable[[int], bool]) -> None:
        for number in range(500):
            assert emit(number)

    assert [number async for number in workers.stream_calls(count)] == list(range(500))
    assert workers.inside == 0


async def test_a_stream_of_nothing_ends(workers: Workers) -> None:
    assert [item async for item in workers.stream_calls(lambda emit: None)] == []


async def test_a_stream_that_fails_gives_its_items_first(workers: Workers) -> None:
    def fail(emit: Callable[[int], bool]) -> None:
        emit(1)
        raise EngineError("out of paper")

    stream = workers.stream_calls(fail)
    assert await anext(stream) == 1
    with pytest.raises(EngineError, match="out of paper"):
        await anext(stream)
    assert workers.inside == 0


async def test_the_producer_is_never_far_ahead(workers: Workers) -> None:
    emitted = 0

    def count(emit: Callable[[int], bool]) -> None:
        nonlocal emitted
        while emit(emitted):
            emitted += 1

    stream = workers.stream_calls(count)
    async with contextlib.aclosing(stream):
        for wanted in range(100):
            assert await anext(stream) == wanted
            assert emitted <= wanted + STREAM_AHEAD + 4
        await until(lambda: emitted > 100)  # it works ahead
    end = await workers.run(lambda: emitted)  # the only thread is free again
    assert end <= 100 + STREAM_AHEAD + 4


@pytest.mark.parametrize("obedient", [True, False])
async def test_a_reader_that_leaves_frees_a_producer_that_waits_for_room(workers: Workers, obedient: bool) -> None:
    answers: list[bool] = []

    def produce(emit: Callable[[int], bool]) -> None:
        for number in range(2 * STREAM_AHEAD):  # more than the room
            answers.append(emit(number))
            if obedient and not answers[-1]:
                return

    stream = workers.stream_calls(produce)
    assert await anext(stream) == 0
    await until(lambda: len(answers) >= STREAM_AHEAD)
    await stream.aclose()
    assert workers.inside == 0
    async with asyncio.timeout(SOON):
        await workers.run(lambda: None)
    assert answers[-1] is False
    assert (len(answers) < 2 * STREAM_AHEAD) is obedient


async def test_a_reader_that_is_cancelled_ends_the_producer(workers: Workers, gate: Gate) -> None:
    answers: list[bool] = []

    def produce(emit: Callable[[str], bool]) -> None:
        gate.work()
        answers.append(emit("too late"))
        raise ValueError("and it fails, too")

    async def read() -> None:
        async with contextlib.aclosing(workers.stream_calls(produce)) as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(read())
    await gate.until_running()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workers.inside == 0
    gate.open.set()
    await workers.run(lambda: None)
    assert answers == [False]


async def test_a_stream_that_is_cancelled_while_it_waits_never_runs(workers: Workers, gate: Gate) -> None:
    running = asyncio.create_task(workers.run(gate.work))
    await gate.until_running()
    ran = threading.Event()
    waiting = asyncio.create_task(anext(workers.stream_calls(lambda emit: ran.set())))
    await until(lambda: workers.inside == 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await running
    await workers.run(lambda: None)
    assert not ran.is_set()


async def test_closing_ends_what_waits_and_refuses_what_comes(gate: Gate) -> None:
    workers = Workers("closing")
    running = asyncio.create_task(workers.run(gate.work))
    await gate.until_running()
    waiting = asyncio.create_task(workers.run(gate.work))
    streaming = asyncio.create_task(anext(workers.stream_calls(lambda emit: None)))
    await until(lambda: workers.inside == 3)
    closing = asyncio.create_task(workers.close())
    async with asyncio.timeout(SOON):
        await asyncio.wait([waiting, streaming])
    assert waiting.cancelled()
    assert streaming.cancelled()
    assert not closing.done()  # what runs already runs to its end
    gate.open.set()
    async with asyncio.timeout(SOON):
        await closing
    assert await running == 1
    with pytest.raises(EngineError, match="closing is closed"):
        await workers.run(gate.work)
