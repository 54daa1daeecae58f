"""The satellite on an MQTT broker. Below PREFIX/NAME there are

    availability    online or offline, kept by the broker
    state           {"state": "listening", "muted": false, "volume": 100}, kept by the broker
    event           {"event": "woken", "wake_word": "okay_nabu", …}: what happens, as it happens
    command         what it takes: talk, done, stop, mute, unmute, or volume and a number (volume 40)

and, where `discovery` is on, what Home Assistant needs to show a device with all of it. Whoever may write to the broker
may command the satellite. What happens while there is no broker is not told later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, model_validator

from handlers.errors import MissingExtraError, SettingsError
from handlers.settings import Section
from satellite.backoff import Backoff
from satellite.blocking import call
from satellite.happenings import Happening, Kind
from satellite.mqtt_discovery import discovery, slug
from satellite.partner import Controls
from satellite.volume import LOUDEST

if TYPE_CHECKING:
    from aiomqtt import Client, Message

_LOGGER = logging.getLogger(__name__)

_EVENTS_WAITING = 100
"""A turn has about ten; when the broker takes none, the oldest is dropped."""

_ANSWER_SECONDS = 10.0
"""A broker answers within milliseconds; one that does not is gone."""

_STEADY_SECONDS = 10.0
"""A connection that ends sooner is not worth telling again: another satellite has our name, or we lack permissions."""

_END_SECONDS = 1.0
"""For saying good-bye."""

_KEEP_ALIVE = 20
"""Seconds between signs of life: after one and a half of it the broker tells everybody that we are offline."""

_REFUSED = 128
"""From here on the codes of the protocol mean that something may not be."""

_LONGEST_COMMAND = 100
"""Bytes."""

_DISCOVERY_PREFIX = "homeassistant"
"""Where Home Assistant looks, unless somebody changed it there."""

_TEXTS = frozenset({Kind.TRANSCRIPT, Kind.ANSWER})


class MqttSettings(Section):
    """The broker, and what is told there."""

    host: str = Field(min_length=1)
    """The broker."""

    port: int | None = Field(None, ge=1, le=65535)
    """By default 1883, and 8883 with TLS."""

    username: str = ""
    """Empty: none."""

    password: SecretStr = SecretStr("")
    """Better in a file: see password_file."""

    password_file: Path | None = None
    """A file with the password in its first line."""

    tls: bool = False
    """Encrypted, and only to a broker whose certificate is valid."""

    ca_file: Path | None = None
    """A certificate authority (PEM) of your own; the system's by default."""

    prefix: str = Field("meadowlark", pattern=r"^[^+#\x00]+$")
    """How all topics begin."""

    texts: bool = False
    """Tell what was said and answered, too."""

    discovery: bool = False
    """Let Home Assistant find the satellite by its MQTT integration."""

    @model_validator(mode="after")
    def _fits_together(self) -> MqttSettings:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file is of no use without tls: true")
        if self.password_file is not None and self.password.get_secret_value():
            raise ValueError("give password or password_file, not both")
        return self


