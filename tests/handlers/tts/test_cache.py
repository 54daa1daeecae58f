"""The cache of spoken replies around the real Piper, with and without a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import EngineError, SettingsError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.tts.cache import CachedSynthesizer
from handlers.tts.piper import PiperSynthesizer
from handlers.tts.stage import TtsSettings, VoiceChoice

SOON = 60.0
"""A deadline that only a defect reaches."""

MODERATE = "The kitchen light is on, the door is locked, and nobody is at home."
"""Just short enough to be kept: some 150 kB."""


@pytest.fixture(scope="module")
def joe(store: ModelStore) -> Path:
    return store.locate("en_US-joe-medium", ModelKind.TTS)


@pytest.fixture(scope="module")
def cpu() -> Cpu:
    """One core, so that the order of work is known."""
    return Cpu(1)


@pytest.fixture(scope="module")
def engine(joe: Path, tmp_path_factory: pytest.TempPathFactory, cpu: Cpu) -> PiperSynthesizer:
    """Joe under two names."""
    twin = tmp_path_factory.mktemp("voices") / "en_GB-joseph-medium.onnx"
    twin.symlink_to(joe)
    twin.with_name(twin.name + ".json").symlink_to(joe.with_name(joe.name + ".json"))
    return PiperSynthesizer({"en_US-joe-medium": joe, "en_GB-joseph-medium": twin}, TtsSettings(), cpu)


@pytest.fixture
def cached(engine: PiperSynthesizer) -> CachedSynthesizer:
    return CachedSynthesizer(engine, TtsSettings())


async def spoken(cached: CachedSynthesizer, text: str, choice: VoiceChoice | None = None) -> bytes:
    async with asyncio.timeout(SOON):
        return b"".join([piece async for piece in cached.synthesize(text, choice or cached.choose())])


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 -- a state of the code under test, which has no event for it
            await asyncio.sleep(0)


async def ended(task: asyncio.Task[bytes]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_second_time_it_takes_no_slot(cached: CachedSynthesizer, cpu: Cpu) -> None:
    first = await spoken(cached, "Done.")
    async with cpu.slot(Ticket(Urgency.VOICE)):  # the only one
        assert await spoken(cached, "Done.") == first  # Piper never says a thing twice alike
    assert (cached.hits, cached.misses) == (1, 1)
    assert len(first) <= cached.bytes < len(first) + 1000


async def test_it_comes_in_pieces_as_from_the_engine(cached: CachedSynthesizer) -> None:
    for _ in range(2):
        lengths = [len(piece) async for piece in cached.synthesize("Done.", cached.choose())]
        assert set(lengths[:-1]) == {4096}


async def test_spaces_make_no_difference_but_voices_do(cached: CachedSynthesizer) -> None:
    joe = await spoken(cached, "It's 4:48 AM.")
    assert await spoken(cached, "  It's 4:48\n AM. ") == joe
    assert await spoken(cached, "It's 4:48 AM.", cached.choose("en_GB-joseph-medium")) != joe
    assert (cached.hits, cached.misses) == (1, 2)


async def test_long_texts_are_not_kept(engine: PiperSynthesizer) -> None:
    cached = CachedSynthesizer(engine, TtsSettings(cache_characters=10))
    for text, kept in (("Ten chars.", True), ("Eleven char", False)):
        assert (await spoken(cached, text) == await spoken(cached, text)) == kept
    assert (cached.hits, cached.misses) == (1, 1)


async def test_what_was_unused_for_longest_goes_first(engine: PiperSynthesizer) -> None:
    cached = CachedSynthesizer(engine, TtsSettings(cache_mb=1))
    first = await spoken(cached, f"{MODERATE} 0")
    second = await spoken(cached, f"{MODERATE} 1")
    for number in range(2, 8):
        assert await spoken(cached, f"{MODERATE} 0") == first  # used again and again
        await spoken(cached, f"{MODERATE} {number}")
        assert cached.bytes <= 1_000_000
    assert await spoken(cached, f"{MODERATE} 0") == first
    assert await spoken(cached, f"{MODERATE} 1") != second


async def test_texts_without_sound_are_bounded_too(engine: PiperSynthesizer) -> None:
    cached = CachedSynthesizer(engine, TtsSettings())
    for text in (".", "..", "..."):
        assert await spoken(cached, text) == b""
    assert cached.bytes > 3 * 100


async def test_zero_keeps_nothing(engine: PiperSynthesizer) -> None:
    cached = CachedSynthesizer(engine, TtsSettings(cache_mb=0))
    assert await spoken(cached, "Done.") != await spoken(cached, "Done.")
    await cached.prepare("Done.", cached.choose())
    assert (cached.hits, cached.misses, cached.bytes) == (0, 0, 0)


async def test_the_same_at_the_same_time_is_made_once(cached: CachedSynthesizer) -> None:
    answers = await asyncio.gather(*(spoken(cached, "Okay.") for _ in range(10)))
    assert len(set(answers)) == 1
    assert (cached.hits, cached.misses) == (9, 1)
    assert not cached._making


async def test_when_the_first_is_cancelled_the_others_get_it(cached: CachedSynthesizer, cpu: Cpu) -> None:
    async with cpu.slot(Ticket(Urgency.VOICE)):
        first, second = (asyncio.create_task(spoken(cached, "Okay.")) for _ in range(2))
        await until(lambda: cpu.waiting == 1)
        await ended(first)
    assert await second
    assert cached.misses == 1


async def test_what_was_cancelled_is_not_kept(cached: CachedSynthesizer, cpu: Cpu) -> None:
    """Neither while it waits nor in the middle of a sentence; and whoever comes in that moment begins anew."""
    async with cpu.slot(Ticket(Urgency.VOICE)):
        tasks = [asyncio.create_task(spoken(cached, MODERATE)) for _ in range(2)]
        await until(lambda: cpu.waiting == 1)
        for task in tasks:
            await ended(task)
        assert cpu.waiting == 0
    task = asyncio.create_task(spoken(cached, MODERATE))
    await until(lambda: cpu._free == 0)
    task.cancel()
    newcomer = asyncio.create_task(spoken(cached, MODERATE))
    await ended(task)
    assert cached.bytes == 0
    assert await newcomer
    assert cached.bytes > 100_000


async def test_a_failure_is_not_kept(joe: Path) -> None:
    engine = PiperSynthesizer({"en_US-joe-medium": joe}, TtsSettings(), Cpu(1))
    cached = CachedSynthesizer(engine, TtsSettings())
    kept = await spoken(cached, "Okay.")
    await cached.close()
    failures = await asyncio.gather(*(spoken(cached, "Done.") for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [EngineError] * 3
    assert await spoken(cached, "Okay.") == kept
    assert not cached._making


async def test_a_listener_raises_what_was_prepared_for_later(
    engine: PiperSynthesizer, cached: CachedSynthesizer, cpu: Cpu
) -> None:
    order: list[str] = []

    async def note(name: str, work: asyncio.Task[None] | asyncio.Task[bytes]) -> None:
        await work
        order.append(name)

    async def other() -> None:
        async for _ in engine.synthesize(MODERATE, engine.choose(), Ticket(Urgency.FINAL)):
            pass

    async with asyncio.timeout(SOON), asyncio.TaskGroup() as group, cpu.slot(Ticket(Urgency.VOICE)):
        prepared = asyncio.create_task(cached.prepare("Done.", cached.choose()))
        await until(lambda: cpu.waiting == 1)
        group.create_task(note("other", asyncio.create_task(other())))
        await until(lambda: cpu.waiting == 2)
        group.create_task(note("listener", asyncio.create_task(spoken(cached, "Done."))))
        await until(lambda: cached.hits == 1)
    await prepared
    assert order == ["listener", "other"]


async def test_nothing_is_prepared_while_many_wait(cached: CachedSynthesizer, cpu: Cpu) -> None:
    async with cpu.slot(Ticket(Urgency.VOICE)):
        tasks = [asyncio.create_task(spoken(cached, f"{number}.")) for number in range(4)]
        await until(lambda: cpu.waiting == 4)
        await cached.prepare("Done.", cached.choose())  # at once
    await asyncio.gather(*tasks)
    before = cached.misses
    await cached.prepare("Done.", cached.choose())
    assert cached.misses == before + 1
    assert await spoken(cached, "Done.")
    assert cached.hits == 1


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis on a free port, that keeps nothing on disk."""
    if (program := shutil.which("redis-server")) is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any("ready to accept connections" in line.lower() for line in process.stdout)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.communicate(timeout=SOON)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of it; it is empty."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


