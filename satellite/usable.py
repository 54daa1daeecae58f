"""Whether settings can be used anywhere, before anything is opened or written."""

from __future__ import annotations

from handlers.models.folder import installed_wake_folder
from satellite.link import Link
from satellite.settings import SatelliteSettings
from satellite.wake import open_wake_words


async def check_usable(settings: SatelliteSettings) -> None:
    """Raise what the satellite would end with: RequestError for an address, SettingsError for words that cannot be.

    MissingExtraError where no engine for wake words is installed.
    """
    Link(settings.server)
    wake = await open_wake_words(
        settings.wake_word,
        stop_words=settings.stop_word,
        folder=settings.wake_folder,
        installed=installed_wake_folder(),
        gate=False,
    )
    if wake is not None:
        await wake.close()
