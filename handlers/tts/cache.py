"""Short replies that were spoken before: kept, so that "Done." costs nothing the second time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import astuple, dataclass

from handlers.audio import AudioFormat
from handlers.cpu import Ticket, Urgency
from handlers.errors import BusyError
from handlers.tts.stage import Synthesizer, TtsSettings, Voice, VoiceChoice, pieces

_ENTRY_BYTES = 512
"""What an entry costs beside its audio, so that those without any are bounded too."""


class CachedSynthesizer:
    """A synthesizer that remembers the audio of short texts, the least recently used going first.

    A text that several ask for at the same time is synthesised once. A reply from the cache takes no slot of the
    processor.
    """

    def __init__(self, engine: Synthesizer, settings: TtsSettings) -> None:
        """Owns `engine`. Raises MissingExtraError or SettingsError for a Redis that cannot be used."""
        self._engine = engine
        self._speed = settings.speed
        self._room = settings.cache_mb * 1_000_000
        self._longest = settings.cache_characters
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._making: dict[_Key, _Making] = {}
        self._shared = None
        if settings.cache_redis and self._room:
            from handlers.tts.redis_cache import RedisCache

            self._shared = RedisCache(settings.cache_redis)
        self.hits = 0
        """Short replies for which nothing had to be synthesised."""
        self.shared_hits = 0
        """Those of them that came from Redis."""
        self.misses = 0
        """Short replies that had to be synthesised."""
        self.bytes = 0
        """Memory in use."""

    @property
    def voices(self) -> Sequence[Voice]:
        return self._engine.voices

    def choose(self, name: str | None = None, language: str | None = None, speaker: str | None = None) -> VoiceChoice:
        return self._engine.choose(name, language, speaker)

    def format(self, choice: VoiceChoice) -> AudioFormat:
        return self._engine.format(choice)

    async def synthesize(
        self, text: str, choice: VoiceChoice, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        key = self._key(text, choice)
        if key is None:
            async with contextlib.aclosing(self._engine.synthesize(text, choice, ticket)) as audio:
                async for piece in audio:
                    yield piece
            return
        pcm = self._kept.get(key)
        if pcm is None:
            pcm = await self._make_once(key, choice, ticket or Ticket(Urgency.VOICE))
        else:
            self._kept.move_to_end(key)
            self.hits += 1
        for piece in pieces(pcm):
            yield piece

    async def prepare(self, text: str, choice: VoiceChoice) -> None:
        """Fill the cache with a text that will be wanted, when nobody needs the processor for anything better."""
        key = self._key(text, choice)
        if key is None or key in self._kept:
            return
        with contextlib.suppress(BusyError):  # its first use will fill it
            await self._make_once(key, choice, Ticket(Urgency.GUESS))

    async def close(self) -> None:
        """Drop what is being made, and close the engine."""
        tasks = [making.task for making in self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()
        await self._engine.close()

    def _key(self, text: str, choice: VoiceChoice) -> _Key | None:
        """None for what is not kept."""
        plain = " ".join(text.split())
        if not self._room or len(plain) > self._longest:
            return None
        return _Key(choice.voice.name, choice.speaker, self._speed, self.format(choice), plain)

    async def _make_once(self, key: _Key, choice: VoiceChoice, ticket: Ticket) -> bytes:
        """The audio of a text, made by a task that all who want it now wait for; the last to go cancels it."""
        making = self._making.get(key)
        if making is None:
            shared = Ticket(Urgency.GUESS)
            making = _Making(shared, asyncio.create_task(self._make(key, choice, shared), name="tts-cache"))
            self._making[key] = making
        else:
            self.hits += 1
        making.ticket.join(ticket)
        making.listeners += 1
        try:
            await asyncio.wait([making.task])
        finally:
            making.ticket.leave(ticket)
            making.listeners -= 1
            if not making.listeners:
                if self._making.get(key) is making:
                    del self._making[key]  # whoever comes now begins anew
                making.task.cancel()
                await asyncio.gather(making.task, return_exceptions=True)
        return making.task.result()

    async def _make(self, key: _Key, choice: VoiceChoice, ticket: Ticket) -> bytes:
        if self._shared is not None and (found := await self._shared.get(key.digest())) is not None:
            self.hits += 1
            self.shared_hits += 1
            self._keep(key, found)
            return found
        self.misses += 1
        async with contextlib.aclosing(self._engine.synthesize(key.text, choice, ticket)) as audio:
            pcm = b"".join([piece async for piece in audio])
        self._keep(key, pcm)
        if self._shared is not None:
            self._shared.put(key.digest(), pcm)
        return pcm

    def _keep(self, key: _Key, pcm: bytes) -> None:
        self._kept[key] = pcm
        self.bytes += len(pcm) + _ENTRY_BYTES
        while self.bytes > self._room:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= len(oldest) + _ENTRY_BYTES


@dataclass(frozen=True)
class _Key:
    """All that the sound of a reply depends on."""

    voice: str
    speaker: str | None
    speed: float
    audio_format: AudioFormat
    text: str

    def digest(self) -> str:
        """A name in Redis; it does not tell the text."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()


@dataclass(eq=False)
class _Making:
    """One text that is being synthesised."""

    ticket: Ticket
    task: asyncio.Task[bytes]
    listeners: int = 0
