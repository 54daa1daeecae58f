"""A model hub on a real socket, with the bad manners of real ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import pytest


@dataclass
class Hub:
    """What the server has and how it behaves; tests change it while it runs."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every file."""
    redirect_headers: dict[str, str] | None = None
    """When set, every file is first redirected to /storage/…, with these headers."""
    etags: bool = True
    ranges: bool = True
    states_length: bool = True
    statuses: list[int] = field(default_factory=list)
    """Errors to answer with, one for each request, before serving."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which to drop the connection, one for each request, before behaving."""
    stall_after: int | None = None
    """Bytes after which to say nothing more until `go_on` is set."""
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub = cast("_Server", self.server).hub
        hub.requests.append((self.path, self.headers["Range"]))
        if hub.statuses:
            self._end(hub.statuses.pop(0))
            return
        path = self.path.removeprefix("/storage")
        content = hub.files.get(path)
        if content is None:
            self._end(404)
        elif hub.redirect_headers is not None and path == self.path:
            self._end(302, {**hub.redirect_headers, "Location": f"{hub.url}/storage{path}"})
        else:
            self._serve(hub, content)

    def _serve(self, hub: Hub, content: bytes) -> None:
        etag = f'"{len(content)}-{hash(content)}"'
        start, status = 0, 200
        headers = {"Content-Type": "application/octet-stream", **({"ETag": etag} if hub.etags else {}), **hub.headers}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if wanted and hub.ranges and self.headers["If-Range"] in (None, etag):
            start, status = int(wanted[1]), 206
            if start >= len(content):
                self._end(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if hub.states_length:
            headers["Content-Length"] = str(len(body))
        stall_after = hub.stall_after
        if hub.cuts:
            body = body[: hub.cuts.pop(0)]
        elif stall_after is not None:
            body = body[:stall_after]
        # All that tests may change has been read by now: once the headers are out, the test goes on.
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            return  # the client did not want the rest
        if stall_after is not None:
            hub.go_on.wait(60)

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for the handlers, so that no socket is left to the garbage collector
    hub: Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.hub
    server.hub.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()
