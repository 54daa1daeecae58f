"""The satellite at a real MQTT broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from handlers.errors import MissingExtraError, SettingsError
from satellite.happenings import Happening, Kind
from satellite.mqtt import Mqtt, MqttSettings
from satellite.mqtt_discovery import discovery, slug
from tests.satellite.broker import Broker, missing_broker
from tests.satellite.controls import Recorder
from tests.support.certificates import make_certificate

ROOT = "meadowlark/kitchen"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a broker may put its files."""
    if problem := missing_broker():
        pytest.skip(problem)
    return tmp_path


@pytest.fixture
async def broker(folder: Path) -> AsyncIterator[Broker]:
    async with Broker(folder) as broker:
        yield broker


@contextlib.asynccontextmanager
async def running(mqtt: Mqtt) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(mqtt.run())
    try:
        yield task
    finally:
        task.cancel()
        async with asyncio.timeout(20):
            await asyncio.gather(task, return_exceptions=True)


def satellite(port: int, controls: Recorder | None = None, name: str = "kitchen", **given: object) -> Mqtt:
    settings = MqttSettings.model_validate({"host": "127.0.0.1", "port": port} | given)
    return Mqtt(settings, controls or Recorder(), name)


async def test_it_tells_what_it_is_and_what_happens(broker: Broker) -> None:
    controls = Recorder()
    mqtt = satellite(broker.port, controls)
    async with broker.home() as home:
        async with running(mqtt):
            assert await home.next("/availability") == b"online"
            assert json.loads(await home.next("/state")) == {"state": "listening", "muted": False, "volume": 100}

            controls.state = "asking"
            mqtt.observe(Happening(Kind.WOKEN, {"wake_word": "okay_nabu", "score": 0.9}))
            assert json.loads(await home.next("/event")) == {"event": "woken", "wake_word": "okay_nabu", "score": 0.9}
            assert json.loads(await home.next("/state"))["state"] == "asking"
        assert await home.next("/availability") == b"offline", "it says good-bye"
    assert set(home.kept) == {f"{ROOT}/availability", f"{ROOT}/state", f"{ROOT}/event"}


async def test_state_and_availability_are_kept_for_who_comes_later(broker: Broker) -> None:
    async with broker.home() as home, running(satellite(broker.port)):
        await home.next("/state")
        async with broker.home() as later:
            await later.next("/state")
            assert later.kept[f"{ROOT}/availability"] == b"online"


@pytest.mark.parametrize("texts", [False, True])
async def test_what_was_said_is_told_only_where_that_is_wanted(broker: Broker, texts: bool) -> None:
    mqtt = satellite(broker.port, texts=texts)
    async with broker.home() as home, running(mqtt):
        await home.next("/state")
        mqtt.observe(Happening(Kind.TRANSCRIPT, {"text": "where are my keys"}))
        mqtt.observe(Happening(Kind.ANSWER, {"text": "In the drawer."}))
        mqtt.observe(Happening(Kind.ERROR, {"code": "engine", "text": "I did not understand 'keys'"}))
        events = [json.loads(await home.next("/event"))]
        while events[-1]["event"] != "error":
            events.append(json.loads(await home.next("/event")))
    assert ("keys" in str(events)) == texts
    assert [event["event"] for event in events] == (["transcript", "answer", "error"] if texts else ["error"])


async def test_commands(broker: Broker) -> None:
    controls = Recorder()
    async with broker.home() as home, running(satellite(broker.port, controls)):
        await home.next("/state")
        for command in ("talk", "done", "stop", "mute", "unmute", "volume 40", "volume 900"):
            await home.say(f"{ROOT}/command", command)
        calls = [("talk",), ("done",), ("stop",), ("mute",), ("unmute",), ("set_volume", 40), ("set_volume", 150)]
        assert await controls.until(len(calls)) == calls
        async with asyncio.timeout(20):
            while json.loads(await home.next("/state"))["volume"] != 150:
                pass


