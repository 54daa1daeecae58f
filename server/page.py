"""The page to talk to, as built of `server/web`: read once, served from memory. A new build needs a new start."""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ETag, hdrs, web

_LOGGER = logging.getLogger(__name__)

DIST = Path(__file__).parent / "web" / "dist"
"""Where script/page builds it, and where it lies in the package."""

_INDEX = "index.html"

_ICON = "meadowlark.svg"
"""Also what browsers ask for as /favicon.ico, on pages that name none."""

_HASHED = "assets/"
"""The names of these files have a hash of their content, so that another content has another name."""

_MOST_BYTES = 32 * 1024 * 1024
"""Of all files; the page has 0.5 MB."""

_PACKED_GAIN = 0.9
"""A file is sent packed where that is less than this part of it: pictures and fonts are packed already."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""Not the system's table: it differs from machine to machine, and a script of another type is not run."""

_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
"""Nothing from elsewhere, nothing inline. Home Assistant's ingress shows the page in a frame of the same origin."""

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Vary": "Accept-Encoding",
}
"""Beside those of every answer."""


def read_page(folder: Path = DIST) -> list[web.RouteDef]:
    """The routes of all files in `folder`, which are read now; none where the page is not built."""
    try:
        if not (folder / _INDEX).is_file():
            return []
        paths = sorted(path for path in folder.rglob("[!.]*") if path.is_file())
        if sum(path.stat().st_size for path in paths) > _MOST_BYTES:
            _LOGGER.warning("The page in %s is not served: it has more than %d bytes", folder, _MOST_BYTES)
            return []
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    except OSError as error:
        _LOGGER.warning("The page in %s cannot be read (%s): only the status is shown", folder, error.strerror)
        return []
    names = {**{name: name for name in files}, "": _INDEX}
    if _ICON in files:
        names.setdefault("favicon.ico", _ICON)
    made = {name: _File.of(name, body) for name, body in files.items()}
    return [web.get(f"/{path}", made[name].answer) for path, name in names.items()]


@dataclass(frozen=True)
class _File:
    body: bytes = field(repr=False)
    packed: bytes = field(repr=False)
    """By gzip, which browsers take over plain HTTP too; empty where that gains nothing."""
    etag: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, name: str, body: bytes) -> _File:
        packed = gzip.compress(body, mtime=0)
        lasts = "public, max-age=31536000, immutable" if name.startswith(_HASHED) else "no-cache"
        kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
        return cls(
            body,
            packed if len(packed) < _PACKED_GAIN * len(body) else b"",
            hashlib.sha256(body).hexdigest()[:32],
            {**_HEADERS, hdrs.CONTENT_TYPE: kind, hdrs.CACHE_CONTROL: lasts},
        )

    async def answer(self, request: web.Request) -> web.Response:
        """The file, or 304 where the browser has it."""
        packed = bool(self.packed) and _takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        etag = f"{self.etag}-gzip" if packed else self.etag
        known = any(shown.value in ("*", etag) for shown in request.if_none_match or ())
        answer = web.Response(status=304, headers=self.headers) if known else self._whole(packed)
        answer.etag = ETag(etag)
        return answer

    def _whole(self, packed: bool) -> web.Response:
        if packed:
            return web.Response(body=self.packed, headers={**self.headers, hdrs.CONTENT_ENCODING: "gzip"})
        return web.Response(body=self.body, headers=self.headers)


def _takes_gzip(accepted: str) -> bool:
    """By the header Accept-Encoding; what has the weight 0 is refused."""
    for coding in accepted.split(","):
        name, _, parameters = coding.partition(";")
        if name.strip().lower() in ("gzip", "*"):
            weight = parameters.strip().lower().removeprefix("q=").strip()
            return weight.rstrip("0.") != "" or weight == ""
    return False
