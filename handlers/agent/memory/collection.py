"""What an owner's vectors are called in a database of others."""

from __future__ import annotations

import hashlib

from handlers.agent.memory.stage import Owner, Space


def collection_name(owner: Owner, space: Space | None = None, household: str = "") -> str:
    """The collection of an owner and space, or how the names of all the owner's begin. Tells nobody's name.

    `household` is the key of one of several on a server; empty for its own, whose names are older.
    """
    key = f"{household}/{owner.key}" if household else owner.key
    start = f"notes-{hashlib.sha256(key.encode()).hexdigest()[:32]}-"
    return start if space is None else start + hashlib.sha256(space.key.encode()).hexdigest()[:16]