async def only_name(redis: Redis) -> str:
    """The name of the only value that is there."""
    (name,) = await redis.keys("*")
    return name if isinstance(name, str) else name.decode()


@contextlib.asynccontextmanager
async def sharing(engine: PiperSynthesizer, url: str) -> AsyncIterator[CachedSynthesizer]:
    """A server that shares its replies. Leaves the engine open."""
    cached = CachedSynthesizer(engine, TtsSettings(cache_redis=url))
    assert cached._shared is not None
    try:
        yield cached
        await until(lambda: cached._shared is None or not cached._shared._writes)
    finally:
        await cached._shared.close()


async def test_servers_share_their_replies(engine: PiperSynthesizer, redis_url: str, redis: Redis) -> None:
    async with sharing(engine, redis_url) as one:
        pcm = await spoken(one, "It's 4:48 AM.")
        assert (one.hits, one.misses) == (0, 1)
    async with sharing(engine, redis_url) as other:
        assert await spoken(other, "It's 4:48 AM.") == pcm
        assert (other.hits, other.shared_hits, other.misses) == (1, 1, 0)
        await redis.flushall()
        assert await spoken(other, "It's 4:48 AM.") == pcm  # from memory
        assert (other.hits, other.shared_hits, other.misses) == (2, 1, 0)


