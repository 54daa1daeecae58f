"""How a language model can fail, as far as it matters for what is done next."""

from __future__ import annotations

import logging
import re

from handlers.errors import EngineError

_LOGGER = logging.getLogger(__name__)


class PassingError(EngineError):
    """May be over at once: a kept connection that the server had closed, a server that is just starting."""


class AnswerError(EngineError):
    """The model is there, but what it wrote cannot be used; it says nothing about the next answer."""


def keep_apart(name: str, said: str) -> None:
    """Write what a server said of a failure where only debugging shows it: it may quote the request, and so what was
    said in the house."""
    _LOGGER.debug("%s said: %s", name, one_line(said, 2000))


def kind_of(*kinds: object) -> str:
    """The first that is an error's code or type, as in ', context_length_exceeded', and not a sentence; else ''."""
    codes = (kind for kind in kinds if isinstance(kind, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", kind))
    return next((f", {code}" for code in codes), "")


def one_line(text: str, longest: int = 200) -> str:
    """What a server said, cut to fit into one sentence."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
