"""Headers that tell browsers how little they may do with our answers."""

from __future__ import annotations

from aiohttp import web

from server.origin import is_trustworthy

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
}
"""Of every answer. Where a handler has set one itself, as a page its own policy, that one counts."""

_ALONE = "same-origin"
"""No page of a stranger that opened ours keeps a hold of it. Browsers take that over HTTPS and from this machine only,
and complain elsewhere."""

_ONLY_TLS = "max-age=31536000"
"""A year, as usual. Not for subdomains: nobody knows whose they are."""


def secured(app: web.Application, *, strict_transport: bool) -> None:
    """Put them on all answers, also to a WebSocket's upgrade. With `strict_transport` browsers that came by our own
    TLS come by TLS only from then on."""

    async def add(request: web.Request, answer: web.StreamResponse) -> None:
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        if answer.content_type == "application/json":
            answer.headers.setdefault("Cache-Control", "no-store")
        if is_trustworthy(request):
            answer.headers.setdefault("Cross-Origin-Opener-Policy", _ALONE)
        if strict_transport and request.secure:
            answer.headers["Strict-Transport-Security"] = _ONLY_TLS

    app.on_response_prepare.append(add)
