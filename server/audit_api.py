"""`GET /api/v1/audit`: the log of actions for admins, the newest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from aiohttp import web

from handlers.agent.safety.audit import Audit
from handlers.errors import MeadowlarkError
from handlers.session import Role
from server.access import Access, access_of
from server.json_api import error_answer, refusal, whole_number

PATH = "/api/v1/audit"

MOST_ENTRIES = 500
"""Of one answer, which then has a few megabytes at most."""

_PAGE = 100


class AuditApi:
    """Each of its pages leads to the one before with `after`."""

    def __init__(self, audit: Callable[[Access], Audit]) -> None:
        """`audit` gives the log that somebody may see; RequestError while the engines are being loaded."""
        self._log_of = audit

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self._list)]

    async def _list(self, request: web.Request) -> web.Response:
        access = access_of(request)
        if access.role < Role.ADMIN:
            return error_answer(403, f"The token '{access.token}' may not see what others did: an admin's may")
        try:
            limit = whole_number(request, "limit", _PAGE, MOST_ENTRIES)
            entries = await self._log_of(access).entries(limit, request.query.get("after", ""))
        except MeadowlarkError as error:
            return refusal(error)
        more = entries[-1].id if len(entries) == limit else None
        return web.json_response({"entries": [asdict(entry) for entry in entries], "after": more})
