"""What skills say word for word is spoken into the cache beforehand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from handlers.agent.skills import Skills
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.tts.cache import CachedSynthesizer
from handlers.tts.piper import PiperSynthesizer
from handlers.tts.speaker import once, sentences, speak
from handlers.tts.stage import TtsSettings
from server.engines import _rehearse

SOON = 60.0
"""A deadline that only a defect reaches."""


@pytest.fixture
def joe(store: ModelStore) -> Path:
    return store.locate("en_US-joe-medium", ModelKind.TTS)


async def test_a_fixed_answer_is_there_before_it_is_first_wanted(piper: PiperSynthesizer) -> None:
    cached = CachedSynthesizer(piper, TtsSettings())
    async with asyncio.timeout(SOON):
        await _rehearse(Skills(), cached)
        before = cached.misses
        assert before >= 5
        answer = sentences(once(Skills().sentence("Cancel", "en")), "en")
        assert [pcm async for pcm in speak(answer, cached, cached.choose())]
    assert (cached.hits, cached.misses) == (1, before)


async def test_it_ends_when_it_is_cancelled_and_keeps_nobody_waiting(joe: Path) -> None:
    cpu = Cpu(1)
    cached = CachedSynthesizer(PiperSynthesizer({"en_US-joe-medium": joe}, TtsSettings(), cpu), TtsSettings())
    async with asyncio.timeout(SOON):
        async with cpu.slot(Ticket(Urgency.VOICE)):
            rehearsing = asyncio.create_task(_rehearse(Skills(), cached))
            while cpu.waiting == 0:  # noqa: ASYNC110 -- it has no event for it
                await asyncio.sleep(0)
            rehearsing.cancel()
            await asyncio.gather(rehearsing, return_exceptions=True)
            assert cpu.waiting == 0
        await cached.close()
    assert cached.bytes == 0
