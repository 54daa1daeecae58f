"""Actions that wait for a yes."""

from __future__ import annotations

import time

from handlers.agent.safety.confirm import CONFIRM_SECONDS, Confirmations, Pending


async def done() -> str:
    return "done"


def test_what_waits_is_taken_once_and_only_where_it_was_asked() -> None:
    confirmations, pending = Confirmations(), Pending(done)
    confirmations.ask("kitchen", pending)
    assert confirmations.waits("kitchen")
    assert not confirmations.waits("hall")
    assert confirmations.take("hall") is None
    assert confirmations.take("kitchen") is pending
    assert confirmations.take("kitchen") is None


def test_a_new_question_replaces_the_one_before() -> None:
    confirmations, newer = Confirmations(), Pending(done)
    confirmations.ask("kitchen", Pending(done))
    confirmations.ask("kitchen", newer)
    assert confirmations.take("kitchen") is newer
    assert confirmations.take("kitchen") is None


def test_a_yes_that_comes_too_late_does_nothing() -> None:
    confirmations = Confirmations()
    confirmations.ask("kitchen", Pending(done, expires=time.monotonic()))
    assert not confirmations.waits("kitchen")
    assert confirmations.take("kitchen") is None


def test_it_waits_thirty_seconds() -> None:
    before = time.monotonic()
    pending = Pending(done)
    assert before + CONFIRM_SECONDS <= pending.expires <= time.monotonic() + CONFIRM_SECONDS


def test_made_up_places_do_not_fill_the_memory() -> None:
    confirmations = Confirmations()
    for number in range(1001):
        confirmations.ask(str(number), Pending(done))
    assert not confirmations.waits("0")
    assert confirmations.waits("1")
    assert confirmations.waits("1000")
