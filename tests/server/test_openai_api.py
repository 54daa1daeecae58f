"""The OpenAI shapes, as OpenAI's own client uses them, at a real server that asks for tokens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, RateLimitError

from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import AudioFormat, Converter, seconds, write_wav
from server.audio_file import decode
from tests.support.ollama import SOON, Call
from tests.support.server import ANSWER_SECONDS
from tests.support.speech import Speaker
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

SENTENCE = "Turn on the light in the kitchen."
LARKS: list[Any] = [{"role": "user", "content": "Would you tell me something about larks?"}]


def shows(house: Talking, token: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{house.address}/v1", api_key=token, max_retries=0, timeout=ANSWER_SECONDS)


@pytest_asyncio.fixture(loop_scope="session")
async def client(house: Talking) -> AsyncIterator[AsyncOpenAI]:
    house.begin_anew()
    async with shows(house, house.tokens["user"]) as client:
        yield client


@pytest.fixture
def recording(speaker: Speaker) -> tuple[str, bytes]:
    file = io.BytesIO()
    write_wav(file, speaker.say(SENTENCE))
    return "kitchen.wav", file.getvalue()


async def test_a_recording_becomes_text_in_every_form(client: AsyncOpenAI, recording: tuple[str, bytes]) -> None:
    hear = client.audio.transcriptions.create
    plain = await hear(file=recording, model="whisper-1", language="en", temperature=0.2)
    assert "light in the kitchen" in plain.text.lower()
    text: Any = await hear(file=recording, model="whisper-1", language="en", response_format="text")
    assert text.strip() == plain.text
    srt: Any = await hear(file=recording, model="whisper-base", language="en", response_format="srt")
    assert srt.startswith("1\n00:00:00,")
    assert " --> 00:00:0" in srt
    vtt: Any = await hear(file=recording, model="whisper-1", language="en", response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.")
    verbose = await hear(file=recording, model="whisper-1", language="en", response_format="verbose_json")
    assert (verbose.text, verbose.language, verbose.words) == (plain.text, "english", None)
    assert verbose.segments
    assert " ".join(segment.text for segment in verbose.segments) == plain.text
    assert verbose.duration == pytest.approx(seconds(decode(io.BytesIO(recording[1]), 60)), abs=0.01)
    timed = await hear(
        file=recording,
        model="whisper-1",
        language="en",
        response_format="verbose_json",
        timestamp_granularities=["word"],
        prompt="kitchen",
    )
    assert timed.segments is None
    assert timed.words
    assert [word.word.lower() for word in timed.words][:2] == ["turn", "on"]
    assert all(word.start <= word.end <= timed.duration + 0.1 for word in timed.words)


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_a_text_becomes_sound_in_every_form(client: AsyncOpenAI, whisper: WhisperTranscriber, kind: Any) -> None:
    """Streamed as the client's own examples do it."""
    async with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=SENTENCE, response_format=kind, instructions="Be kind."
    ) as answer:
        assert answer.headers["Content-Type"].startswith("audio/")
        assert "Content-Length" not in answer.headers
        sound = b"".join([piece async for piece in answer.iter_bytes()])
    if kind == "pcm":
        converter = Converter(AudioFormat(24_000))
        pcm = converter.convert(sound) + converter.flush()
    else:
        pcm = decode(io.BytesIO(sound), 60)
    assert "light in the kitchen" in (await whisper.transcribe(pcm, "en")).text.lower()


async def test_the_default_is_mp3_and_voices_have_names(client: AsyncOpenAI) -> None:
    sound = await client.audio.speech.create(model="en_US-joe-medium", voice="en_US-joe-medium", input="Hello.")
    assert sound.response.headers["Content-Type"] == "audio/mpeg"
    assert seconds(decode(io.BytesIO(sound.content), 60)) > 0.2


async def test_a_chat(client: AsyncOpenAI, house: Talking) -> None:
    house.ollama.will_answer("Larks sing ", "while they fly.")
    told = await client.chat.completions.create(
        model="meadowlark", messages=[{"role": "system", "content": "Rhyme."}, *LARKS], temperature=0, max_tokens=20
    )
    assert (told.choices[0].message.content, told.choices[0].finish_reason) == ("Larks sing while they fly.", "stop")
    assert told.usage is not None
    assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens > 10


async def test_a_chat_as_it_is_written(client: AsyncOpenAI, house: Talking) -> None:
    go_on = asyncio.Event()
    house.ollama.will_answer("Larks sing. ", go_on, "And they fly.")
    stream = await client.chat.completions.create(
        model="meadowlark", messages=LARKS, stream=True, stream_options={"include_usage": True}
    )
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            go_on.set()  # the first words are here before the model writes the others
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Larks sing. And they fly."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_chat_goes_on(client: AsyncOpenAI, house: Talking) -> None:
    """A client sends all of a chat each time. What goes on from an answer of ours may say yes to it."""
    house.ollama.will_answer(Call("sell_house"))
    chat: list[Any] = [{"role": "user", "content": "Would you please get rid of this building?"}]
    told = await client.chat.completions.create(model="meadowlark", messages=chat)
    assert told.choices[0].message.content == "Sell the house? Say yes to confirm."
    yes = [{"role": "user", "content": [{"type": "text", "text": "Yes."}]}]
    house.ollama.will_answer("What do you mean?")
    await client.chat.completions.create(model="meadowlark", messages=yes)  # type: ignore[arg-type]
    assert not (house.done / "sold").exists()  # it was said in another chat
    chat.append({"role": "assistant", "content": told.choices[0].message.content})
    house.ollama.will_answer("It is sold.")
    told = await client.chat.completions.create(model="meadowlark", messages=[*chat, *yes])
    assert told.choices[0].message.content == "It is sold."
    assert (house.done / "sold").exists()