class Mqtt:
    """Tells a broker what it observes, and the satellite what the broker says. Keep `run` running."""

    def __init__(self, settings: MqttSettings, controls: Controls, name: str) -> None:
        """Raises MissingExtraError, and SettingsError for a file that cannot be read."""
        self._settings = settings
        self._controls = controls
        self._name = name
        self._root = settings.prefix + "/" + re.sub(r"[+#/\x00]", "_", name)
        self._tls = _tls(settings)
        self._connect = _connector(settings, self._tls, f"meadowlark-{slug(name)}", f"{self._root}/availability")
        self._events: deque[str] = deque(maxlen=_EVENTS_WAITING)
        self._news = asyncio.Event()
        self._is_there = False
        self._is_steady = False
        self._told = False
        self._puzzled = False

    def observe(self, happening: Happening) -> None:
        """Only notes it. Transcripts and answers only where that is wanted."""
        if self._is_there and (self._settings.texts or happening.kind not in _TEXTS):
            self._events.append(json.dumps({"event": happening.kind, **self._data(happening)}))
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. A broker that is not there is told once."""
        pauses = Backoff()
        while True:
            self._is_steady = False
            try:
                await self._find()
                async with self._connect() as client:
                    await self._serve(client)
            except Exception as error:  # whatever it is: it is tried again
                _heed_cancelling()  # it may be an error of the good-bye
                self._failed(error)
            if self._is_steady:
                pauses = Backoff()
            await asyncio.sleep(pauses.next())

    async def _find(self) -> None:
        """Whether it is there, and can be trusted: in a thread that cannot hold up the end of the program as aiomqtt's
        could, which is used for what then works."""
        await call(self._knock, _ANSWER_SECONDS)

    def _knock(self) -> None:
        host = self._settings.host
        with socket.create_connection((host, port(self._settings)), _ANSWER_SECONDS) as connection:
            if self._tls is not None:
                self._tls.wrap_socket(connection, server_hostname=host).close()

    async def _serve(self, client: Client) -> None:
        """Until the broker goes."""
        try:
            await self._introduce(client)
            self._is_there = True
            await self._exchange(client)
        except asyncio.CancelledError:
            await self._say_good_bye(client)
            raise
        finally:
            self._is_there = False
            self._events.clear()

    async def _introduce(self, client: Client) -> None:
        granted = await client.subscribe(f"{self._root}/command")
        _heed_cancelling()
        if any((code if isinstance(code, int) else code.value) >= _REFUSED for code in granted):
            raise ConnectionError(f"it does not let us read {self._root}/command")
        if self._settings.discovery:
            topic = f"{_DISCOVERY_PREFIX}/device/{slug(self._name)}/config"
            await _keep(client, topic, json.dumps(discovery(self._root, self._name)))
        await _keep(client, f"{self._root}/availability", "online")

    async def _exchange(self, client: Client) -> None:
        steady = asyncio.get_running_loop().call_later(_STEADY_SECONDS, self._stays)
        tasks = [asyncio.create_task(self._take_commands(client)), asyncio.create_task(self._tell(client))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            steady.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, client: Client) -> None:
        """What happened, and then what that led to."""
        known = ""
        while True:
            self._news.clear()
            while self._events:
                await client.publish(f"{self._root}/event", self._events.popleft())
                _heed_cancelling()
            state = self._state()
            if state != known:
                await _keep(client, f"{self._root}/state", state)
                known = state
            await self._news.wait()

    async def _take_commands(self, client: Client) -> None:
        async for message in client.messages:
            if not message.retain:  # one that the broker kept was meant for another time
                self._take(message)

    def _take(self, message: Message) -> None:
        commands: dict[str, Callable[[], None]] = {
            "talk": self._controls.talk,
            "done": self._controls.done,
            "stop": self._controls.stop,
            "mute": self._controls.mute,
            "unmute": self._controls.unmute,
        }
        words = message.payload[:_LONGEST_COMMAND].decode(errors="replace").split()
        if len(words) == 1 and words[0] in commands:
            commands[words[0]]()
        elif len(words) == 2 and words[0] == "volume" and words[1].isascii() and words[1].isdigit():
            self._controls.set_volume(min(int(words[1]), LOUDEST))
        elif not self._puzzled:
            self._puzzled = True
            _LOGGER.warning("Unknown command by MQTT: there are %s and volume with a percentage", ", ".join(commands))
        self._news.set()

    async def _say_good_bye(self, client: Client) -> None:
        from aiomqtt import MqttError

        client.timeout = _END_SECONDS
        with contextlib.suppress(MqttError):
            await client.publish(f"{self._root}/availability", "offline", qos=1, retain=True)

    def _state(self) -> str:
        status = self._controls.status
        return json.dumps({key: status[key] for key in ("state", "muted", "volume")})

    def _data(self, happening: Happening) -> dict[str, str | int | float | bool | None]:
        """An error's text and a timer's name may be what somebody said."""
        hidden = () if self._settings.texts else ("text", "name")
        return {key: value for key, value in happening.data.items() if key not in hidden}

    def _stays(self) -> None:
        self._is_steady = True
        if self._told:
            self._told = False
            _LOGGER.info("The MQTT broker %s is there", self._settings.host)

    def _failed(self, error: Exception) -> None:
        from aiomqtt import MqttError

        if not self._told:
            self._told = True
            _LOGGER.warning(
                "The MQTT broker %s cannot be used (%s): check the settings of 'mqtt'. Trying again until it can",
                self._settings.host,
                str(error) or "it does not answer",
                exc_info=None if isinstance(error, MqttError | OSError) else error,
            )


async def _keep(client: Client, topic: str, payload: str) -> None:
    """Publish what the broker keeps for whoever comes later."""
    await client.publish(topic, payload, qos=1, retain=True)
    _heed_cancelling()


def _heed_cancelling() -> None:
    """Python 3.11's asyncio.wait_for, by which aiomqtt waits, loses a cancellation that comes with the result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def port(settings: MqttSettings) -> int:
    """By default what is usual."""
    return settings.port or (8883 if settings.tls else 1883)


def _connector(
    settings: MqttSettings, tls: ssl.SSLContext | None, identifier: str, availability: str
) -> Callable[[], Client]:
    """What makes a client that is not yet connected."""
    try:
        import aiomqtt
    except ImportError:
        raise MissingExtraError("The MQTT broker of the settings", "mqtt") from None

    password = _password(settings)

    def connect() -> Client:
        return aiomqtt.Client(
            settings.host,
            port(settings),
            username=settings.username or None,
            password=password or None,
            identifier=identifier,  # always the same, so that the broker knows which connection the new one replaces
            will=aiomqtt.Will(availability, "offline", qos=1, retain=True),
            timeout=_ANSWER_SECONDS,
            keepalive=_KEEP_ALIVE,
            max_queued_incoming_messages=_EVENTS_WAITING,
            max_queued_outgoing_messages=_EVENTS_WAITING,
            tls_context=tls,
        )

    return connect


def _password(settings: MqttSettings) -> str:
    if settings.password_file is None:
        return settings.password.get_secret_value()
    try:
        return settings.password_file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The mqtt password_file {settings.password_file} cannot be read: {error}") from None


def _tls(settings: MqttSettings) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"The mqtt ca_file {settings.ca_file} cannot be used: {error}") from None
