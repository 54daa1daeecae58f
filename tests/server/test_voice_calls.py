"""Voice sessions that can be called: what rings there, is announced there, and who has a name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from wyoming.event import Event

from handlers.agent.schedule.entry import Heard
from handlers.pipeline import notices as notices_module
from handlers.pipeline.notices import Notices
from handlers.tts.piper import PiperSynthesizer
from server import announce_api
from server.voice_place import VoicePlace
from server.voice_protocol import Message, Noticed, NoticeEnd, NoticeMessage
from tests.server.test_pipeline import status
from tests.support.server import ServerProcess, read_until
from tests.support.talking import Talking
from tests.support.voice_client import ANSWER_SECONDS, Conversation, Json, VoiceClient, connected


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.http_port}"


@pytest.fixture
def name() -> str:
    """Of a place that no other test has."""
    return f"browser-{uuid4().hex[:8]}"


async def announce(url: str, satellites: list[str] | str, token: str = "") -> Json:
    body = {"text": "Dinner is ready.", "satellites": satellites}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(ANSWER_SECONDS)
    async with (
        aiohttp.ClientSession(url, timeout=timeout, headers=headers) as session,
        session.post(announce_api.PATH, json=body) as answer,
    ):
        found: Json = await answer.json()
        return found


async def hear(client: VoiceClient, url: str, name: str) -> Json:
    """Something is announced to a name, and this client hears it."""
    announcing = asyncio.create_task(announce(url, [name]))
    notice = await client.until("notice")
    await client.send("noticed", id=notice["id"], outcome="heard")
    assert await announcing == {"satellites": {name: "heard"}}
    return notice


@contextlib.asynccontextmanager
async def satellite(server: ServerProcess, name: str) -> AsyncIterator[Any]:
    async with server.client() as client:
        await client.send(Event("satellite-connected", {"context": {"satellite_id": name}}))
        await read_until(client, "ping")
        await listed(server, name, there=True)
        yield client
    await listed(server, name, there=False)


async def listed(server: ServerProcess, name: str, *, there: bool) -> None:
    """Wait until the status names a satellite, or does not."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while (name in str((await asyncio.to_thread(status, server))["satellites"])) is not there:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # it can only be asked


