"""What goes wrong at home: after each fault the next turn works, without anybody touching anything."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.conftest import Assistant
from tests.e2e.support import assist
from tests.e2e.support.home_assistant import SOON, HomeAssistant, Json, until
from tests.e2e.support.house import LAMP
from tests.e2e.support.model import ScriptedModel
from tests.e2e.support.relay import Relay

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

QUESTION = "What do you think about the weather on Mars?"

LONG = "It is cold there and very dusty, so I would rather stay at home with you and a good book. "
"""Long enough that it is said before the rest is there."""


async def answers(home: HomeAssistant, assistant: Assistant) -> bool:
    """Whether a turn works."""
    async with assist.run(home, assistant.pipeline, text=QUESTION) as run:
        await run.finished()
    return not run.failed and run.answer == "Certainly."


async def switches(home: HomeAssistant, assistant: Assistant) -> bool:
    """Whether the server knows the house: what is said to it, not to Home Assistant, switches a lamp."""
    await home.service("input_boolean.turn_off", entity_id=LAMP)
    await home.respond("meadowlark.ask", text="Turn on the kitchen light", config_entry_id=assistant.entry)
    return await home.state(LAMP) == "on"


def yes(answer: bool) -> bool:
    return answer


async def test_a_server_that_is_killed_in_an_answer(
    home: HomeAssistant, assistant: Assistant, server: MeadowlarkServer, model: ScriptedModel
) -> None:
    never = asyncio.Event()
    model.will_answer(LONG, never)
    async with assist.run(home, assistant.pipeline, text=QUESTION) as run:
        async with asyncio.timeout(SOON):
            await run.speech.began.wait()
        await asyncio.to_thread(server.kill)
        await run.finished()
    assert run.failed or run.answer == LONG.strip()
    await until(lambda: home.state(assistant.entities["connected"]), lambda state: state == "off")
    async with assist.run(home, assistant.pipeline, text=QUESTION) as run:
        await run.finished()
    assert run.failed
    assert "Meadowlark" in run.answer  # which says what to look at
    await asyncio.to_thread(server.start)
    assert await until(lambda: answers(home, assistant), yes)
    assert await until(lambda: switches(home, assistant), yes)


async def test_home_assistant_is_restarted_in_a_turn(
    home: HomeAssistant, assistant: Assistant, model: ScriptedModel
) -> None:
    never = asyncio.Event()
    model.will_answer(LONG, never)
    async with assist.run(home, assistant.pipeline, text=QUESTION) as run:
        async with asyncio.timeout(SOON):
            await run.speech.began.wait()
        await home.restart()
    async with asyncio.timeout(SOON):
        await model.abandoned.wait()  # nobody works for an answer that nobody hears
    await until(lambda: home.state(assistant.entities["connected"]), lambda state: state == "on")
    assert await answers(home, assistant)
    assert await until(lambda: switches(home, assistant), yes)
    found = await home.call("assist_pipeline/pipeline/list")
    assert isinstance(found, dict)
    assert found["preferred_pipeline"] == assistant.pipeline
    assert [pipeline["name"] for pipeline in objects(found["pipelines"])].count("Meadowlark") == 1


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> AsyncIterator[MeadowlarkServer]:
    """Another server, on the network: it asks for a token."""
    server = MeadowlarkServer(
        tmp_path_factory.mktemp("guarded"),
        ["--lan"],
        {
            "MEADOWLARK_AGENT__OLLAMA__URL": model.url,
            "MEADOWLARK_AGENT__ORDER": '["ollama"]',
            "MEADOWLARK_DISCOVERY__ANNOUNCE": "off",
        },
    )
    with contextlib.ExitStack() as stack:
        stack.push(server)
        await asyncio.to_thread(server.start)
        yield server


async def test_a_token_and_another_server_at_the_address(
    home: HomeAssistant, assistant: Assistant, server: MeadowlarkServer, guarded: MeadowlarkServer
) -> None:
    async with Relay(guarded.http_port) as address:
        where: dict[str, Json] = {"host": address.host, "port": address.port, "preferred": False}
        form = await home.set_up("meadowlark", {**where, "token": "wrong"})
        assert (form["type"], form["errors"]) == ("form", {"token": "invalid_auth"})
        step = await home.answer(form, {**where, "token": guarded.token})
        assert step["type"] == "create_entry", step
        made = step["result"]
        assert isinstance(made, dict)
        entry = str(made["entry_id"])
        second = await home.entities("meadowlark", entry)
        await until(lambda: home.state(second["connected"]), lambda state: state == "on")

        address.target = server.http_port  # the first server has got its address
        address.cut()
        issue = (await until(lambda: home.issues("meadowlark"), lambda found: len(found) == 1))[0]
        assert issue["translation_key"] == "other_server"
        assert await answers(home, assistant)

        address.target = guarded.http_port
        address.cut()
        await home.post(f"/api/config/config_entries/entry/{entry}/reload")
        await until(lambda: home.state(second["connected"]), lambda state: state == "on")
        assert await home.issues("meadowlark") == []

        await asyncio.to_thread(guarded.stop)
        (guarded.data_dir / "http-token").write_text("another-token-of-many-letters\n")
        await asyncio.to_thread(guarded.start)
        flow = (await until(lambda: home.flows("meadowlark"), lambda found: len(found) == 1))[0]
        form = await home.form(flow)
        assert form["step_id"] == "reauth_confirm"
        step = await home.answer(form, {"token": "another-token-of-many-letters"})
        assert (step["type"], step["reason"]) == ("abort", "reauth_successful")
        await until(lambda: home.state(second["connected"]), lambda state: state == "on")
        await home.delete(f"/api/config/config_entries/entry/{entry}")
    found = await home.call("assist_pipeline/pipeline/list")
    assert isinstance(found, dict)
    assert not {pipeline["tts_engine"] for pipeline in objects(found["pipelines"])} & set(second.values())


async def test_the_log_has_nothing_that_nobody_can_act_on(home: HomeAssistant, assistant: Assistant) -> None:
    """The last of all tests."""
    lines = re.findall(r"^\S+ \S+ (?:ERROR|CRITICAL) .*(?:\n(?!\d{4}-).*)*", home.log, re.MULTILINE)
    assert [line for line in lines if "meadowlark" in line and "components.wyoming" not in line] == []
    assert "Detected blocking call" not in home.log


def objects(value: Json) -> list[Mapping[str, Json]]:
    """The objects of a list; none where there is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
