"""Settings of the language models."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl, SecretStr

from handlers.settings import Section


def _plain_name(value: str) -> str:
    if len(value) > 64 or any(character.isspace() for character in value):
        raise ValueError("must be a word of at most 64 characters")
    return value


class OllamaSettings(Section):
    """A running Ollama."""

    url: HttpUrl = HttpUrl("http://127.0.0.1:11434")
    """Where Ollama listens."""

    model: str = ""
    """Model name as in `ollama list`; empty takes the one that was changed last, of those that talk and run here."""

    keep_alive: str = "30m"
    """How long Ollama keeps the model in memory after an answer."""

    context: int = Field(4096, ge=512, le=131072)
    """Tokens of context; a model that was made for less gets less."""

    threads: int = Field(0, ge=0, le=256)
    """Processor threads for one answer; 0 leaves it to Ollama, which takes one for each core. Where speech is heard and
    made on the same few cores, one less is several times faster: threads that wait for each other spin."""

    tools: bool | None = None
    """Whether the model is given tools; empty asks Ollama whether it can use them."""

    schemas: bool | None = None
    """Whether the model is able enough to keep the memory in order; empty goes by its size."""

    connect_seconds: float = Field(1.5, gt=0, le=30)
    """An Ollama on this network accepts a connection in milliseconds; after this the next model answers."""

    first_token_seconds: float = Field(30.0, gt=0, le=300)
    """Loading a model into memory may take this long; after it the next model answers."""

    silence_seconds: float = Field(30.0, gt=0, le=300)
    """Between two words; after it the answer is given up."""


class EndpointSettings(Section):
    """A server that speaks OpenAI's protocol: vLLM, llama.cpp, LM Studio, OpenAI, Grok and others."""

    url: HttpUrl
    """Where it listens, with the version: http://192.168.1.20:8000/v1."""

    name: Annotated[str, AfterValidator(_plain_name)] = ""
    """What it is called in logs and on the status page; empty takes the host of its address."""

    model: str = ""
    """Name of the model; empty takes the first that the server lists."""

    api_key: SecretStr = SecretStr("")
    """Its key; empty sends none."""

    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Further headers of every request."""

    options: dict[str, object] = Field(default_factory=dict)
    """Further fields of every request, as `chat_template_kwargs: {enable_thinking: false}` for Qwen on vLLM."""

    context: int = Field(8192, ge=512, le=1_000_000)
    """Tokens of context that the server gives one conversation."""

    tools: bool = True
    """Whether the model is given tools."""

    schemas: bool = True
    """Whether the model is able enough to keep the memory in order."""

    connect_seconds: float = Field(3.0, gt=0, le=30)
    """After this the next model answers."""

    first_token_seconds: float = Field(20.0, gt=0, le=300)
    """After this the next model answers."""

    silence_seconds: float = Field(20.0, gt=0, le=300)
    """Between two words; after it the answer is given up."""

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.url.host or "endpoint"


class BuiltinSettings(Section):
    """The small language model that answers when no other does."""

    model: str = "smollm2-135m-instruct"
    """A model name (see meadowlark-models list) or the path of a .gguf file; empty for none."""

    context: int = Field(2048, ge=512, le=131072)
    """Tokens of context."""

    longest_answer: int = Field(96, ge=16, le=4096)
    """Tokens of one answer: half a minute of speech. A small model rambles."""

    tools: bool = False
    """Whether the model is given tools: for a .gguf of some billion parameters, not for the default one."""

    schemas: bool = False
    """Whether the model is able enough to keep the memory in order: not the default one."""

    threads: int = Field(0, ge=0, le=64)
    """Threads; 0 leaves one core to the voice, and takes at most 4."""

    first_token_seconds: float = Field(60.0, gt=0, le=600)
    """Reading a long conversation, after the requests that came before, may take this long."""


class ThinkSettings(Section):
    """How the language models stand in for each other."""

    first_token_seconds: float = Field(20.0, gt=0, le=300)
    """A model that is loaded already has so long for its first word while another one could answer instead. Without
    a graphics card, reading a long conversation may take ten seconds."""

    retry_seconds: float = Field(5.0, gt=0, le=3600)
    """A model that failed is asked nothing; after so long, in the background, whether it is back. Each failure in a
    row doubles it."""

    longest_retry_seconds: float = Field(120.0, gt=0, le=3600)
    """The wait never grows beyond this, so that a server that comes back is found."""