async def test_commands_that_are_none(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    controls = Recorder()
    async with broker.home() as home:
        await home.say(f"{ROOT}/command", "talk", retain=True)  # it would be done at each start
        async with running(satellite(broker.port, controls)):
            await home.next("/state")
            for command in ("", "sing", "volume", "volume loud", "volume -3", "volume ²", "talk now", "x" * 100_000):
                await home.say(f"{ROOT}/command", command)
            await home.say(f"{ROOT}/command", " mute\n")
            assert await controls.until(1) == [("mute",)]
    warnings = [record.message for record in caplog.records if record.name == "satellite.mqtt"]
    assert len(warnings) == 1
    assert "Unknown command" in warnings[0]


async def test_what_waits_is_bounded(broker: Broker) -> None:
    """Nobody waits for a broker: of a thousand things at once the newest hundred are told."""
    mqtt = satellite(broker.port)
    async with broker.home() as home, running(mqtt):
        await home.next("/state")
        for number in range(1000):
            mqtt.observe(Happening(Kind.VOLUME, {"percent": number}))
        told = [json.loads(await home.next("/event"))["percent"]]
        while told[-1] != 999:
            told.append(json.loads(await home.next("/event"))["percent"])
    assert told == list(range(900, 1000))


async def test_a_broker_that_restarts(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    controls = Recorder()
    mqtt = satellite(broker.port, controls)
    async with running(mqtt):
        async with broker.home() as home:
            await home.next("/state")
            await broker.stop()
            with contextlib.suppress(Exception):
                await home.next("/nothing")  # until it notices, too
        mqtt.observe(Happening(Kind.MUTED))  # is not told later as if it happened then
        controls.mute()
        await broker.start()
        async with broker.home() as home:
            assert json.loads(await home.next("/state"))["muted"] is True
            assert home.kept[f"{ROOT}/availability"] == b"online"
            mqtt.observe(Happening(Kind.LISTENING))
            assert json.loads(await home.next("/event")) == {"event": "listening"}
    warnings = [record for record in caplog.records if record.name == "satellite.mqtt"]
    assert len(warnings) == 1, "its absence is told once"


async def test_a_satellite_that_vanishes_is_offline(broker: Broker) -> None:
    """Its connection breaks without a word, as by a cut cable; the broker says so, and it comes back by itself."""
    connections: set[asyncio.StreamWriter] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection("127.0.0.1", broker.port)
        connections.update({writer, down})
        with contextlib.suppress(OSError):
            await asyncio.gather(pump(reader, down), pump(up, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    cable = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with broker.home() as home, running(satellite(cable.sockets[0].getsockname()[1])):
        await home.next("/state")
        for writer in connections:
            writer.transport.abort()
        assert await home.next("/availability") == b"offline"
        assert await home.next("/availability") == b"online"
    cable.close()


async def test_nobody_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and cancelling is not held up. Neither by one that takes the connection and says nothing."""
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        with watched() as logged:
            async with running(satellite(closed.getsockname()[1])), asyncio.timeout(20):
                await logged.wait()
            assert "Connection refused" in caplog.records[0].message
        async with running(satellite(silent.getsockname()[1])):
            loop = asyncio.get_running_loop()
            silent.setblocking(False)
            for _ in range(2):  # the look whether somebody is there, and the connection
                connection, _ = await asyncio.wait_for(loop.sock_accept(silent), 20)
                connection.close()


async def test_a_host_that_cannot_be(caplog: pytest.LogCaptureFixture) -> None:
    """Python has another error for each kind of wrong name; none ends the task."""
    with watched() as logged:
        async with running(satellite(1883, host="a..b")) as task, asyncio.timeout(20):
            await logged.wait()
            assert not task.done()
    assert "a..b cannot be used" in caplog.records[0].message


async def test_a_login(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tool = shutil.which("mosquitto_passwd")
    assert tool is not None, "it comes with mosquitto"
    users = folder / "users"
    command = [tool, "-b", "-c", str(users), "ada", "correct horse"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    secret = folder / "secret"
    secret.write_text("correct horse\n")
    async with Broker(folder, "allow_anonymous false", f"password_file {users}") as broker:
        broker.login = {"username": "ada", "password": "correct horse"}
        with watched() as logged:
            async with running(satellite(broker.port, username="ada", password="wrong")), asyncio.timeout(20):
                await logged.wait()
        assert "authori" in caplog.records[0].message.lower()
        assert "wrong" not in caplog.text
        async with broker.home() as home, running(satellite(broker.port, username="ada", password_file=secret)):
            assert await home.next("/availability") == b"online"


async def test_tls(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, _ = make_certificate(folder)
    files = [f"certfile {certificate}", f"keyfile {folder / 'key.pem'}"]
    async with Broker(folder, "allow_anonymous true", *files) as broker:
        with watched() as logged:
            async with running(satellite(broker.port, tls=True)), asyncio.timeout(20):
                await logged.wait()
        assert "certificate" in caplog.records[0].message, "who is not known is not trusted"
        mqtt = satellite(broker.port, tls=True, ca_file=certificate)
        broker.login = {"tls_context": ssl.create_default_context(cafile=certificate)}
        async with broker.home() as home, running(mqtt):
            assert await home.next("/availability") == b"online"


async def test_home_assistant_finds_it(broker: Broker) -> None:
    """Everything that it is told to send is understood, and everything that it is told to read is there."""
    controls = Recorder()
    mqtt = satellite(broker.port, controls, discovery=True)
    async with broker.home() as home:
        async with running(mqtt):
            await home.next("/state")
        await home.until("/availability", b"offline")
        async with broker.home() as home, running(mqtt):  # it is kept
            told = json.loads(await home.next("homeassistant/device/kitchen/config"))
            await home.until("/availability", b"online")
            components = told["components"]
            read = {part["state_topic"] for part in components.values() if "state_topic" in part}
            assert read | {told["availability_topic"]} <= set(home.kept) | {f"{ROOT}/state"}
            assert json.loads(home.kept.get(f"{ROOT}/state") or await home.next("/state"))["muted"] is False
            for part in ("talk", "stop"):
                await home.say(components[part]["command_topic"], components[part]["payload_press"])
            await home.say(components["mute"]["command_topic"], components["mute"]["payload_on"])
            await home.say(components["mute"]["command_topic"], components["mute"]["payload_off"])
            volume = components["volume"]["command_template"].replace("{{ value | int }}", "55")
            await home.say(components["volume"]["command_topic"], volume)
            calls = await controls.until(5)
    assert calls == [("talk",), ("stop",), ("mute",), ("unmute",), ("set_volume", 55)]


def test_names_become_topics_of_their_own() -> None:
    names = ["kitchen", "Küche", "kitchen/2", "kitchen 2", "kitchen_2", "kitchen+", "居間"]
    assert len({slug(name) for name in names}) == len(names)
    assert all(slug(name).isascii() and slug(name).replace("_", "").replace("-", "").isalnum() for name in names)
    ids = [part["unique_id"] for name in names for part in components_of(name).values()]
    assert len(set(ids)) == len(ids)


def test_a_name_that_is_no_topic() -> None:
    async def root() -> str:
        return satellite(1, name="a/b+c#d")._root

    assert asyncio.run(root()) == "meadowlark/a_b_c_d"


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiomqtt", None)
    with pytest.raises(MissingExtraError, match="'mqtt'"):
        Mqtt(MqttSettings(host="broker"), Recorder(), "kitchen")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"host": ""}, "at least 1"),
        ({"ca_file": "/ca.pem"}, "no use without tls"),
        ({"password": "x", "password_file": "/secret"}, "not both"),
        ({"prefix": "a/#"}, "pattern"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        MqttSettings.model_validate({"host": "broker"} | given)


@pytest.mark.parametrize("given", [{"password_file": "none"}, {"tls": True, "ca_file": "none"}])
def test_files_that_cannot_be_read(given: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="none cannot be"):
        Mqtt(MqttSettings.model_validate({"host": "broker"} | given), Recorder(), "kitchen")


def components_of(name: str) -> dict[str, dict[str, object]]:
    components = discovery(f"meadowlark/{name}", name)["components"]
    assert isinstance(components, dict)
    return components


@contextlib.contextmanager
def watched() -> Iterator[asyncio.Event]:
    """An event that is set when something is logged."""
    logged = asyncio.Event()
    handler = logging.Handler()
    handler.emit = lambda record: logged.set()  # type: ignore[method-assign]
    logger = logging.getLogger("satellite.mqtt")
    logger.addHandler(handler)
    try:
        yield logged
    finally:
        logger.removeHandler(handler)