async def test_two_chats_that_begin_alike_stay_apart(client: AsyncOpenAI, house: Talking) -> None:
    start: list[Any] = [{"role": "user", "content": "Shall we talk about boats, my friend?"}]
    house.ollama.will_answer("Gladly.")
    told = await client.chat.completions.create(model="meadowlark", messages=start)
    start.append({"role": "assistant", "content": told.choices[0].message.content})
    for said in ("What would the number 1234 mean on a bow, then?", "Which one would you like to sail in, then?"):
        house.ollama.will_answer("I see.")
        await client.chat.completions.create(model="meadowlark", messages=[*start, {"role": "user", "content": said}])
    other = house.ollama.chats[-1]["messages"]
    assert "Gladly." in str(other)
    assert "1234" not in str(other)


async def test_what_a_client_remembers_is_read(client: AsyncOpenAI, house: Talking) -> None:
    chat: list[Any] = [
        {"role": "user", "content": "My boat is called Lark, isn't that lovely?"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": "What would you paint on its bow, then?"},
    ]
    house.ollama.will_answer("Its name.")
    await client.chat.completions.create(model="meadowlark", messages=chat)
    messages = house.ollama.chats[-1]["messages"]
    assert [message["content"] for message in messages[1:3]] == [chat[0]["content"], "It is."]


async def test_guests_chat_and_do_not_act(house: Talking) -> None:
    async with shows(house, house.tokens["guest"]) as client:
        house.ollama.will_answer("Hello.")
        await client.chat.completions.create(model="meadowlark", messages=LARKS)
        assert "water_plants" not in json.dumps(house.ollama.chats[-1].get("tools", []))
        sound = await client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.", response_format="wav")
        assert sound.content[:4] == b"RIFF"


async def test_who_goes_ends_the_work(client: AsyncOpenAI, house: Talking) -> None:
    gone = house.ollama.abandoned
    house.ollama.will_answer("Once ", asyncio.Event())
    stream = await client.chat.completions.create(model="meadowlark", messages=LARKS, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await house.ollama.until(abandoned=gone + 1)
    async with asyncio.timeout(SOON):
        while not await there_is_room(client):
            pass


async def there_is_room(client: AsyncOpenAI) -> bool:
    with contextlib.suppress(RateLimitError):
        await client.chat.completions.create(
            model="meadowlark", messages=[{"role": "user", "content": "What time is it?"}]
        )
        return True
    return False


async def test_the_models(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["meadowlark", "whisper-base", "en_US-joe-medium"]
    assert (await client.models.retrieve("meadowlark")).owned_by == "meadowlark"
    assert (await client.models.retrieve("whisper-1")).object == "model"
    with pytest.raises(openai.NotFoundError) as refused:
        await client.models.retrieve("gpt-7")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools"),
        ({"n": 2}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "Rhyme."}]}, "messages"),
        ({"messages": [*LARKS, {"role": "assistant", "content": "Hm."}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages.0"),
        ({"messages": [{"role": "tool", "tool_call_id": "1", "content": "x"}]}, "messages.0"),
    ],
)
async def test_what_would_be_another_answer_is_refused(client: AsyncOpenAI, wanted: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**{"model": "meadowlark", "messages": LARKS, **wanted})
    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    assert "Meadowlark" not in str(refused.value)


async def test_mistakes_are_told_in_their_shape(
    client: AsyncOpenAI, house: Talking, recording: tuple[str, bytes]
) -> None:
    with pytest.raises(openai.NotFoundError, match="meadowlark") as unknown:
        await client.chat.completions.create(model="gpt-7", messages=LARKS)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="MP3"):
        await client.audio.transcriptions.create(file=("x.wav", b"no sound"), model="whisper-1")
    with pytest.raises(openai.BadRequestError, match="'xx'"):
        await client.audio.transcriptions.create(file=recording, model="whisper-1", language="xx")
    with pytest.raises(openai.BadRequestError, match="verbose_json"):
        await client.audio.transcriptions.create(file=recording, model="whisper-1", timestamp_granularities=["word"])
    with pytest.raises(openai.BadRequestError, match="stream"):
        await client.audio.transcriptions.create(file=recording, model="whisper-1", stream=True)
    with pytest.raises(openai.NotFoundError):
        await client.audio.transcriptions.create(file=recording, model="whisper-huge")
    with pytest.raises(openai.BadRequestError, match="speed"):
        await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.", speed=2)
    with pytest.raises(openai.BadRequestError, match="en_US-joe-medium"):
        await client.audio.speech.create(model="tts-1", voice="james", input="Hello.")
    with pytest.raises(openai.BadRequestError, match="empty"):
        await client.audio.speech.create(model="tts-1", voice="alloy", input=" ")
    with pytest.raises(openai.APIStatusError, match="8000") as long:
        await client.audio.speech.create(model="tts-1", voice="alloy", input="a" * 8001)
    assert long.value.status_code == 413
    with pytest.raises(openai.NotFoundError, match="nothing at this address"):
        await client.embeddings.create(model="meadowlark", input="x", encoding_format="float")
    async with shows(house, "wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.models.list()
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")


async def test_pages_of_strangers_get_nothing(house: Talking) -> None:
    async with httpx.AsyncClient(base_url=house.address) as client:
        headers = {"Authorization": f"Bearer {house.tokens['user']}", "Origin": "https://stranger.example"}
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/v1/audio/speech")):
            answer = await client.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
            answer = await client.request(method, path)
            assert answer.status_code == 401
