"""Settings of the memory."""

from __future__ import annotations

from typing import Literal

from handlers.agent.memory.embed_settings import OllamaEmbedSettings
from handlers.agent.memory.index import IndexSettings
from handlers.agent.memory.recall import RecallSettings
from handlers.settings import Section


class OwnMemorySettings(Section):
    """What the assistant remembers beyond a conversation: what each household decides for itself."""

    enabled: bool = True
    """Remember at all. Switched off, nothing is stored or recalled; what is stored stays."""

    learn: bool = True
    """Also keep what was said in passing, where the language model is able enough; else only what it is asked to."""


class MemorySettings(OwnMemorySettings):
    """What the assistant remembers beyond a conversation."""

    embedder: Literal["builtin", "ollama"] = "builtin"
    """What makes vectors of text: the packaged MiniLM (English), or a model of the Ollama."""

    ollama: OllamaEmbedSettings = OllamaEmbedSettings()
    index: IndexSettings = IndexSettings()
    recall: RecallSettings = RecallSettings()