async def alone(server: ServerProcess, name: str) -> None:
    """Wait until there is one session of a name."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while str((await asyncio.to_thread(status, server))["voice_sessions"]).count(name) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # it can only be asked


async def no_timer(client: VoiceClient, timer: str) -> None:
    """Wait until a timer is over."""
    async with asyncio.timeout(ANSWER_SECONDS):
        answer = timer
        while timer in answer:
            await client.ask("What timers do I have?")
            answer = client.talk.of("handled")[-1]["text"]


async def test_a_timer_rings_until_it_is_stopped(url: str, name: str) -> None:
    talk = Conversation()
    async with connected(url, talk, name=name, calls=True) as client:
        await client.ask("Set a tea timer for 1 second.")
        first = await client.until("notice")
        assert "tea" in first["text"]
        assert (first["language"], first["chime"], first["rings"]) == ("en-US", True, True)
        await client.send("noticed", id="unknown", outcome="stopped")
        await client.send("noticed", id=first["id"], outcome="heard")
        second = await client.until("notice")
        assert second["text"] == first["text"]
        assert second["id"] != first["id"]
        await client.send("noticed", id=second["id"], outcome="stopped")
        await no_timer(client, "tea")
    assert len(talk.of("notice")) == 2
    assert not talk.of("notice_end")


async def test_the_text_of_a_notice_can_be_spoken(url: str, name: str) -> None:
    async with connected(url, name=name, calls=True) as client:
        notice = await hear(client, url, name)
        assert (notice["text"], notice["rings"]) == ("Dinner is ready.", False)
    said = {"text": notice["text"], "language": notice["language"]}
    async with aiohttp.ClientSession(url) as session, session.post("/api/v1/voice/synthesize", json=said) as answer:
        assert answer.status == 200
        assert len(await answer.read()) > 20_000


async def test_what_is_stopped_elsewhere_ends_here(url: str, name: str, server: ServerProcess) -> None:
    async with connected(url, name=name, calls=True) as client, server.client() as other:
        await client.ask("Set a rice timer for 1 second.")
        notice = await client.until("notice")
        context = {"conversation_id": name, "satellite_id": name}
        await other.send(Event("transcript", {"text": "Stop.", "context": context}))
        assert (await client.until("notice_end"))["id"] == notice["id"]
        await client.send("noticed", id=notice["id"], outcome="heard")  # too late
        await no_timer(client, "rice")


async def test_a_session_that_goes_on_gets_its_notice(url: str, name: str) -> None:
    talk = Conversation()
    async with connected(url, talk, name=name, calls=True) as client:
        client.drop()
    announcing = asyncio.create_task(announce(url, [name]))
    async with connected(url, talk) as client:
        assert client.ready["resumed"] is True
        notice = await client.until("notice")
        client.drop()
    talk.received -= 1  # as if it had not come
    async with connected(url, talk) as client:
        assert (await client.until("notice"))["id"] == notice["id"]
        await client.send("noticed", id=notice["id"], outcome="heard")
        assert await announcing == {"satellites": {name: "heard"}}


@pytest.mark.parametrize(("outcome", "told"), [("stopped", "stopped"), ("failed", "nobody")])
async def test_what_came_of_it(url: str, name: str, outcome: str, told: str) -> None:
    async with connected(url, name=name, calls=True) as client:
        announcing = asyncio.create_task(announce(url, [name]))
        await client.send("noticed", id=(await client.until("notice"))["id"], outcome=outcome)
        assert await announcing == {"satellites": {name: told}}


async def test_a_session_that_ends_heard_nothing(url: str, name: str) -> None:
    async with connected(url, name=name, calls=True) as client:
        announcing = asyncio.create_task(announce(url, [name]))
        await client.until("notice")
        await client.socket.close()
        assert await announcing == {"satellites": {name: "nobody"}}
    assert "No satellite" in (await announce(url, [name]))["error"]


async def test_the_newer_of_two_sessions_is_called_and_then_the_other_again(
    url: str, name: str, server: ServerProcess
) -> None:
    older, newer = Conversation(), Conversation()
    async with connected(url, older, name=name, calls=True) as one:
        async with connected(url, newer, name=name, calls=True) as other:
            await hear(other, url, name)
            await other.socket.close()
        await alone(server, name)
        await hear(one, url, name)
    assert len(older.of("notice")) == len(newer.of("notice")) == 1


async def test_a_newer_session_has_the_next_ring(url: str, name: str) -> None:
    """As when a page is loaded again."""
    async with connected(url, name=name, calls=True) as one:
        await one.ask("Set an egg timer for 1 second.")
        notice = await one.until("notice")
        async with connected(url, name=name, calls=True) as other:
            assert (await one.until("notice_end"))["id"] == notice["id"]
            again = await other.until("notice")
            assert again["text"] == notice["text"]
            await other.send("noticed", id=again["id"], outcome="stopped")
            await no_timer(other, "egg")


async def test_a_satellite_has_its_name_for_itself(url: str, name: str, server: ServerProcess) -> None:
    async with connected(url, name=name, calls=True) as client:
        async with satellite(server, name) as kitchen:  # it comes to a session of its name, and one comes to it
            async with connected(url, name=name, calls=True) as other:
                announcing = asyncio.create_task(announce(url, [name]))
                started = (await read_until(kitchen, "audio-stop"))[0]
                await kitchen.send(Event("played", {"notice": started.data["notice"]}))
                assert await announcing == {"satellites": {name: "heard"}}
                await other.socket.close()
            await alone(server, name)
        await hear(client, url, name)
        assert len(client.talk.of("notice")) == 1


async def test_a_session_is_no_satellite(url: str, name: str, server: ServerProcess) -> None:
    async with connected(url, name=name, calls=True), satellite(server, f"{name}-beside") as beside:
        assert name not in (await asyncio.to_thread(status, server))["satellites"]  # type: ignore[operator]
        announcing = asyncio.create_task(announce(url, "all"))
        started = (await read_until(beside, "audio-stop"))[0]
        await beside.send(Event("played", {"notice": started.data["notice"]}))
        assert name not in (await announcing)["satellites"]


@pytest.mark.parametrize(
    ("token", "calls", "named"), [("guest", True, True), ("admin", False, True), ("admin", True, False)]
)
async def test_who_cannot_be_called(house: Talking, name: str, token: str, calls: bool, named: bool) -> None:
    headers = {"Authorization": f"Bearer {house.tokens[token]}"}
    async with connected(house.address, headers=headers, name=name if named else "", calls=calls):
        assert "No satellite" in (await announce(house.address, [name], house.tokens["admin"]))["error"]


async def test_each_tenant_calls_its_own(house: Talking, name: str) -> None:
    headers = {"Authorization": f"Bearer {house.tokens['miller']}"}
    async with connected(house.address, headers=headers, name=name, calls=True) as client:
        assert "No satellite" in (await announce(house.address, [name], house.tokens["smith"]))["error"]
        announcing = asyncio.create_task(announce(house.address, [name], house.tokens["miller"]))
        await client.send("noticed", id=(await client.until("notice"))["id"], outcome="heard")
        assert await announcing == {"satellites": {name: "heard"}}


# The place by itself


class Page:
    """A place, and what its client is sent."""

    def __init__(self, notices: Notices) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.place = VoicePlace("page", self.sent.put_nowait)
        notices.enter("page", self.place)

    async def next(self) -> Message:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self.sent.get()

    async def notice(self) -> NoticeMessage:
        message = await self.next()
        assert isinstance(message, NoticeMessage)
        return message

    def noticed(self, notice: NoticeMessage, outcome: str) -> None:
        self.place.noticed(Noticed.model_validate({"type": "noticed", "id": notice.id, "outcome": outcome}))


@pytest.fixture
def notices(piper: PiperSynthesizer) -> Notices:
    return Notices(piper)


async def test_what_rings_is_stopped_in_the_pause(notices: Notices) -> None:
    page = Page(notices)
    ringing = asyncio.create_task(notices.say("page", "Hello.", "en", rings="tea"))
    notice = await page.notice()
    page.noticed(notice, "heard")
    assert await ringing is Heard.HEARD
    page.noticed(notice, "stopped")
    assert await notices.say("page", "Hello.", "en", rings="tea") is Heard.STOPPED
    assert page.sent.empty()
    other = asyncio.create_task(notices.say("page", "Hello.", "en", rings="rice"))
    page.noticed(await page.notice(), "heard")
    assert await other is Heard.HEARD


async def test_notices_come_one_after_another_and_not_too_many(notices: Notices) -> None:
    page = Page(notices)
    saying = [asyncio.create_task(notices.say("page", f"Number {number}.", "en")) for number in range(9)]
    first = await page.notice()
    done, _ = await asyncio.wait(saying, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [Heard.NOBODY]  # one more than may wait
    assert page.sent.empty()
    page.noticed(first, "heard")
    second = await page.notice()
    Page(notices)
    assert await page.next() == NoticeEnd(id=second.id)
    heard = await asyncio.gather(*saying)
    assert sorted(heard) == [*[Heard.NOBODY] * 8, Heard.HEARD]
    assert page.sent.empty()  # those that waited are not told where nobody is called


async def test_who_goes_while_a_notice_is_made_is_not_waited_for(notices: Notices) -> None:
    left = Page(notices)
    saying = asyncio.create_task(notices.say("page", "Hello.", "en"))
    await asyncio.sleep(0)  # it is under way
    there = Page(notices)
    there.noticed(await there.notice(), "heard")
    assert await saying is Heard.HEARD
    assert left.sent.empty()


async def test_who_never_answers_is_told_that_it_is_over(notices: Notices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices_module, "PLAYED_SECONDS", -0.5)
    page = Page(notices)
    saying = asyncio.create_task(notices.say("page", "Hello.", "en"))
    notice = await page.notice()
    assert await saying is Heard.NOBODY
    assert await page.next() == NoticeEnd(id=notice.id)


async def test_what_belongs_to_no_place_is_heard_here_too(notices: Notices) -> None:
    page = Page(notices)
    saying = asyncio.create_task(notices.say("", "Hej.", "sv"))
    notice = await page.notice()
    assert (notice.text, notice.language) == ("Hej.", "en-US")  # for there is no other voice
    page.noticed(notice, "heard")
    assert await saying is Heard.HEARD
    assert (notices.connected, notices.satellites) == (("page",), ())
