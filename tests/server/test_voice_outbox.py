"""Frames that are numbered, kept and given again: whatever is lost on the way, the client gets each once, in order."""

from __future__ import annotations

import asyncio
import random

import pytest

from server import voice_outbox
from server.voice_outbox import Outbox

SOON = 10.0


class Client:
    """Takes frames, loses connections with what was on its way, and comes again."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._greetings = 0
        self.received = 0
        self.got: list[str | bytes] = []

    def connect(self) -> bool:
        if not self._outbox.rewind(self.received):
            return False
        self._greetings += 1
        self._outbox.greet(f"ready {self._greetings}")
        return True

    async def take(self) -> None:
        async with asyncio.timeout(SOON):
            frame = await self._outbox.take()
        self.received += 1
        if isinstance(frame, str) and frame.startswith("ready"):
            assert frame == f"ready {self._greetings}"
        else:
            self.got.append(frame)


@pytest.mark.parametrize("seed", range(20))
async def test_each_frame_comes_once_whatever_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    outbox = Outbox()
    client = Client(outbox)
    sent: list[str | bytes] = []
    assert client.connect()
    for number in range(400):
        sent.append(f"{number}" if chance.random() < 0.5 else f"{number}".encode())
        outbox.put(sent[-1])
        kind = chance.random()
        if kind < 0.5:
            for _ in range(chance.randrange(4)):
                if len(client.got) < len(sent):
                    await client.take()
        elif kind < 0.6:
            assert outbox.acknowledge(chance.randint(0, client.received))
        elif kind < 0.8:
            for _ in range(chance.randrange(3)):
                if len(client.got) + 1 < len(sent):
                    await outbox.take()  # lost on its way
            assert client.connect()
    assert client.connect()
    while len(client.got) < len(sent):
        await client.take()
    assert client.got == sent
    assert outbox.acknowledge(client.received)
    assert outbox.waiting_bytes == 0
    assert not outbox.acknowledge(client.received + 1)


async def test_no_more_is_kept_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_outbox, "KEPT_BYTES", 10)
    outbox = Outbox()
    for _ in range(4):
        outbox.put(b"1234")
        await outbox.take()
    assert not outbox.rewind(1)  # the second is not there any more
    assert outbox.rewind(2)
    assert outbox.waiting_bytes == 8


async def test_what_was_not_taken_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_outbox, "KEPT_BYTES", 10)
    outbox = Outbox()
    for number in range(10):
        outbox.put(bytes([number] * 4))
    assert [(await outbox.take())[0] for _ in range(10)] == list(range(10))


async def test_the_speaker_waits_for_a_slow_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_outbox, "WAITING_BYTES", 10)
    outbox = Outbox()
    for _ in range(3):
        await outbox.send(b"1234")
    waiting = asyncio.create_task(outbox.send(b"5678"))
    await asyncio.sleep(0)
    assert outbox.waiting_bytes == 12
    await outbox.take()
    async with asyncio.timeout(SOON):
        await waiting
    assert outbox.waiting_bytes == 12


async def test_audio_that_nobody_wants_is_dropped_and_the_numbers_go_on() -> None:
    outbox = Outbox()
    client = Client(outbox)
    client.connect()
    for frame in ("a", b"1", "b", b"2", b"3", "c"):
        outbox.put(frame)
    for _ in range(4):
        await client.take()
    outbox.drop_audio()
    assert outbox.waiting_bytes == 1
    outbox.put(b"4")
    assert client.connect()
    while len(client.got) < 5:
        await client.take()
    assert client.got == ["a", b"1", "b", "c", b"4"]
