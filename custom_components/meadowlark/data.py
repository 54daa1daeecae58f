"""What a config entry holds while it is set up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeassistant.config_entries import ConfigEntry

if TYPE_CHECKING:
    from .audio import AudioClient
    from .client import Client, Server
    from .latency import Latencies
    from .link import Link

type MeadowlarkConfigEntry = ConfigEntry[MeadowlarkData]


@dataclass(frozen=True)
class MeadowlarkData:
    """One server, and the ways to it."""

    server: Server
    """What it said of itself at set-up."""
    client: Client
    """Its HTTP API."""
    audio: AudioClient
    """Its Wyoming port: speech to text, text to speech, wake words."""
    link: Link
    """The WebSocket over which the house is lent and turns run."""
    latencies: Latencies
    """How long turns took."""
