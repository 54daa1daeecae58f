"""Several households on one server: each is served, and none sees, changes or uses up anything of another's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import ValidationError
from wyoming.event import Event

from handlers.agent.access import AccessSettings
from handlers.agent.memory.collection import collection_name
from handlers.agent.memory.stage import HOUSEHOLD, Owner, OwnerKind, Space
from handlers.agent.stage import AgentSettings, Request
from handlers.asr.silero import Silero
from handlers.asr.whisper import WhisperTranscriber
from handlers.errors import SettingsError
from handlers.models.store import ModelStore
from handlers.pipeline.recordings import Recordings
from handlers.timeline import Timeline
from handlers.tts.cache import CachedSynthesizer
from handlers.tts.piper import PiperSynthesizer
from handlers.wake.engines import open_engines
from handlers.wire.client import WyomingClient, connect
from handlers.workers import Workers
from server.agent_engines import open_agent_engines
from server.engines import Engines
from server.household import open_household
from server.settings import ServerSettings
from tests.support.house_client import TOOLS, HomeAssistant
from tests.support.lender import Lender
from tests.support.ollama import SOON
from tests.support.server import ANSWER_SECONDS, read_until
from tests.support.talking import Talking
from tests.support.voice_client import Conversation, connected

pytestmark = pytest.mark.asyncio(loop_scope="session")

MILLER, SMITH, OWN, SMALL = "miller", "smith", "admin", "small"
"""Names of tokens: of three tenants, and of the server's own household. All of them are admins'."""

OTHERS = (SMITH, OWN)

ANNA = Owner(OwnerKind.PERSON, "anna")

STATUS = "/api/v1/voice/status"
MEMORY = "/api/v1/memory"
CONVERSATION = "/api/v1/conversation"
CHAT = "/v1/chat/completions"
QUESTION = "Would you tell me something about larks?"
"""For the language model: no skill knows it."""


@dataclass
class Server:
    """What a test talks with, as one household or another."""

    session: aiohttp.ClientSession
    house: Talking

    def shows(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.house.tokens[who]}"}

    async def call(self, who: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.session.request(method, path, json=body, headers=self.shows(who)) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def get(self, who: str, path: str) -> Any:
        status, told = await self.call(who, "GET", path)
        assert status == 200, told
        return told

    async def ask(self, who: str, text: str, conversation: str = "") -> str:
        status, told = await self.call(who, "POST", CONVERSATION, {"text": text, "conversation_id": conversation})
        assert status == 200, told
        return str(told["text"])

    @contextlib.asynccontextmanager
    async def wyoming(self, who: str) -> AsyncIterator[WyomingClient]:
        """A connection to the port of a household."""
        async with connect("127.0.0.1", (await self.get(who, STATUS))["wyoming_port"]) as client:
            yield client

    @contextlib.asynccontextmanager
    async def satellite(self, who: str, name: str) -> AsyncIterator[WyomingClient]:
        """One that can be called."""
        async with self.wyoming(who) as client:
            await client.send(Event("satellite-connected", {"context": {"satellite_id": name}}))
            await read_until(client, "ping")
            yield client

    async def say(self, who: str, text: str, **context: str) -> str:
        """A request as text to the port of a household."""
        async with self.wyoming(who) as client:
            await client.send(Event("transcript", {"text": text, "context": context}))
            return str((await read_until(client, "handled", "error"))[-1].data["text"])

    def told(self) -> str:
        """All that the language model was given with the last question."""
        return json.dumps(self.house.ollama.chats[-1])


@pytest_asyncio.fixture(loop_scope="session")
async def server(house: Talking) -> AsyncIterator[Server]:
    house.begin_anew()
    async with aiohttp.ClientSession(house.address, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        yield Server(session, house)


async def test_a_conversation_is_its_households_whoever_guesses_its_id(server: Server) -> None:
    ollama = server.house.ollama
    ollama.will_answer("The key lies under the fern.")
    await server.ask(MILLER, QUESTION, "same")
    ollama.will_answer("It hums.")
    await server.say(MILLER, QUESTION, conversation_id="wire")
    inside = f"{len(MILLER)} {MILLER} same"  # as the server itself calls it
    for who in OTHERS:
        for conversation in ("same", inside):
            ollama.will_answer("Hm.")
            await server.ask(who, "What did you just tell me, exactly?", conversation)
            assert "fern" not in server.told()
        for conversation in ("same", inside, "wire"):
            ollama.will_answer("Hm.")
            await server.say(who, "What did you just tell me, exactly?", conversation_id=conversation)
            assert "fern" not in server.told()
            assert "hums" not in server.told()
    ollama.will_answer("Under the fern.")
    await server.ask(MILLER, "What did you just tell me, exactly?", "same")
    assert "fern" in server.told()
    ollama.will_answer("That it hums.")
    await server.say(MILLER, "What did you just tell me, exactly?", conversation_id="wire")
    assert "hums" in server.told()


async def test_a_session_goes_on_for_its_own_household_only(server: Server) -> None:
    url, talk = server.house.address, Conversation()
    server.house.ollama.will_answer("Under the fern.")
    async with connected(url, talk, server.shows(MILLER), name="hall") as client:
        await client.ask(QUESTION)
        client.drop()
    for who in OTHERS:
        stolen = Conversation(talk.session, 0)
        async with connected(url, stolen, server.shows(who)) as client:
            assert (client.ready["resumed"], client.ready["turn"]) == (False, 0)
            assert stolen.session != talk.session
            assert client.talk.types() == []
    async with connected(url, talk, server.shows(MILLER)) as client:
        assert (client.ready["resumed"], client.ready["turn"]) == (True, 1)


async def test_a_memory_is_its_households(server: Server) -> None:
    status, note = await server.call(MILLER, "POST", MEMORY, {"content": "The spare key is under the fern."})
    assert status == 201
    await server.ask(MILLER, "Remember that the alarm is set at ten.")
    one = f"{MEMORY}/{note['id']}"
    for who in OTHERS:
        for path in (MEMORY, f"{MEMORY}/search?q=key", f"{MEMORY}/export", f"{MEMORY}/tenants"):
            seen = json.dumps(await server.get(who, path))
            assert "fern" not in seen
            assert "alarm" not in seen
        for method, path, body in (
            ("GET", one, None),
            ("PATCH", one, {"content": "There is no key."}),
            ("POST", f"{one}/undo", None),
            ("DELETE", one, None),
        ):
            assert (await server.call(who, method, path, body))[0] == 404
        for about in ("key", "*"):
            assert (await server.call(who, "DELETE", f"{MEMORY}?about={about}"))[1] == {"forgotten": 0}
        assert "fern" not in await server.ask(who, "What do you remember about the spare key?")
        server.house.ollama.will_answer("Hm.")
        await server.ask(who, "Where might the spare key be hidden?")
        assert "fern" not in server.told()
    assert (await server.get(MILLER, one))["content"] == "The spare key is under the fern."
    found = (await server.get(MILLER, f"{MEMORY}/search?q=spare%20key"))["notes"]
    assert [each["id"] for each in found][:1] == [note["id"]]
    assert "fern" in await server.ask(MILLER, "What do you remember about the spare key?")
    server.house.ollama.will_answer("Under the fern.")
    await server.ask(MILLER, "Where might the spare key be hidden?")
    assert "fern" in server.told()
    assert (await server.call(MILLER, "DELETE", f"{MEMORY}?about=key"))[1] == {"forgotten": 1}


async def test_satellites_of_one_name_are_apart(server: Server) -> None:
    """Announcements, what the status shows, and turns: each goes to the household's own."""
    async with server.satellite(MILLER, "kitchen") as kitchen:
        for who in OTHERS:
            assert (await server.get(who, STATUS))["satellites"] == []
            for satellites in (["kitchen"], "all"):
                body = {"text": "Boo.", "satellites": satellites}
                status, told = await server.call(who, "POST", "/api/v1/announce", body)
                assert (status, "kitchen" in told["error"]) == (404, False), told
        async with server.satellite(SMITH, "kitchen") as theirs:
            told = asyncio.create_task(server.call(MILLER, "POST", "/api/v1/announce", {"text": "Dinner is ready."}))
            events = await read_until(kitchen, "audio-stop")
            assert events[0].type == "audio-start"  # it was nobody else's before
            await kitchen.send(Event("played", {"notice": events[0].data["notice"]}))
            assert await told == (200, {"satellites": {"kitchen": "heard"}})
            await theirs.send(Event("ping", {}))
            assert [event.type for event in await read_until(theirs, "pong", "audio-start")][-1] == "pong"
            assert (await server.get(MILLER, STATUS))["satellites"] == ["kitchen"]


