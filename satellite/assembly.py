"""Puts a satellite together from its settings, and takes it apart again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from satellite.ears import Microphone
from satellite.front_end import open_front_end
from satellite.happenings import Happenings, Kind
from satellite.link import Link
from satellite.machine import Satellite
from satellite.notices import NoticeLine
from satellite.settings import SatelliteSettings
from satellite.sink import is_device, open_sink
from satellite.sounds import SoundSink, open_sounds
from satellite.source import open_source
from satellite.turn import Server, TurnResult
from satellite.volume import Volume, VolumeSink
from satellite.wake import open_wake_words

_LOGGER = logging.getLogger(__name__)


async def run_satellite(settings: SatelliteSettings, report: Callable[[TurnResult], None], *, once: bool) -> None:
    """Have one turn, or turns until the source ends or this is cancelled. Raises MeadowlarkError."""
    async with AsyncExitStack() as stack:
        happenings = Happenings()
        front_end = open_front_end(settings.front_end)
        wake = await open_wake_words(
            settings.wake_word,
            folder=settings.wake_folder,
            refractory_seconds=settings.wake_refractory_seconds,
            gate=settings.wake_gate,
        )
        if wake is not None:
            stack.push_async_callback(wake.close)

        def microphone_changed(present: bool) -> None:
            front_end.reset()
            happenings.tell(Kind.MICROPHONE_FOUND if present else Kind.MICROPHONE_LOST)

        source = await open_source(settings.mic, channel=settings.channel, changed=microphone_changed, patient=not once)
        stack.push_async_callback(source.close)
        stays = source.is_live and not once
        volume = Volume(settings.volume, ducked=settings.ducking)
        speaker = await open_sink(
            settings.speaker,
            tap=front_end.reference,
            refresh=source.refresh if isinstance(source, Microphone) else None,
            patient=stays,
        )
        sounds = await open_sounds(settings.sounds) if is_device(settings.speaker) else {}
        sink = SoundSink(VolumeSink(speaker, volume), sounds)
        happenings.add(sink.follow)
        stack.push_async_callback(sink.close)

        link = Link(settings.server)
        satellite = Satellite(
            source,
            Server(link, sink, volume=volume, happenings=happenings),
            wake,
            settings.name,
            report,
            pushed=wake is None and stays,
            volume=volume,
            notices=NoticeLine(link, sink, settings.name),
            front_end=front_end,
            happenings=happenings,
        )
        await satellite.run(once=once)
