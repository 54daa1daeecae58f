"""How a language model can fail, as far as it matters for what is done next."""

from __future__ import annotations

from handlers.errors import EngineError


class PassingError(EngineError):
    """May be over at once: a kept connection that the server had closed, a server that is just starting."""


class AnswerError(EngineError):
    """The model is there, but what it wrote cannot be used; it says nothing about the next answer."""


def one_line(text: str, longest: int = 200) -> str:
    """What a server said, cut to fit into one sentence."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