async def test_what_lies_in_redis_goes_after_a_week_and_has_no_words(
    engine: PiperSynthesizer, redis_url: str, redis: Redis
) -> None:
    async with sharing(engine, redis_url) as cached:
        await spoken(cached, "Good night, Anna.")
    name = await only_name(redis)
    assert name.startswith("meadowlark:tts:")
    assert "Anna" not in name
    assert 6 * 24 * 3600 < await redis.ttl(name) <= 7 * 24 * 3600


@pytest.mark.parametrize("value", [b"", b"odd", b"\0" * 2_000_002])
async def test_a_value_that_is_no_audio_is_left_alone(
    engine: PiperSynthesizer, redis_url: str, redis: Redis, value: bytes
) -> None:
    async with sharing(engine, redis_url) as one:
        pcm = await spoken(one, "Done.")
    name = await only_name(redis)
    await redis.set(name, value)
    async with sharing(engine, redis_url) as other:
        assert len(await spoken(other, "Done.")) > 10_000
        assert (other.shared_hits, other.misses) == (0, 1)
    assert await redis.get(name) not in (value, pcm)  # mended


async def test_a_redis_that_answers_with_an_error_costs_one_line(
    engine: PiperSynthesizer, redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing(engine, redis_url) as one:
        await spoken(one, "Done.")
    name = await only_name(redis)
    await redis.delete(name)
    await redis.lpush(name, "a list")
    async with sharing(engine, redis_url) as other:
        assert await spoken(other, "Done.")
        assert other.misses == 1
    assert ["WRONGTYPE" in record.message for record in caplog.records if "Redis" in record.message] == [True]


@pytest.mark.parametrize("answers", [False, True])
async def test_without_its_redis_the_server_goes_on(
    engine: PiperSynthesizer, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    """Nobody listens; and somebody who takes the connection but never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://:secret@127.0.0.1:{listener.getsockname()[1]}"
        if not answers:
            listener.close()
        cached = CachedSynthesizer(engine, TtsSettings(cache_redis=url))
        assert cached._shared is not None
        for text in ("One.", "Two.", "Three."):
            assert await spoken(cached, text)
        assert cached.misses == 3
        assert cached._shared._again_at > 0  # it is not asked again for a while
        await cached._shared.close()
        assert not cached._shared._writes
    lines = [record.getMessage() for record in caplog.records if "Redis" in record.getMessage()]
    assert len(lines) == 1
    assert "secret" not in lines[0]


async def test_a_redis_that_comes_back_is_used_again(engine: PiperSynthesizer, redis_url: str, redis: Redis) -> None:
    async with sharing(engine, redis_url) as cached:
        assert cached._shared is not None
        cached._shared._failed(ConnectionError("away"))
        await spoken(cached, "Done.")  # not read, but written: so it is back
        await until(lambda: cached._shared is not None and not cached._shared._writes)
        name = await only_name(redis)
        digest = name.rpartition(":")[2]
        assert await cached._shared.get(digest) == await redis.get(name)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://"])
def test_what_is_no_address_is_refused_by_the_settings(url: str) -> None:
    with pytest.raises(ValidationError, match="cache_redis"):
        TtsSettings(cache_redis=url)


@pytest.mark.parametrize("url", ["redis://localhost:six", "redis://localhost?unknown=5"])
def test_what_redis_does_not_understand_is_said(engine: PiperSynthesizer, url: str) -> None:
    with pytest.raises(SettingsError, match=r"tts\.cache_redis .* redis://HOST:PORT"):
        CachedSynthesizer(engine, TtsSettings(cache_redis=url))


def test_the_client_is_asked_for_only_when_it_is_wanted() -> None:
    """Without the extra the cache works; with the setting, the missing extra is named."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "import handlers.tts.cache\n"
        "try:\n import handlers.tts.redis_cache\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SOON, check=True)
    assert run.stdout.startswith("MissingExtraError")
    assert "'redis'" in run.stdout
