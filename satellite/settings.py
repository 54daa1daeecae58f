"""The satellite's settings: the section `satellite` of the settings file, variables MEADOWLARK_SATELLITE__*."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from handlers.settings import Section
from satellite.button import ButtonSettings
from satellite.front_end import FrontEndSettings
from satellite.hooks import HookSettings
from satellite.lights import LightSettings
from satellite.mqtt import MqttSettings
from satellite.sounds import SoundSettings
from satellite.volume import FULL, LOUDEST


def _as_list(given: object) -> object:
    """One word need not be written as a list of one."""
    return [given] if isinstance(given, str) else given


def _as_text(given: object) -> object:
    """The number of a device need not be put in quotes."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


class SatelliteSettings(Section):
    """What this satellite hears with, speaks with and is called."""

    server: str = "auto"
    """The server: auto, or tcp://HOST:PORT."""

    uri: str | None = None
    """Where Home Assistant's own Wyoming integration finds this satellite, such as tcp://0.0.0.0:10700: then it answers
    in place of a server of ours."""

    mic: Annotated[str, BeforeValidator(_as_text)] = "default"
    """The microphone: part of a device's name, its number, default, a file that ends in .wav, or - for stdin."""

    channel: int | None = Field(None, ge=1, le=32)
    """Which channel of a microphone with several is heard; none is one that it offers in mono, or its first."""

    front_end: FrontEndSettings = FrontEndSettings()
    """What is done to the microphone's sound before anything listens to it."""

    speaker: Annotated[str, BeforeValidator(_as_text)] = "default"
    """The speaker: like the microphone (- is stdout), or none."""

    volume: int = Field(FULL, ge=0, le=LOUDEST)
    """How loud it plays after its start, in percent; by voice it is changed for as long as it runs."""

    ducking: int = Field(FULL, ge=0, le=FULL)
    """Percent of the volume that an answer keeps while somebody speaks over it; 100 is all of it. Needs wake_gate."""

    sounds: SoundSettings = SoundSettings()
    """Short sounds that say what the satellite does."""

    wake_folder: Path | None = None
    """A folder with wake word models of your own: NAME.tflite of openWakeWord, or with NAME.json of microWakeWord."""

    wake_refractory_seconds: float = Field(2.0, ge=0, le=30)
    """After a wake word the same one is not heard again for so long."""

    wake_sure_score: float = Field(0.95, ge=0, le=1)
    """A wake word with a lower score is sent along, and the server listens whether it was one; 0 never asks."""

    wake_gate: bool = True
    """Look for wake words only while somebody speaks: silence then costs nearly nothing."""

    wake_word: Annotated[list[str], BeforeValidator(_as_list)] = Field(["okay_nabu"], min_length=1)
    """Wake words, each NAME or NAME:THRESHOLD; none alone is push to talk."""

    stop_word: Annotated[list[str], BeforeValidator(_as_list)] = Field(["auto"], min_length=1)
    """Words that silence what sounds, each NAME or NAME:THRESHOLD; auto is the word made for it where it is installed
    (meadowlark-models pull stop), none alone is none."""

    socket: str = "auto"
    """A Unix socket to steer the satellite and to follow what happens: auto, none or a path."""

    hooks: HookSettings = HookSettings()
    """Commands of your own that run when something happens."""

    lights: LightSettings | None = None
    """LEDs that show what the satellite does."""

    buttons: ButtonSettings | None = None
    """Push-buttons on GPIO pins."""

    mqtt: MqttSettings | None = None
    """A broker that is told what happens, and may steer the satellite."""

    name: str = Field(default_factory=lambda: platform.node() or "satellite", min_length=1, max_length=64)
    """How this satellite is called on the server, where no other may have the same name."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much is logged to stderr."""

    @model_validator(mode="after")
    def _one_partner(self) -> SatelliteSettings:
        if self.uri is not None and self.server != "auto":
            raise ValueError("server and uri exclude each other: with uri, Home Assistant answers")
        if self.uri is not None and not self.uri.startswith(("tcp://", "unix://")):
            raise ValueError(f"uri must be like tcp://0.0.0.0:10700, not '{self.uri}'")
        return self


class Settings(Section):
    """One settings file may serve the server too, so its sections are not the satellite's to judge."""

    model_config = ConfigDict(extra="ignore")

    satellite: SatelliteSettings = SatelliteSettings()
    """This satellite."""
