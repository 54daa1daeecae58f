"""A run of an Assist pipeline, as a browser or a satellite has one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field

import aiohttp

from tests.e2e.support.home_assistant import SOON, HomeAssistant, Json, Subscription
from tests.e2e.support.speech import RATE

CHUNK_SECONDS = 0.03
"""Of audio in one message, as satellites send it."""

HEADER_BYTES = 512
"""More than a WAV or MP3 file has before its first sample."""


@dataclass(frozen=True)
class Happening:
    """An event of the run."""

    type: str
    data: Mapping[str, Json]


@dataclass
class Speech:
    """The spoken answer while it is fetched."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    """The first sample has come."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    file: bytearray = field(default_factory=bytearray)
    """What has come, in the format of the run."""

    async def fetch(self, home: HomeAssistant, url: str) -> None:
        try:
            async with home.stream(url) as body:
                async for piece in body.iter_any():
                    self.file += piece
                    if len(self.file) > HEADER_BYTES:
                        self.began.set()
        except aiohttp.ClientError:
            pass  # what came until then tells the test enough
        finally:
            self.ended.set()


class Run:
    """What happens in a run, and what is heard of it."""

    def __init__(self, home: HomeAssistant, subscription: Subscription) -> None:
        self.happenings: list[Happening] = []
        self.speech = Speech()
        self.deaf = asyncio.Event()
        """Nobody listens any more: speech has become text, or nothing will."""
        self._home = home
        self._subscription = subscription
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def types(self) -> list[str]:
        return [happening.type for happening in self.happenings]

    async def until(self, type_: str) -> Mapping[str, Json]:
        """The data of the first such event. Fails when the run ends without it."""
        async with asyncio.timeout(SOON), self._news:
            await self._news.wait_for(lambda: {type_, "run-end", "error", "gone"} & set(self.types))
        found = next((happening.data for happening in self.happenings if happening.type == type_), None)
        assert found is not None, self.happenings
        return found

    async def finished(self) -> None:
        """Wait for the end of the run and of what is heard."""
        await self.until("run-end")
        if "tts-start" in self.types:
            async with asyncio.timeout(SOON):
                await self.speech.ended.wait()

    @property
    def heard(self) -> str:
        """The transcript."""
        return str(_at(self._data("stt-end"), "stt_output", "text"))

    @property
    def answer(self) -> str:
        """What is said."""
        return str(_at(self._data("intent-end"), "intent_output", "response", "speech", "plain", "speech"))

    @property
    def failed(self) -> bool:
        """Whether what is said is that it did not work."""
        return _at(self._data("intent-end"), "intent_output", "response", "response_type") == "error"

    @property
    def locally(self) -> bool:
        """Whether Home Assistant understood the sentence itself."""
        return bool(self._data("intent-end")["processed_locally"])

    @property
    def continues(self) -> bool:
        """Whether the microphone is to be opened again."""
        return bool(_at(self._data("intent-end"), "intent_output", "continue_conversation"))

    @property
    def conversation(self) -> str:
        return str(_at(self._data("intent-end"), "intent_output", "conversation_id"))

    @property
    def deltas(self) -> list[Mapping[str, Json]]:
        """Of the chat log."""
        return [
            delta
            for happening in self.happenings
            if happening.type == "intent-progress" and isinstance(delta := happening.data.get("chat_log_delta"), dict)
        ]

    def _data(self, type_: str) -> Mapping[str, Json]:
        return next(happening.data for happening in self.happenings if happening.type == type_)

    async def follow(self) -> None:
        """Collect what happens until the run ends; fetch the speech as soon as it has an address."""
        while (event := await self._subscription.event()) is not None:
            data = event["data"] if isinstance(event["data"], dict) else {}
            happening = Happening(str(event["type"]), data)
            if happening.type == "run-start" and "tts_output" in data:
                self.begin(self.speech.fetch(self._home, str(_at(data, "tts_output", "url"))))
            if happening.type in ("stt-end", "error", "run-end"):
                self.deaf.set()
            await self._add(happening)
            if happening.type == "run-end":
                return
        self.deaf.set()
        await self._add(Happening("gone", {}))

    async def speak(self, audio: bytes) -> None:
        """What the microphone hears: speech in real time, then silence for as long as anybody listens."""
        handler = int(str(_at(await self.until("run-start"), "runner_data", "stt_binary_handler_id")))
        size = 2 * int(RATE * CHUNK_SECONDS)
        loop = asyncio.get_running_loop()
        begun, position = loop.time(), 0
        while not self.deaf.is_set():
            piece = audio[position : position + size]
            await self._home.connection.send_audio(handler, piece + bytes(size - len(piece)))
            position += size
            await asyncio.sleep(max(0.0, begun + position / (2 * RATE) - loop.time()))

    async def _add(self, happening: Happening) -> None:
        async with self._news:
            self.happenings.append(happening)
            self._news.notify_all()

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside until the run is closed."""
        self._tasks.append(asyncio.create_task(work))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def run(
    home: HomeAssistant,
    pipeline: str,
    *,
    audio: bytes = b"",
    text: str = "",
    start: str = "stt",
    end: str = "tts",
    conversation: str | None = None,
    device: str | None = None,
) -> AsyncIterator[Run]:
    """Run a pipeline with speech, or with a text, which starts it at `intent`."""
    given: dict[str, Json] = {"text": text} if text else {"sample_rate": RATE}
    if start == "wake_word":
        given["timeout"] = SOON
    subscription = await home.connection.subscribe(
        "assist_pipeline/run",
        pipeline=pipeline,
        start_stage="intent" if text else start,
        end_stage=end,
        input=given,
        conversation_id=conversation,
        device_id=device,
    )
    one = Run(home, subscription)
    one.begin(one.follow())
    if audio:
        one.begin(one.speak(audio))
    try:
        yield one
    finally:
        await one.close()


def _at(data: Mapping[str, Json], *keys: str) -> Json:
    """What lies at the end of a path of keys."""
    found: Json = dict(data)
    for key in keys:
        assert isinstance(found, dict), data
        found = found[key]
    return found