async def test_timers_are_their_households(server: Server) -> None:
    there = {"satellite_id": "kitchen", "conversation_id": "timers"}
    await server.say(MILLER, "Set a tea timer for 2 hours.", **there)
    for who in OTHERS:
        for text in ("Cancel the tea timer.", "Cancel all timers.", "Stop.", "How long is left on the tea timer?"):
            assert "2 hours" not in await server.say(who, text, **there)
        for answer in (
            await server.say(who, "What timers do I have?", **there),
            await server.ask(who, "What timers do I have?", "timers"),
        ):
            assert "tea" not in answer
    assert "tea" in await server.say(MILLER, "What timers do I have?", **there)
    await server.say(MILLER, "Cancel the tea timer.", **there)


async def test_a_home_assistant_lends_to_its_own_household(server: Server) -> None:
    ollama = server.house.ollama
    async with server.session.ws_connect("/api/v1/house", headers=server.shows(MILLER)) as socket:
        await socket.send_json({"type": "hello", "protocol": 1, "instance": "home", "name": "The Millers' house"})
        home = HomeAssistant(socket, await socket.receive_json(timeout=SOON))
        await home.send("lend", names=["Fern lamp"], toolset=TOOLS)
        assert (await home.say("What time is it?"))["type"] == "turn-end"
        for who in OTHERS:
            assert (await server.get(who, STATUS))["houses"] == []
            ollama.will_answer("Hm.")
            await server.ask(who, QUESTION)
            assert "light__HassTurnOn" not in server.told()
            assert "scullery" not in server.told()
        assert [house["names"] for house in (await server.get(MILLER, STATUS))["houses"]] == [1]
        ollama.will_answer("Hm.")
        await server.ask(MILLER, QUESTION)
        assert "light__HassTurnOn" in server.told()
        assert "water_plants" not in server.told()  # a tool of the server's own household


