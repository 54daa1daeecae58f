"""`WS /api/v1/house` of a real server; the test is Home Assistant, and a scripted Ollama the language model."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from wyoming.event import Event

from handlers import __version__
from tests.server.test_services import send_audio
from tests.support.house_client import LIGHT, TOOLS, HomeAssistant, Json, connected
from tests.support.ollama import SOON, Call, Cut, FakeOllama, Model
from tests.support.server import ServerProcess, own_data, read_until
from tests.support.speech import Speaker

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = "Would you tell me something about larks?"
"""For the language model: no skill knows it."""

ON = "switch the frumious lamp on"

WITH_A_PAGE: Json = {**TOOLS, "tools": [LIGHT, {"name": "web__read", "read_only": True}]}
"""`web__read` returns what strangers wrote: after it, whatever acts needs a yes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[FakeOllama]:
    async with FakeOllama([Model("llama3.2:latest", capabilities=("completion", "tools"))]) as ollama:
        yield ollama


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    model: FakeOllama, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("house")
    environment = {
        "MEADOWLARK_AGENT__OLLAMA__URL": model.url,
        "MEADOWLARK_AGENT__ORDER": '["ollama"]',
        "MEADOWLARK_AGENT__QUICK_SENTENCE_SECONDS": "0",
        "MEADOWLARK_AGENT__ACCESS__SATELLITES": '{"hall": {"room": "Hall"}}',
        "MEADOWLARK_DISCOVERY__NAME": "Larkhouse",
    }
    with ServerProcess(folder, ["--data-dir", str(own_data(folder, data_dir))], environment) as process:
        await asyncio.to_thread(process.wait_ready)
        yield process
        async with connected(f"http://127.0.0.1:{process.http_port}/api/v1/house", names=["Lamp"]) as home:
            process.process.terminate()
            assert await home.closed() == 1001
        log = process.log()
    assert "Traceback" not in log
    assert " ERROR " not in log


@pytest.fixture
def url(served: ServerProcess) -> str:
    return f"http://127.0.0.1:{served.http_port}/api/v1/house"


@pytest_asyncio.fixture(loop_scope="module")
async def home(url: str, model: FakeOllama) -> AsyncIterator[HomeAssistant]:
    """A Home Assistant that lends nothing yet."""
    model.answers.clear()
    async with connected(url) as home:
        yield home


async def status(served: ServerProcess) -> Json:
    address = f"http://127.0.0.1:{served.http_port}/api/v1/voice/status"
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        return dict(await answer.json())


async def alone(served: ServerProcess, houses: int = 0) -> None:
    """Wait until the server has noticed that others have gone."""
    async with asyncio.timeout(SOON):
        while len((await status(served))["houses"]) > houses:
            pass


async def ask_wyoming(served: ServerProcess, text: str, **context: str) -> str:
    """What core's own integration, or a satellite, asks the service `handle`; its answer."""
    async with served.client() as client:
        await client.send(Event("transcript", {"text": text, "context": context}))
        answer = (await read_until(client, "handled", "error"))[-1]
    assert answer.type == "handled", answer.data
    return str(answer.data["text"])


async def ask_house(home: HomeAssistant, ask: Callable[[], Awaitable[str]]) -> str:
    """Ask for what the house understands, until it is asked to do it; the answer. A house has a quarter of a second to
    say that it understands, which a busy machine may miss."""
    answer = ""
    for _ in range(5):
        async with home.serving():
            answer = await ask()
        if home.of("perform"):
            break
    return answer


def told(model: FakeOllama, role: str) -> list[str]:
    """What the last chat's messages of a role say."""
    return [message["content"] for message in model.chats[-1]["messages"] if message["role"] == role]


async def asks_for_a_yes(home: HomeAssistant, model: FakeOllama) -> None:
    """A turn in the conversation `c` that reads what strangers wrote, and then wants to switch a lamp on."""
    model.will_answer(Call("web__read", {}))
    model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
    asked = await home.say(QUESTION, "asks", toolset=WITH_A_PAGE, conversation_id="c")
    assert "lamp" in asked["text"]
    assert asked["listen"] is True


