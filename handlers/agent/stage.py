"""What the agent is: a sentence in, a streamed answer out; and what a language model is to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import Field, model_validator

from handlers.agent.access import AccessSettings
from handlers.agent.house.stage import Lent
from handlers.agent.llm.locality import check_local, is_cloud_model, require_local
from handlers.agent.llm.settings import BuiltinSettings, EndpointSettings, OllamaSettings, ThinkSettings
from handlers.agent.memory.settings import MemorySettings, OwnMemorySettings
from handlers.agent.profiles import Length, Profile, ProfileSettings, choose_profile
from handlers.agent.safety.audit import AuditSettings
from handlers.agent.tools.settings import ToolSettings
from handlers.agent.tools.stage import ToolCall, ToolFinished, ToolSpec, ToolStarted
from handlers.session import ANYBODY, Session
from handlers.settings import Section


class OwnSettings(Section):
    """Conversation: what each household has for itself."""

    language: str = "en"
    """Language when the client names none."""

    custom_sentences: list[Path] = Field(default_factory=list)
    """Files of sentences that are answered at once: Home Assistant's custom sentences, with 'responses'."""

    persona: str = "You are Meadowlark, a friendly voice assistant in a private home."
    """Who the assistant is, in the words that the language model reads."""

    length: Length = "normal"
    """How long an answer is: brief, normal or detailed."""

    profiles: list[ProfileSettings] = Field(default_factory=list)
    """Other personas, languages, voices and lengths, by wake word, satellite and person. The first that fits counts."""

    access: AccessSettings = AccessSettings()
    tools: ToolSettings = ToolSettings()
    audit: AuditSettings = AuditSettings()


class TenantAgentSettings(OwnSettings):
    """Conversation in the household of a tenant. Nothing is taken over from the server's own household."""

    memory: OwnMemorySettings = OwnMemorySettings()


class AgentSettings(OwnSettings):
    """Conversation."""

    quick_sentence_seconds: float = Field(1.5, ge=0, le=60)
    """Where the language model is expected to need longer for its first word, a short sentence fills the time;
    0 never."""

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

    local_only: bool = True
    """Only language models and memories in this network: an address outside is an error, not a slip."""

    order: list[str] = Field(default_factory=list)
    """Language models as they are asked, one after the other: 'ollama', names of endpoints, 'builtin'. Empty is all,
    in this order."""

    think: ThinkSettings = ThinkSettings()
    ollama: OllamaSettings = OllamaSettings()
    endpoints: list[EndpointSettings] = Field(default_factory=list)
    """Servers that speak OpenAI's protocol."""

    builtin: BuiltinSettings = BuiltinSettings()
    memory: MemorySettings = MemorySettings()

    @model_validator(mode="after")
    def _stays_here(self) -> Self:
        if self.local_only:
            check_local(self.ollama, self.endpoints)
            require_local(self.memory.ollama.url, "agent.memory.ollama.url")
            if self.memory.embedder == "ollama" and is_cloud_model(self.memory.ollama.model):
                raise ValueError(
                    f"agent.memory.ollama.model '{self.memory.ollama.model}' runs at ollama.com, which would be told "
                    "what is remembered here; to allow that, set  agent.local_only: false"
                )
            for key, url in (
                ("chroma_url", self.memory.index.chroma_url),
                ("qdrant_url", self.memory.index.qdrant_url),
            ):
                if url is not None:
                    require_local(url, f"agent.memory.index.{key}")
        return self

    @model_validator(mode="after")
    def _order_is_known(self) -> Self:
        known = ["ollama", *(endpoint.title for endpoint in self.endpoints), "builtin"]
        if len(set(known)) < len(known):
            raise ValueError("agent.endpoints: each needs a 'name' of its own, other than 'ollama' and 'builtin'")
        for name in self.order:
            if name not in known:
                raise ValueError(f"agent.order: there is no language model '{name}'; there are {', '.join(known)}")
        return self

    def of_tenant(self, own: TenantAgentSettings) -> AgentSettings:
        """The same language models and bounds for another household, which has all else for itself."""
        memory = self.memory.model_copy(update=dict(own.memory))
        mine = {name: getattr(own, name) for name in OwnSettings.model_fields}
        return self.model_copy(update={**mine, "memory": memory})

    def profile(self, wake_word: str, session: Session) -> Profile:
        """How the assistant is in a turn."""
        default = Profile(self.persona, self.length)
        return choose_profile(self.profiles, default, wake_word, session.satellite, session.user)


@dataclass(frozen=True)
class Request:
    """What somebody said, and the session in which they did."""

    text: str
    session: Session = ANYBODY
    """Its language is known."""
    wake_word: str = ""
    """The wake word that began the turn, if one did: it may have a persona of its own."""
    private: bool = False
    """Whether the place is in private mode: nothing of what is said is kept."""
    lent: Lent | None = field(default=None, compare=False)
    """What a house lends to this turn."""


@dataclass(frozen=True)
class Message:
    """One message as a language model sees it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    """Tools that the assistant wanted with this message."""
    answers: ToolCall | None = None
    """The call whose result a message of the role 'tool' is."""


@dataclass(frozen=True)
class Generation:
    """How a language model should answer."""

    longest: int
    """Tokens."""
    temperature: float
    schema: Mapping[str, object] | None = None
    """A JSON schema that the whole answer must fit; for work in the background, never for what is spoken."""


Written = str | ToolCall
"""What a language model writes: words for the listener, or a wish for a tool."""


@dataclass(frozen=True)
class Filler:
    """A quick first sentence, said while the language model still reads; not a part of what is remembered."""

    text: str


@dataclass(frozen=True)
class Volume:
    """The place where the answer is heard becomes louder or quieter. One of the two is None."""

    change: int | None = None
    """In percent of full, below zero for quieter."""
    to: int | None = None
    """Percent of full."""


SAME_VOLUME = Volume()

AnswerPart = str | Filler | Volume | ToolStarted | ToolFinished
"""What comes of an answer, in order: its words, and what is done for it."""


class LanguageModel(Protocol):
    """Something that continues a conversation."""

    @property
    def name(self) -> str:
        """For logs and the status page, as in 'ollama/llama3.2'."""

    @property
    def unavailable(self) -> str:
        """Why it could not answer when last tried, one sentence; empty when it could."""

    @property
    def uses_tools(self) -> bool:
        """Whether it can be trusted with tools; without, it is not told of any."""

    @property
    def follows_schemas(self) -> bool:
        """Whether it is able enough to fill a JSON schema with sense: what the memory asks of it."""

    @property
    def context_tokens(self) -> int:
        """Tokens that the messages and the answer may have together."""

    async def check(self) -> bool:
        """Whether it would answer now. Quick; sets `unavailable`."""

    def chat(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Written, None]:
        """Stream an answer, only what is meant for the listener: no thoughts, no leading blanks. Calls come whole.

        EngineError when it cannot, also after some words; closing the iterator stops the generation.
        """

    async def close(self) -> None:
        """End all generation and free the model."""