async def test_a_chat_of_openais_clients_goes_on_in_its_household(server: Server) -> None:
    """What was asked in it waits for an answer there, and nowhere else."""
    chat = [{"role": "user", "content": "Set a timer."}]
    _, told = await server.call(MILLER, "POST", CHAT, {"messages": chat})
    asked = told["choices"][0]["message"]
    assert asked["content"].endswith("?")
    goes_on = {"messages": [*chat, {"role": "assistant", "content": asked["content"]}]}
    goes_on["messages"].append({"role": "user", "content": "2 hours."})
    for who in (*OTHERS, MILLER):
        if who != MILLER:
            server.house.ollama.will_answer("Hm.")
        await server.call(who, "POST", CHAT, goes_on)
        listed = await server.ask(who, "What timers do I have?")
        assert ("2 hour" in listed or "1 hour" in listed) is (who == MILLER), listed
    await server.ask(MILLER, "Cancel all timers.")


async def test_the_status_shows_what_is_ones_own(server: Server) -> None:
    for who in (MILLER, SMITH, OWN):
        await server.ask(who, "What time is it?")
    shown = {who: await server.get(who, STATUS) for who in (MILLER, SMITH, OWN)}
    assert [shown[who]["name"] for who in shown] == ["The Millers", "smith", "Meadowlark"]
    assert len({shown[who]["wyoming_port"] for who in shown}) == 3
    turns = [{turn["turn_id"] for turn in shown[who]["turns"]} for who in shown]
    assert all(turns)
    assert sum(map(len, turns)) == len(set().union(*turns))
    async with connected(server.house.address, None, server.shows(MILLER), name="phone"):
        sessions = [(await server.get(who, STATUS))["voice_sessions"] for who in (MILLER, SMITH, OWN)]
    assert ["phone" in json.dumps(some) for some in sessions] == [True, False, False]


async def test_metrics_are_the_whole_servers(server: Server) -> None:
    status, told = await server.call(MILLER, "GET", "/metrics")
    assert (status, told) == (
        403,
        {"error": "The token 'miller' is a tenant's, and the metrics are the whole server's"},
    )
    shown = await server.get(OWN, "/metrics")
    assert "meadowlark_turns" in shown
    assert not [tenant for tenant in (MILLER, "Millers", SMITH) if tenant in shown]


