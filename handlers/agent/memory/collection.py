"""What a tenant's vectors are called in a database of others."""

from __future__ import annotations

import hashlib

from handlers.agent.memory.stage import Space, Tenant


def collection_name(tenant: Tenant, space: Space | None = None) -> str:
    """The collection of a tenant and space, or how the names of all the tenant's begin. Tells nobody's name."""
    start = f"notes-{hashlib.sha256(tenant.key.encode()).hexdigest()[:32]}-"
    return start if space is None else start + hashlib.sha256(space.key.encode()).hexdigest()[:16]
