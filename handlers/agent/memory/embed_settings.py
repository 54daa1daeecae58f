"""Settings of an embedding model in Ollama; apart from it, so that settings are read without its library."""

from __future__ import annotations

from pydantic import Field, HttpUrl

from handlers.settings import Section


class OllamaEmbedSettings(Section):
    """An embedding model in Ollama."""

    url: HttpUrl = HttpUrl("http://127.0.0.1:11434")
    """Where Ollama listens."""

    model: str = "nomic-embed-text"
    """Model name as in `ollama list`."""

    query_ms: float = Field(60, ge=1, le=5000)
    """A question is embedded within so long or not at all; an Ollama that is writing an answer is late."""

    keep_alive: str = "-1m"
    """How long Ollama keeps the model in memory; less than 0 is for ever."""

    query_prefix: str | None = None
    """What the model wants to see before a question; none for the known models' own."""

    note_prefix: str | None = None
    """What the model wants to see before a note; none for the known models' own."""