def understands(message: Json) -> Json:
    """A Home Assistant that understands one sentence."""
    return {"understood": {"intent": "HassTurnOn"} if message["text"] == ON else None}


class TestConnection:
    async def test_the_welcome_says_what_the_status_says(self, home: HomeAssistant, served: ServerProcess) -> None:
        shown = await status(served)
        assert home.welcome == {
            "type": "welcome",
            "protocol": shown["house_protocol"],
            "version": __version__,
            "id": shown["id"],
            "wyoming_port": served.port,
            "satellites": [],
            "busy": False,
        }
        assert (shown["name"], shown["wyoming_port"], shown["house_protocol"]) == ("Larkhouse", served.port, 1)

    async def test_the_status_knows_who_is_connected(self, home: HomeAssistant, served: ServerProcess) -> None:
        await home.send("lend", names=["Lamp", "Fan"], toolset=TOOLS)
        await home.say("What time is it?")  # by now the server has read what came before
        (shown,) = (await status(served))["houses"]
        assert shown.pop("connected_seconds") >= 0
        assert shown == {"name": "Home", "version": "2026.11.0", "tools": 1, "names": 2}

    @pytest.mark.parametrize(
        ("hello", "code", "said"),
        [
            ({"protocol": 2}, 4406, "update this server"),
            ({"protocol": 0}, 4406, "update the integration"),
            ({"protocol": "x"}, 4400, "hello.protocol: "),
            ({"instance": "x" * 201}, 4400, "hello.instance: "),
            ({"type": "lend"}, 4400, "must be 'hello'"),
            ({"type": "dance"}, 4400, "must be 'hello'"),
            ({"type": 3}, 4400, "the message: "),
        ],
    )
    async def test_a_hello_that_is_none_is_refused(self, url: str, hello: Json, code: int, said: str) -> None:
        async with connected(url, hello) as home:
            assert home.welcome["type"] == "refused"
            assert said in home.welcome["text"]
            assert await home.closed() == code

    @pytest.mark.parametrize(
        ("message", "said"),
        [
            ("{", "not JSON"),
            ("[]", "the message: "),
            ("[" * 100_000, "not JSON"),
            ('{"type": "turn", "id": "\\ud800"}', "not JSON"),
            ("{}", "the message: "),
            ('{"type": "hello", "protocol": 1, "instance": "home"}', "said before"),
            ('{"type": "turn"}', "turn.id: "),
            (json.dumps({"type": "turn", "id": "t" * 201, "text": "x", "language": "en"}), "turn.id: "),
            ('{"type": "reply"}', "reply.to: "),
            (json.dumps({"type": "lend", "names": ["x"] * 2001}), "lend.names: "),
            (json.dumps({"type": "lend", "toolset": {"tools": [LIGHT] * 129}}), "lend.toolset.tools: "),
            (json.dumps({"type": "lend", "toolset": {"tools": [{"name": ""}]}}), "lend.toolset.tools.0.name: "),
            (b"\0", "binary"),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_a_message_that_is_none_is_refused(
        self, home: HomeAssistant, url: str, message: str | bytes, said: str
    ) -> None:
        if isinstance(message, bytes):
            await home.socket.send_bytes(message)
        else:
            await home.socket.send_str(message)
        assert await home.closed() == 4400
        (refused,) = home.of("refused")
        assert refused["code"] == "bad-message"
        assert said in refused["text"]
        async with connected(url) as again:
            assert again.welcome["type"] == "welcome"

    async def test_a_message_that_is_too_large_ends_the_connection(self, home: HomeAssistant) -> None:
        await home.send("lend", instructions="x" * (1 << 20))
        assert await home.closed() == 1009

    async def test_what_is_newer_than_the_server_is_let_pass(self, home: HomeAssistant) -> None:
        await home.send("dance", steps=3)
        await home.send("lend", names=["Lamp"], colour="blue")
        await home.send("reply", to=1_000_000)
        await home.send("cancel", id="no such turn")
        assert (await home.say("What is 2 plus 2?"))["text"] == "2 plus 2 is 4."

    @pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
    async def test_the_page_of_a_stranger_gets_nothing(self, url: str, headers: dict[str, str]) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url, headers=headers)
        assert refused.value.status == 403

    async def test_who_does_not_ask_for_a_web_socket_is_told(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 426
            assert "WebSocket" in (await answer.json())["error"]

    async def test_of_two_with_one_instance_the_newer_stays(
        self, home: HomeAssistant, url: str, served: ServerProcess
    ) -> None:
        await home.send("lend", names=["Lamp"])
        async with connected(url, names=["Fan"]) as newer:
            assert await home.closed() == 4409
            assert (await newer.say("What is 2 plus 2?"))["type"] == "turn-end"
            assert [house["names"] for house in (await status(served))["houses"]] == [1]

    async def test_a_ninth_is_one_too_many(self, url: str, served: ServerProcess) -> None:
        await alone(served)
        async with contextlib.AsyncExitStack() as staying:
            for number in range(8):
                home = await staying.enter_async_context(connected(url, {"instance": f"house {number}"}))
                assert home.welcome["type"] == "welcome"
            async with connected(url, {"instance": "one more"}) as ninth:
                assert ninth.welcome["code"] == "too-many"
                assert await ninth.closed() == 4429
            async with connected(url, {"instance": "house 3"}) as again:  # it takes the place of the one before
                assert again.welcome["type"] == "welcome"


class TestTurn:
    async def test_the_answer_comes_while_it_is_written(self, home: HomeAssistant, model: FakeOllama) -> None:
        heard = asyncio.Event()
        model.will_answer("Larks ", heard, "sing.")
        await home.send("turn", id="a", text=QUESTION, language="en")
        assert (await home.until("turn-delta"))["text"] == "Larks "
        heard.set()
        end = await home.until("turn-end")
        assert end == {"type": "turn-end", "id": "a", "text": "Larks sing.", "listen": False}
        assert "".join(delta["text"] for delta in home.of("turn-delta")) == end["text"]

    async def test_a_question_is_to_be_listened_to(self, home: HomeAssistant, model: FakeOllama) -> None:
        model.will_answer("Which of them?")
        assert (await home.say(QUESTION))["listen"] is True

    async def test_a_turn_is_told_of(self, home: HomeAssistant, model: FakeOllama) -> None:
        await home.say("What time is it?")
        await home.until("timeline") if not home.of("timeline") else None
        (timeline,) = home.of("timeline")
        assert (timeline["service"], timeline["outcome"], timeline["route"]) == ("handle", "completed", "skill/GetTime")
        assert set(timeline["stages_ms"]) <= {"endpoint", "transcript", "route", "first_token", "first_sentence"}
        assert [message["busy"] for message in home.of("busy")] == [True, False]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [({"text": "  "}, "no-text"), ({"language": "xx-nowhere"}, "unknown-language")],
    )
    async def test_what_cannot_be_answered_is_said(self, home: HomeAssistant, fields: Json, code: str) -> None:
        await home.send("turn", **{"id": "a", "text": QUESTION, "language": "en", **fields})
        error = await home.until("turn-error", "turn-end")
        assert (error["type"], error["id"], error["code"]) == ("turn-error", "a", code)
        assert error["text"]
        assert (await home.say("What time is it?"))["type"] == "turn-end"

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"text": "x" * 4001}, "turn.text: "),
            ({"language": "x" * 36}, "turn.language: "),
            ({"conversation_id": "x" * 201}, "turn.conversation_id: "),
            ({"toolset": {"tools": [{"name": ""}]}}, "turn.toolset.tools.0.name: "),
        ],
        ids=lambda value: str(value)[:20],
    )
    async def test_a_turn_with_a_mistake_ends_and_no_other_does(
        self, home: HomeAssistant, model: FakeOllama, fields: Json, said: str
    ) -> None:
        heard = asyncio.Event()
        model.will_answer("Larks ", heard, "sing.")
        await home.send("turn", id="good", text=QUESTION, language="en")
        await home.until("turn-delta")
        await home.send("turn", **{"id": "bad", "text": QUESTION, "language": "en", **fields})
        error = await home.until("turn-error")
        assert (error["id"], error["code"]) == ("bad", "bad-message")
        assert said in error["text"]
        heard.set()
        assert (await home.until("turn-end"))["text"] == "Larks sing."

    async def test_a_turn_with_a_mistake_and_the_name_of_another_is_refused(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        model.will_answer(asyncio.Event())
        for text in (QUESTION, "x" * 4001):
            await home.send("turn", id="a", text=text, language="en")
        assert await home.closed() == 4400

    async def test_without_its_model_it_says_so(self, home: HomeAssistant, model: FakeOllama) -> None:
        model.will_answer(Cut())
        model.will_answer(Cut())
        end = await home.say(QUESTION)
        assert "can't think right now" in end["text"]
        assert end["listen"] is False

    async def test_what_was_said_before_is_known(self, home: HomeAssistant, model: FakeOllama) -> None:
        past = [
            {"question": "Is the tea ready?", "answer": "Yes, it is.", "ours": True},
            {"question": "turn on the lamp", "answer": "Turned it on.", "ours": False},
        ]
        await home.say(QUESTION, conversation_id="before", history=past)
        assert told(model, "user")[:2] == ["Is the tea ready?", "turn on the lamp"]
        past += [
            {"question": QUESTION, "answer": "Certainly.", "ours": True},
            {"question": "turn it off", "answer": "Turned it off.", "ours": False},
        ]
        await home.say("Could you tell me more?", conversation_id="before", history=past)
        questions = [text.splitlines()[-1] for text in told(model, "user")]
        assert questions == [past["question"] for past in past] + ["Could you tell me more?"]

    async def test_the_owner_s_instructions_reach_the_model(self, home: HomeAssistant, model: FakeOllama) -> None:
        await home.say(QUESTION, toolset=TOOLS, instructions="Speak like a pirate.")
        (system,) = told(model, "system")
        assert "There is a lamp in the scullery.\n\nSpeak like a pirate." in system

    async def test_more_turns_than_anybody_speaks_at_once_are_busy(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        gate = asyncio.Event()
        for _ in range(16):
            model.will_answer(gate, "Done.")
        for number in range(17):
            await home.send("turn", id=str(number), text=QUESTION, language="en")
        error = await home.until("turn-error")
        assert (error["id"], error["code"]) == ("16", "busy")
        gate.set()
        ended = {(await home.until("turn-end"))["id"] for _ in range(16)}
        assert ended == {str(number) for number in range(16)}

    async def test_two_turns_of_one_name_are_a_mistake(self, home: HomeAssistant, model: FakeOllama) -> None:
        model.will_answer(asyncio.Event())
        for _ in range(2):
            await home.send("turn", id="a", text=QUESTION, language="en")
        assert await home.closed() == 4400

    async def test_cancelling_stops_the_model_and_nothing_comes_any_more(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        abandoned = model.abandoned
        model.will_answer("Larks ", asyncio.Event(), "sing.")
        await home.send("turn", id="a", text=QUESTION, language="en")
        await home.until("turn-delta")
        await home.send("cancel", id="a")
        await model.until(abandoned=abandoned + 1)
        assert (await home.say("What time is it?", "b"))["type"] == "turn-end"
        assert [message["type"] for message in home.seen if message.get("id") == "a"] == ["turn-delta"]

    async def test_a_disconnect_in_an_answer_leaves_nothing(
        self, url: str, model: FakeOllama, served: ServerProcess
    ) -> None:
        abandoned = model.abandoned
        async with connected(url) as home:
            model.will_answer("Larks ", asyncio.Event(), "sing.")
            await home.send("turn", id="a", text=QUESTION, language="en")
            await home.until("turn-delta")
        await model.until(abandoned=abandoned + 1)
        async with connected(url) as home:
            if home.welcome["busy"]:  # the end of the turn may take a moment
                await home.until("busy")
            assert len((await status(served))["houses"]) == 1


class TestTools:
    async def test_a_tool_of_the_house_runs_and_the_model_reads_its_result(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "The scullery lamp shines."}
        model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
        model.will_answer("It is bright now.")
        end = await home.say("Would you kindly give me some light?", toolset=TOOLS, room="scullery")
        assert end["text"] == "It is bright now."
        (tool,) = home.of("tool")
        assert (tool["turn"], tool["name"], tool["arguments"]) == ("t", "light__HassTurnOn", {"name": "lamp"})
        assert (tool["language"], tool["satellite"]) == ("en", "")
        assert "The scullery lamp shines." in told(model, "tool")[-1]
        offered = {tool["function"]["name"]: tool["function"] for tool in model.chats[-1]["tools"]}
        assert offered["light__HassTurnOn"]["parameters"] == LIGHT["parameters"]
        assert home.of("turn-tool", "turn-tool-result") == []

    @pytest.mark.parametrize(
        "reply",
        [{"failed": True, "text": "The fuse has blown"}, {"error": {"code": "x", "text": "The fuse has blown"}}],
    )
    async def test_a_tool_that_fails_is_told_to_the_model(
        self, home: HomeAssistant, model: FakeOllama, reply: Json
    ) -> None:
        home.answers["tool"] = lambda message: reply
        model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
        model.will_answer("That did not work.")
        assert (await home.say(QUESTION, toolset=TOOLS))["text"] == "That did not work."
        assert "It failed: The fuse has blown" in told(model, "tool")[-1]

    async def test_a_turn_without_tools_gets_none_of_the_house(self, home: HomeAssistant, model: FakeOllama) -> None:
        home.answers["recognize"] = understands
        await home.send("lend", sentences=True, toolset=TOOLS)
        await home.say(ON)
        assert "light__HassTurnOn" not in {tool["function"]["name"] for tool in model.chats[-1]["tools"]}
        assert home.of("recognize") == []

    async def test_tools_of_the_server_are_shown(self, home: HomeAssistant, model: FakeOllama) -> None:
        model.will_answer(Call("quick_answer", {"question": "what is 15 percent of 80"}))
        model.will_answer("It is twelve.")
        assert (await home.say(QUESTION))["text"] == "It is twelve."
        started, finished = home.of("turn-tool", "turn-tool-result")
        assert (started["name"], started["arguments"]) == ("quick_answer", {"question": "what is 15 percent of 80"})
        assert (finished["call"], finished["failed"]) == (started["call"], False)
        assert "12" in finished["text"]

    async def test_a_tool_of_the_house_with_the_name_of_one_of_ours_is_another(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "Theirs."}
        model.will_answer(Call("house_quick_answer", {}))
        model.will_answer("Done.")
        await home.say(QUESTION, toolset={"tools": [{"name": "quick_answer"}]})
        assert [tool["name"] for tool in home.of("tool", "turn-tool")] == ["quick_answer"]

    async def test_what_cannot_be_a_tool_name_or_a_schema_still_works(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "Done."}
        model.will_answer(Call("Küche___Licht", {}))
        model.will_answer(Call("K_che_Licht", {}))
        model.will_answer("Done.")
        await home.say(QUESTION, toolset={"tools": [{"name": "Küche.Licht", "parameters": {"type": "nonsense"}}]})
        assert [tool["name"] for tool in home.of("tool")] == ["Küche.Licht"]

    async def test_what_waited_for_a_yes_is_done_by_the_turn_of_the_yes(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": f"{message['name']} did it."}
        await asks_for_a_yes(home, model)
        model.will_answer("It is bright now.")
        yes = await home.say("Yes.", "yes", toolset=WITH_A_PAGE, conversation_id="c", language="en-GB")
        assert yes["text"] == "It is bright now."
        page, light = home.of("tool")
        assert (page["turn"], page["name"]) == ("asks", "web__read")
        assert (light["turn"], light["name"], light["arguments"]) == ("yes", "light__HassTurnOn", {"name": "lamp"})
        assert "light__HassTurnOn did it." in told(model, "tool")[-1]

    @pytest.mark.parametrize("toolset", [None, {"tools": [LIGHT | {"name": "light__HassTurnOff"}]}])
    async def test_what_the_turn_of_the_yes_does_not_lend_has_failed(
        self, home: HomeAssistant, model: FakeOllama, toolset: Json | None
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "Did it."}
        await asks_for_a_yes(home, model)
        model.will_answer("That was not possible.")
        yes = await home.say("Yes.", "yes", toolset=toolset, conversation_id="c")
        assert yes["text"] == "That was not possible."
        assert [tool["name"] for tool in home.of("tool")] == ["web__read"]
        assert "It failed: Home Assistant does not lend this tool any more" in told(model, "tool")[-1]

    async def test_after_the_yes_what_strangers_wrote_is_still_doubted(
        self, home: HomeAssistant, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "Did it."}
        await asks_for_a_yes(home, model)
        model.will_answer(Call("light__HassTurnOn", {"name": "oven"}))
        yes = await home.say("Yes.", "yes", toolset=WITH_A_PAGE, conversation_id="c")
        assert "oven" in yes["text"]
        assert yes["listen"] is True
        assert [tool["arguments"] for tool in home.of("tool")[1:]] == [{"name": "lamp"}]
        model.will_answer("Both are on.")
        assert (await home.say("Yes.", "again", toolset=WITH_A_PAGE, conversation_id="c"))["text"] == "Both are on."
        assert [tool["turn"] for tool in home.of("tool")] == ["asks", "yes", "again"]

    async def test_another_house_does_not_do_what_this_one_was_asked_for(
        self, home: HomeAssistant, url: str, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "Did it."}
        await asks_for_a_yes(home, model)
        model.will_answer("That was not possible.")
        async with connected(url, {"instance": "other"}) as other:
            await other.say("Yes.", "yes", toolset=WITH_A_PAGE, conversation_id="c")
            assert other.of("tool") == []
        assert "It failed: Home Assistant does not lend this tool any more" in told(model, "tool")[-1]

    async def test_a_house_that_has_come_again_does_what_it_was_asked_for(
        self, home: HomeAssistant, url: str, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "Did it."}
        await asks_for_a_yes(home, model)
        model.will_answer("It is bright now.")
        async with connected(url) as again:
            again.answers["tool"] = home.answers["tool"]
            await again.say("Yes.", "yes", toolset=WITH_A_PAGE, conversation_id="c")
            assert [tool["name"] for tool in again.of("tool")] == ["light__HassTurnOn"]

    async def test_cancelling_withdraws_a_tool(self, home: HomeAssistant, model: FakeOllama) -> None:
        model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
        await home.send("turn", id="a", text=QUESTION, language="en", toolset=TOOLS)
        asked = await home.until("tool")
        await home.send("cancel", id="a")
        assert (await home.until("withdraw"))["id"] == asked["id"]
        await home.send("reply", to=asked["id"], text="Too late.")
        assert (await home.say("What time is it?", "b"))["type"] == "turn-end"

    async def test_a_disconnect_in_a_tool_call_leaves_nothing(self, url: str, model: FakeOllama) -> None:
        chats = len(model.chats)
        async with connected(url) as home:
            model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
            await home.send("turn", id="a", text=QUESTION, language="en", toolset=TOOLS)
            await home.until("tool")
        async with connected(url) as home:
            if home.welcome["busy"]:
                await home.until("busy")
            assert (await home.say("What time is it?"))["type"] == "turn-end"
        assert len(model.chats) == chats + 1  # the model was not asked what came of it

    async def test_a_sentence_of_the_house_is_done_for_its_turn(self, home: HomeAssistant) -> None:
        home.answers |= {
            "recognize": understands,
            "perform": lambda message: {"understood": {"intent": "HassTurnOn"}, "text": "Turned it on."},
        }
        await home.send("lend", sentences=True)
        for _ in range(5):  # a busy machine may take longer than the quarter of a second that it has
            if (await home.say(ON, toolset=TOOLS))["text"] == "Turned it on.":
                break
        assert [(message["turn"], message["text"]) for message in home.of("perform")] == [("t", ON)]
        assert home.of("recognize")[-1]["turn"] == "t"


class TestSatellites:
    """Turns that did not come from Home Assistant, and may use its house."""

    async def test_a_sentence_is_done_with_the_satellite_s_room(
        self, home: HomeAssistant, served: ServerProcess
    ) -> None:
        home.answers |= {
            "recognize": understands,
            "perform": lambda message: {"understood": {"intent": "HassTurnOn"}, "text": "Turned it on."},
        }
        await home.send("lend", sentences=True, rooms={"kitchen": "Scullery"}, toolset=TOOLS)
        await home.say("What time is it?")
        answer = await ask_house(home, lambda: ask_wyoming(served, ON, satellite_id="kitchen", user_id="anna"))
        assert answer == "Turned it on."
        for message in home.of("recognize", "perform"):
            assert (message["turn"], message["text"], message["language"]) == (None, ON, "en")
            assert (message["satellite"], message["user"], message["room"]) == ("kitchen", "anna", "Scullery")

    async def test_what_is_understood_no_more_is_for_the_model(
        self, home: HomeAssistant, served: ServerProcess, model: FakeOllama
    ) -> None:
        """A device was renamed between the question and the action."""
        home.answers |= {"recognize": understands, "perform": lambda message: {}}
        await home.send("lend", sentences=True, toolset=TOOLS)
        await home.say("What time is it?")
        chats = len(model.chats)
        answer = await ask_house(home, lambda: ask_wyoming(served, ON))
        assert answer == "Certainly."
        assert len(model.chats) - chats == len(home.of("recognize"))

    async def test_a_sentence_that_fails_is_said_to_fail(self, home: HomeAssistant, served: ServerProcess) -> None:
        home.answers |= {
            "recognize": understands,
            "perform": lambda message: {"error": {"code": "x", "text": "The bulb is out"}},
        }
        await home.send("lend", sentences=True)
        await home.say("What time is it?")
        assert "didn't work" in await ask_house(home, lambda: ask_wyoming(served, ON))

    async def test_a_house_that_does_not_answer_is_not_waited_for(
        self, home: HomeAssistant, served: ServerProcess, model: FakeOllama
    ) -> None:
        await home.send("lend", sentences=True)
        await home.say("What time is it?")
        model.will_answer("I cannot.")
        asking = asyncio.create_task(ask_wyoming(served, ON))
        asked = await home.until("recognize")
        assert (await home.until("withdraw"))["id"] == asked["id"]
        assert await asking == "I cannot."

    async def test_the_model_uses_the_house_s_tools(
        self, home: HomeAssistant, served: ServerProcess, model: FakeOllama
    ) -> None:
        home.answers["tool"] = lambda message: {"text": "It shines."}
        await home.send("lend", rooms={"kitchen": "Scullery"}, toolset=TOOLS)
        await home.say("What time is it?")
        model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
        model.will_answer("It is bright now.")
        asking = asyncio.create_task(ask_wyoming(served, "Some light would be nice", satellite_id="kitchen"))
        tool = await home.until("tool")
        assert await asking == "It is bright now."
        assert (tool["turn"], tool["satellite"], tool["room"], tool["language"]) == (None, "kitchen", "Scullery", "en")
        assert "There is a lamp in the scullery." in told(model, "system")[0]

    async def test_a_house_that_goes_in_the_middle_is_a_failed_tool(
        self, url: str, served: ServerProcess, model: FakeOllama
    ) -> None:
        async with connected(url, toolset=TOOLS) as home:
            await home.say("What time is it?")
            model.will_answer(Call("light__HassTurnOn", {"name": "lamp"}))
            model.will_answer("Sorry, your home does not answer.")
            asking = asyncio.create_task(ask_wyoming(served, "Some light would be nice"))
            await home.until("tool")
        assert await asking == "Sorry, your home does not answer."
        assert "It failed: Home Assistant has gone" in told(model, "tool")[-1]
        await ask_wyoming(served, QUESTION)
        assert "light__HassTurnOn" not in {tool["function"]["name"] for tool in model.chats[-1]["tools"]}

    async def test_of_two_houses_the_newer_is_used_until_it_goes(
        self, home: HomeAssistant, url: str, served: ServerProcess, model: FakeOllama
    ) -> None:
        await home.send("lend", toolset=TOOLS)
        await home.say("What time is it?")
        other = {"instructions": "", "tools": [{**LIGHT, "name": "other_tool"}]}
        async with connected(url, {"instance": "other"}, toolset=other) as newer:
            await newer.say("What time is it?")
            await ask_wyoming(served, QUESTION)
            offered = {tool["function"]["name"] for tool in model.chats[-1]["tools"]}
            assert ("other_tool" in offered, "light__HassTurnOn" in offered) == (True, False)
        await alone(served, 1)
        await ask_wyoming(served, QUESTION)
        assert "light__HassTurnOn" in {tool["function"]["name"] for tool in model.chats[-1]["tools"]}

    async def test_speech_recognition_knows_the_names_of_the_house(
        self, home: HomeAssistant, served: ServerProcess, speaker: Speaker
    ) -> None:
        async def hear() -> str:
            async with served.client() as client:
                await client.send(Event("transcribe", {"language": "en"}))
                await send_audio(client, speaker.say("Turn on the Vellumby lamp."))
                return str((await read_until(client, "transcript"))[-1].data["text"])

        assert "Vellumby" not in await hear()
        await home.send("lend", names=["Vellumby"])
        await home.say("What time is it?")
        assert "Vellumby lamp" in await hear()

    async def test_their_turns_and_their_coming_are_told(self, home: HomeAssistant, served: ServerProcess) -> None:
        async with served.client() as client:
            await client.send(Event("satellite-connected", {"context": {"satellite_id": "hall"}}))
            assert (await home.until("satellites"))["satellites"] == [{"id": "hall", "room": "Hall"}]
            await ask_wyoming(served, "What time is it?", satellite_id="hall")
            timeline = await home.until("timeline")
            assert (timeline["service"], timeline["route"]) == ("handle", "skill/GetTime")
        assert (await home.until("satellites"))["satellites"] == []


class TestAnnouncements:
    async def test_a_timer_of_a_satellite_of_the_house_rings_there(self, home: HomeAssistant) -> None:
        await home.send("lend")
        await home.say("Set a timer for 1 second.", satellite="assist_satellite.porch")
        told = await home.until("announce")
        assert (told["satellite"], told["language"]) == ("assist_satellite.porch", "en")
        assert "timer" in told["text"]
        await home.send("turn", id="stop", text="Stop.", language="en", satellite="assist_satellite.porch")
        assert (await home.until("withdraw"))["id"] == told["id"]  # somebody has heard it: it is said no further
        await home.until("turn-end", where=lambda message: message["id"] == "stop")

    async def test_a_timer_of_no_place_is_shown_once(self, home: HomeAssistant) -> None:
        home.answers["announce"] = lambda message: {"heard": True}
        await home.send("lend")
        await home.say("Set a timer for 1 second.")
        assert (await home.until("announce"))["satellite"] == ""
        await home.say("Set a timer for 3 seconds.")  # by when the first one would have rung again
        await home.until("announce")
        assert len(home.of("announce")) == 2

    async def test_what_nobody_heard_is_told_when_the_house_comes(
        self, url: str, served: ServerProcess, home: HomeAssistant
    ) -> None:
        place = "assist_satellite.attic"
        home.answers["announce"] = lambda message: {"heard": False}
        await home.send("lend")
        await home.say("Remind me in 1 second to close the window.", satellite=place)
        assert (await home.until("announce"))["satellite"] == place
        await home.say("What time is it?")  # by now the server knows that nobody heard it
        async with connected(url, {"instance": "another"}) as newer:
            await newer.send("lend")
            assert "close the window" in (await newer.until("announce"))["text"]
            await newer.send("reply", to=newer.of("announce")[0]["id"], heard=True)
            await newer.say("What time is it?")
