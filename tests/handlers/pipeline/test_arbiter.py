"""Of several satellites that hear the same wake word, one answers."""

from __future__ import annotations

import asyncio

from handlers.pipeline.arbiter import Arbiter, Heard

NEAR = Heard(0.95, 20.0)
FAR = Heard(0.9, 6.0)


async def test_the_one_that_heard_best_answers_whoever_said_so_first() -> None:
    arbiter = Arbiter(wait_seconds=0.05)
    outcomes = await asyncio.gather(
        arbiter.may_answer("hall", "okay_nabu", FAR),
        arbiter.may_answer("kitchen", "okay_nabu", NEAR),
        arbiter.may_answer("attic", "okay_nabu", Heard(0.5, 6.0)),
    )
    assert outcomes == [False, True, False]


async def test_one_alone_answers() -> None:
    assert await Arbiter(wait_seconds=0.01).may_answer("hall", "okay_nabu", FAR)


async def test_different_words_are_different_questions() -> None:
    arbiter = Arbiter(wait_seconds=0.01)
    outcomes = await asyncio.gather(
        arbiter.may_answer("hall", "okay_nabu", FAR), arbiter.may_answer("kitchen", "alexa", NEAR)
    )
    assert outcomes == [True, True]


async def test_who_notices_the_word_late_stays_quiet_even_if_it_heard_better() -> None:
    arbiter = Arbiter(wait_seconds=0.01, late_seconds=60)
    assert await arbiter.may_answer("hall", "okay_nabu", FAR)
    assert not await arbiter.may_answer("kitchen", "okay_nabu", NEAR)


async def test_the_winner_may_be_woken_again_at_once() -> None:
    arbiter = Arbiter(wait_seconds=0.01, late_seconds=60)
    assert await arbiter.may_answer("hall", "okay_nabu", FAR)
    assert await arbiter.may_answer("hall", "okay_nabu", FAR)


async def test_later_the_same_word_is_a_new_question() -> None:
    arbiter = Arbiter(wait_seconds=0.01, late_seconds=0.0)
    assert await arbiter.may_answer("hall", "okay_nabu", FAR)
    assert await arbiter.may_answer("kitchen", "okay_nabu", NEAR)


async def test_without_a_ratio_the_score_decides() -> None:
    arbiter = Arbiter(wait_seconds=0.02)
    outcomes = await asyncio.gather(
        arbiter.may_answer("hall", "alexa", Heard(0.6)), arbiter.may_answer("kitchen", "alexa", Heard(0.9))
    )
    assert outcomes == [False, True]
