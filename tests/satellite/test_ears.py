"""The supervised microphone: devices that stop, hang, fail and come back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from handlers.errors import AudioError
from satellite.ears import Microphone
from satellite.pieces import PIECE_BYTES

SOUND = bytes(range(64)) * (PIECE_BYTES // 64)


class Device:
    """A microphone that gives sound until it is told otherwise."""

    name = "Blue"
    latency = 0.03

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.hangs = threading.Event()
        self.failure: OSError | None = None
        self.plenty = threading.Event()
        self._pace = threading.Event()
        self._given = 0

    def read(self) -> bytes:
        self._pace.wait(0.005)
        self._given += 1
        if self._given == 200:  # four times what is kept
            self.plenty.set()
        while self.hangs.is_set() and not self.closed.is_set():
            self._pace.wait(0.01)
        if self.failure is not None:
            raise self.failure
        return SOUND

    def close(self) -> None:
        self.closed.set()


class Socket:
    """Where devices are plugged in: opens the one that is there, a new one each time."""

    def __init__(self) -> None:
        self.opened: list[Device] = []
        self.empty = False
        self.refused = threading.Event()
        self.changes: list[bool] = []
        self.changed = asyncio.Event()

    def open(self) -> Device:
        if self.empty:
            self.refused.set()
            raise AudioError("There is no microphone 'blue'")
        self.opened.append(Device())
        return self.opened[-1]

    def tell(self, present: bool) -> None:
        self.changes.append(present)
        self.changed.set()

    async def next_change(self) -> bool:
        async with asyncio.timeout(30):
            await self.changed.wait()
        self.changed.clear()
        return self.changes[-1]


@pytest.fixture
async def socket() -> Socket:
    return Socket()


async def opened(socket: Socket, *, patient: bool = False) -> Microphone:
    return await Microphone.open("blue", socket.open, changed=socket.tell, patient=patient)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.INFO]


def fails(device: Device) -> None:
    device.failure = OSError(-9999, "Unanticipated host error")


def hangs(device: Device) -> None:
    device.hangs.set()


@pytest.mark.parametrize("trouble", [fails, hangs])
async def test_a_microphone_that_stops_is_opened_again_and_told_once(
    socket: Socket, caplog: pytest.LogCaptureFixture, trouble: Callable[[Device], None]
) -> None:
    caplog.set_level(logging.INFO, "satellite")
    microphone = await opened(socket)
    assert await microphone.read() == SOUND
    socket.empty = True
    trouble(socket.opened[0])
    assert await socket.next_change() is False
    assert not microphone.present
    reading = asyncio.create_task(microphone.read())
    assert await asyncio.to_thread(socket.refused.wait, 30)
    assert not reading.done()  # nothing, not silence
    socket.empty = False
    assert await socket.next_change() is True
    async with asyncio.timeout(30):
        assert await reading == SOUND
    socket.opened[0].hangs.clear()
    assert await asyncio.to_thread(socket.opened[0].closed.wait, 30)
    await microphone.close()
    assert [message.split(" (")[0] for message in told(caplog)] == [
        "The microphone 'Blue' is gone",
        "The microphone 'Blue' is there",
    ]


async def test_a_microphone_that_is_silent_is_noticed_within_two_seconds(socket: Socket) -> None:
    microphone = await opened(socket)
    await microphone.read()
    loop = asyncio.get_running_loop()
    hangs(socket.opened[0])
    since = loop.time()
    assert await socket.next_change() is False
    assert loop.time() - since <= 2.0
    await microphone.close()


async def test_a_bad_contact_is_not_told_again_and_again(socket: Socket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "satellite")
    microphone = await opened(socket)
    for _ in range(3):
        async with asyncio.timeout(30):
            await microphone.read()
        fails(socket.opened[-1])
        assert await socket.next_change() is False
        assert await socket.next_change() is True
    await microphone.close()
    assert len(told(caplog)) == 2


async def test_a_microphone_that_is_not_there_at_first_is_an_error_or_waited_for(socket: Socket) -> None:
    socket.empty = True
    with pytest.raises(AudioError, match="no microphone 'blue'"):
        await opened(socket)
    microphone = await opened(socket, patient=True)
    assert not microphone.present
    socket.empty = False
    async with asyncio.timeout(30):
        assert await microphone.read() == SOUND
    assert socket.changes == [True]
    await microphone.close()


async def test_what_opens_when_nobody_waits_any_more_is_closed(socket: Socket) -> None:
    release, waiting, late = threading.Event(), threading.Event(), Device()

    def slow() -> Device:
        if not socket.opened:
            return socket.open()
        waiting.set()
        release.wait(30)
        return late

    microphone = await Microphone.open("blue", slow, changed=socket.tell)
    fails(socket.opened[0])
    assert await asyncio.to_thread(waiting.wait, 30)
    await microphone.close()
    release.set()
    assert await asyncio.to_thread(late.closed.wait, 30)
    assert await microphone.read() == b""


async def test_a_paused_microphone_captures_nothing(socket: Socket, caplog: pytest.LogCaptureFixture) -> None:
    microphone = await opened(socket)
    await microphone.read()
    await microphone.pause()
    assert socket.opened[0].closed.is_set()
    assert not microphone.present
    reading = asyncio.create_task(microphone.read())
    await asyncio.sleep(0.1)
    assert not reading.done()
    assert len(socket.opened) == 1
    await microphone.resume()
    async with asyncio.timeout(30):
        assert await reading == SOUND
    assert socket.changes == [True]
    await microphone.close()
    assert told(caplog) == []


async def test_one_that_is_closed_at_once_lets_go_of_the_device(socket: Socket) -> None:
    microphone = await opened(socket)
    await microphone.close()
    assert socket.opened[0].closed.is_set()


async def test_what_a_driver_comes_up_with_does_not_end_it(socket: Socket, caplog: pytest.LogCaptureFixture) -> None:
    def tell(present: bool) -> None:
        socket.tell(present)
        raise RuntimeError("a defect")

    def open_device() -> Device:
        if len(socket.opened) == 1:
            socket.opened.append(Device())
            raise ValueError("invalid literal")
        return socket.open()

    microphone = await Microphone.open("blue", open_device, changed=tell)
    await microphone.read()
    fails(socket.opened[0])
    assert await socket.next_change() is False
    assert await socket.next_change() is True
    async with asyncio.timeout(30):
        assert await microphone.read() == SOUND
    await microphone.close()
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_refresh_that_is_broken_off_opens_it_again_nevertheless(socket: Socket) -> None:
    microphone = await opened(socket)
    await microphone.read()
    refreshing = asyncio.create_task(microphone.refresh())
    await asyncio.sleep(0)  # it lets go of the device
    refreshing.cancel()
    await asyncio.gather(refreshing, return_exceptions=True)
    assert await asyncio.to_thread(socket.opened[0].closed.wait, 30)
    async with asyncio.timeout(30):
        while len(socket.opened) < 2:
            await microphone.read()
    await microphone.close()


async def test_a_pause_during_a_refresh_stays_one(socket: Socket) -> None:
    microphone = await opened(socket)
    await microphone.read()
    refreshing = asyncio.create_task(microphone.refresh())
    await asyncio.sleep(0)
    await microphone.pause()
    await refreshing
    await microphone.refresh()
    assert len(socket.opened) == 1
    await microphone.resume()
    async with asyncio.timeout(30):
        assert await microphone.read() == SOUND
    await microphone.close()


async def test_late_audio_is_dropped_and_counted(socket: Socket) -> None:
    microphone = await opened(socket)
    assert await asyncio.to_thread(socket.opened[0].plenty.wait, 60)
    await microphone.close()
    assert microphone.overflows > 0
