"""What the agent is: a sentence in, a streamed answer out; and what a language model is to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field, HttpUrl

from handlers.settings import Section


class OllamaSettings(Section):
    """A running Ollama."""

    url: HttpUrl = HttpUrl("http://127.0.0.1:11434")
    """Where Ollama listens."""

    model: str = ""
    """Model name as in `ollama list`; empty takes the one that was changed last, of those that talk and run here."""

    keep_alive: str = "30m"
    """How long Ollama keeps the model in memory after an answer."""

    context: int = Field(4096, ge=512, le=131072)
    """Tokens of context."""

    connect_seconds: float = Field(1.5, gt=0, le=30)
    """An Ollama on this network accepts a connection in milliseconds; after this the built-in model answers."""

    first_token_seconds: float = Field(30.0, gt=0, le=300)
    """Loading a model into memory may take this long; after it the built-in model answers."""

    silence_seconds: float = Field(30.0, gt=0, le=300)
    """Between two words; after it the answer is given up."""

    retry_seconds: float = Field(30.0, ge=0, le=3600)
    """After a failure Ollama is left alone for so long; otherwise every turn would wait for a server that is gone."""


class BuiltinSettings(Section):
    """The small language model that answers when no Ollama does."""

    model: str = "smollm2-135m-instruct"
    """A model name (see meadowlark-models list) or the path of a .gguf file; empty for none."""

    context: int = Field(2048, ge=512, le=131072)
    """Tokens of context."""

    longest_answer: int = Field(96, ge=16, le=4096)
    """Tokens of one answer: half a minute of speech. A small model rambles."""

    threads: int = Field(0, ge=0, le=64)
    """Threads; 0 leaves one core to the voice, and takes at most 4."""

    first_token_seconds: float = Field(60.0, gt=0, le=600)
    """Reading a long conversation, after the requests that came before, may take this long."""


class AgentSettings(Section):
    """Conversation."""

    language: str = "en"
    """Language when the client names none."""

    custom_sentences: list[Path] = Field(default_factory=list)
    """Files of sentences that are answered at once: Home Assistant's custom sentences, with 'responses'."""

    persona: str = "You are Meadowlark, a friendly voice assistant in a private home."
    """Who the assistant is, in the words that the language model reads."""

    longest_answer: int = Field(256, ge=16, le=4096)
    """Tokens of one answer: about a minute and a half of speech."""

    temperature: float = Field(0.3, ge=0, le=2)
    """How freely the language model chooses its words."""

    remembered_turns: int = Field(6, ge=0, le=50)
    """Questions and answers of a conversation that the language model sees again."""

    conversation_minutes: float = Field(10, gt=0, le=1440)
    """Silence after which a conversation is over."""

    longest_question: int = Field(4000, ge=100, le=100_000)
    """Characters of one request."""

    ollama: OllamaSettings = OllamaSettings()
    builtin: BuiltinSettings = BuiltinSettings()


@dataclass(frozen=True)
class Request:
    """What somebody said, and where."""

    text: str
    language: str = "en"
    conversation_id: str = ""
    """Requests with the same id are one conversation."""
    satellite_id: str = ""


@dataclass(frozen=True)
class Message:
    """One message as a language model sees it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Generation:
    """How a language model should answer."""

    longest: int
    """Tokens."""
    temperature: float


class LanguageModel(Protocol):
    """Something that continues a conversation."""

    @property
    def name(self) -> str:
        """For logs and the status page, as in 'ollama/llama3.2'."""

    @property
    def unavailable(self) -> str:
        """Why it could not answer when last tried, one sentence; empty when it could."""

    async def check(self) -> bool:
        """Whether it would answer now. Quick; sets `unavailable`."""

    def chat(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        """Stream an answer, only what is meant for the listener: no thoughts, no leading blanks.

        EngineError when it cannot, also after some words; closing the iterator stops the generation.
        """

    async def close(self) -> None:
        """End all generation and free the model."""