async def test_each_has_a_log_of_actions(server: Server) -> None:
    await server.say(MILLER, "Set a fern timer for 3 hours.", satellite_id="hall")
    await server.say(MILLER, "Cancel the fern timer.", satellite_id="hall")
    assert "fern" in json.dumps(await server.get(MILLER, "/api/v1/audit"))
    for who in OTHERS:
        assert "fern timer for 3 hours" not in json.dumps(await server.get(who, "/api/v1/audit"))
    data = server.house.data
    folders = [data / "tenants" / "miller", data / "tenants" / "smith", data]
    logs = ["".join(path.read_text() for path in (folder / "audit").iterdir()) for folder in folders]
    assert ["fern timer for 3 hours" in text for text in logs] == [True, False, False]


async def test_a_token_of_a_tenant_that_is_gone_lets_nobody_in(server: Server) -> None:
    for method, path in (("GET", STATUS), ("GET", MEMORY), ("GET", "/metrics"), ("POST", CONVERSATION)):
        status, told = await server.call("gone", method, path, {"text": "Hello."} if method == "POST" else None)
        assert (status, "which this server does not have" in told["error"]) == (403, True)
    assert (await server.call("gone", "POST", CHAT, {"messages": []}))[0] == 403
    for path in ("/api/v1/voice/stream", "/api/v1/house"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await server.session.ws_connect(path, headers=server.shows("gone"))
        assert refused.value.status == 403
    body = {"token": server.house.tokens["gone"]}
    async with server.session.post("/api/v1/session", json=body) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


async def test_one_cannot_use_up_what_is_anothers(server: Server) -> None:
    """Questions and sessions at the same time, and turns in a minute."""
    ollama, go_on = server.house.ollama, asyncio.Event()
    before = len(ollama.chats)
    ollama.will_answer(go_on, "Done.")
    waiting = asyncio.create_task(server.ask(SMALL, QUESTION))
    await ollama.until(chats=before + 1)
    assert (await server.call(SMALL, "POST", CONVERSATION, {"text": "What time is it?"}))[0] == 429
    await _all_are_served(server, (MILLER, SMITH, OWN))
    go_on.set()
    assert await waiting == "Done."

    async with connected(server.house.address, None, server.shows(SMALL)):
        async with connected(server.house.address, None, server.shows(SMALL)) as second:
            assert second.ready["code"] == "too-many"
        async with connected(server.house.address, None, server.shows(MILLER)) as other:
            assert other.ready["type"] == "ready"

    statuses = [(await server.call(SMALL, "POST", CONVERSATION, {"text": "What time is it?"}))[0] for _ in range(4)]
    assert statuses[-1] == 429
    status, told = await server.call(SMALL, "POST", CONVERSATION, {"text": "What time is it?"})
    assert (status, told["error"]) == (429, "There were 3 turns in a minute: wait a little, and try again")
    assert await server.say(SMALL, "What time is it?") == told["error"]
    talk = Conversation()
    async with connected(server.house.address, talk, server.shows(SMALL)) as client:
        assert (await client.ask("What time is it?"))["outcome"] == "failed"
        assert [(error["code"], error["text"]) for error in talk.of("error")] == [("busy", told["error"])]
    await _all_are_served(server, (MILLER, SMITH, OWN))


async def _all_are_served(server: Server, who: Sequence[str]) -> None:
    for one in who:
        assert await server.ask(one, "What is two plus three?") == "Two plus three is 5."


async def test_only_the_agent_of_a_household_is_its_own(
    tmp_path: Path, store: ModelStore, whisper: WhisperTranscriber, piper: PiperSynthesizer, silero: Silero
) -> None:
    """Turns of two households go through the same engines, and each hears the names that its own house lends."""
    memory = {"memory": {"enabled": False}}
    agent = {"order": ["builtin"], "builtin": {"model": ""}, **memory}
    tenants = {"miller": {"agent": memory, "asr": {"names": ["Lena"], "language": "de-DE"}}}
    asr = {"names": ["Olle"]}
    settings = ServerSettings.model_validate({"data_dir": tmp_path, "agent": agent, "asr": asr, "tenants": tenants})
    async with contextlib.AsyncExitStack() as owned:
        shared = await open_agent_engines(settings.agent, store, lambda *_: None)
        owned.push_async_callback(shared.close)
        workers = Workers("wake", 1)
        owned.push_async_callback(workers.close)
        households = {}
        for key, talks in settings.households.items():
            households[key] = await open_household(talks, settings.folder_of(key), shared, piper, key)
            owned.push_async_callback(households[key].close)
        done = asyncio.create_task(asyncio.sleep(0))
        engines = Engines(
            transcriber=whisper,
            vad=silero,
            turns=None,
            wake=open_engines(),
            wake_workers=workers,
            synthesizer=CachedSynthesizer(piper, settings.tts),
            agent_engines=shared,
            households=households,
            recordings={key: Recordings(settings.folder_of(key), settings.recordings) for key in households},
            settings=settings,
            warming=done,
            rehearsing=done,
        )
        for recordings in engines.recordings.values():
            owned.push_async_callback(recordings.close)
        own, miller = engines.stages(), engines.stages("miller")
        assert own.recognizer.transcriber is miller.recognizer.transcriber
        assert own.synthesizer is miller.synthesizer
        assert own.wake is miller.wake
        assert own.agent.thinker is miller.agent.thinker
        assert own.agent is not miller.agent
        miller.agent.house.enter(Lender())
        assert [list(stages.recognizer._names()) for stages in (own, miller)] == [[], ["Kitchen", "Quasar Lamp"]]
        assert [stages.recognizer._settings.names for stages in (own, miller)] == [["Olle"], ["Lena"]]
        assert [stages.recognizer._language for stages in (own, miller)] == [None, "de"]
        klingon = ServerSettings.model_validate({"tenants": {"miller": {"asr": {"language": "tlh"}}}})
        with pytest.raises(SettingsError, match=r"tenants\.miller\.asr\.language: .*'tlh'"):
            replace(engines, settings=klingon).stages("miller")
        with pytest.raises(PermissionError):
            own.agent.respond(Request("Hello.", miller.agent.session(language="en")), Timeline("t"))


async def test_what_a_tenant_leaves_out_is_not_taken_from_the_servers_own_household() -> None:
    own = {
        "persona": "You serve the owners.",
        "language": "sv",
        "access": {"users": {"olle": {}}, "unknown": "guest"},
        "memory": {"learn": False, "recall": {"notes": 3}},
        "ollama": {"model": "qwen"},
    }
    tenants = {"miller": {"agent": {"language": "de", "memory": {"enabled": False}}}, "smith": {}}
    settings = ServerSettings.model_validate({"agent": own, "tenants": tenants})
    miller, smith = settings.households["miller"], settings.households["smith"]
    assert [miller.language, smith.language] == ["de", "en"]
    assert [miller.memory.enabled, smith.memory.enabled] == [False, True]
    for agent in (miller, smith):
        assert (agent.persona, agent.access, agent.memory.learn) == (AgentSettings().persona, AccessSettings(), True)
        assert (agent.ollama, agent.memory.recall) == (settings.agent.ollama, settings.agent.memory.recall)
    assert settings.folder_of("miller") == settings.data_dir / "tenants" / "miller"


@pytest.mark.parametrize(
    ("tenants", "words"),
    [
        ({"Miller": {}}, "lower-case letters, digits and dashes"),
        ({"../up": {}}, "lower-case letters, digits and dashes"),
        ({"a": {"wyoming": "tcp://127.0.0.1"}}, "needs a port of its own"),
        ({"a": {"wyoming": "tcp://127.0.0.1:10600"}}, "port 10600 is used already"),
        (
            {"a": {"wyoming": "tcp://127.0.0.1:1"}, "b": {"wyoming": "tcp://127.0.0.1:1"}},
            "tenants.b.wyoming: port 1 is used already",
        ),
        ({"a": {"agent": {"ollama": {}}}}, "Extra inputs are not permitted"),
    ],
)
async def test_settings_that_cannot_be(tenants: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        ServerSettings.model_validate({"tenants": tenants})


async def test_households_on_one_database_server_are_apart() -> None:
    space = Space("test", "digest", 3)
    named = {collection_name(owner, space, key) for owner in (HOUSEHOLD, ANNA) for key in ("", "miller", "smith")}
    assert len(named) == 6
    assert not collection_name(HOUSEHOLD, space, "miller").startswith(collection_name(HOUSEHOLD))


async def test_engines_are_loaded_once(server: Server) -> None:
    log = server.house.server.log()
    for what in ("speech to text", "text to speech", "voice activity", "turn detection", "wake words", "agent"):
        assert log.count(f" {what} ready in ") == 1
