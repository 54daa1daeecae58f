"""Tokens whose secrets a test chooses."""

from __future__ import annotations

from pathlib import Path

from handlers.session import Role
from server.tokens import FIRST, Tokens


def with_first(folder: Path, secret: str = "secret") -> Tokens:
    """Tokens of which an admin's is there already, as after the first start."""
    tokens = Tokens(folder)
    tokens.add(FIRST, Role.ADMIN, secret=secret)
    return tokens
