"""Fetching one file over HTTP: resumable, checked, and never visible before it is complete."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

from handlers import __version__
from handlers.errors import ModelError
from handlers.models.folder import note_of, part_of, publish, require_space, writing
from handlers.models.integrity import sha256_of

_LOG = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with bytes done and bytes in all (None when the server does not say). What it raises ends the download."""

TIMEOUT = 30.0
"""Seconds for a connection or for the next bytes: the hub answers within one, a busy proxy within a few."""

WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further try; a router that restarts its connection is back by then, or takes minutes."""

_BLOCK = 1 << 18
"""Bytes read at once: a progress step even on a slow line."""

_HEADWAY = 1 << 20
"""A try that brought this many bytes does not count as failed, so a large file may survive many drops."""

_SLOWEST = 1024
"""Bytes a second, as a mean of a whole `timeout`, below which a line counts as dropped: 60 MB would take 16 hours."""

_UNSTATED_LIMIT = 64 << 20
"""Bytes taken from a server that does not state a length; only the small files come like that."""

_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that mean 'later'."""

_NOT_THERE = frozenset({401, 404, 410})
"""HTTP answers for what does not exist; Hugging Face says 401 for a repository that it does not have."""


class NotOnHubError(ModelError):
    """The server answers, but does not have the file."""


class UnreachableError(ModelError):
    """The server could not be reached, not for long enough, or does not let us have the file."""


class _DroppedError(Exception):
    """This try is over; another one may go on where it stopped."""


@dataclass(frozen=True)
class _Received:
    """What the server said of a file that has now come completely."""

    sha256: str | None


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
    waits: Sequence[float] = WAITS,
) -> str:
    """Fetch `url` to `target` and return its sha256.

    What has come is kept in `target`.part, where the next try or the next call goes on. `size` and `sha256` are
    checked where given; else the length that the server states, and the sha256 that Hugging Face states for large
    files. Raises NotOnHubError, UnreachableError, ModelError (wrong content, disk full), SettingsError (unwritable).
    The caller sees to it that nobody else fetches the same target.
    """
    partial = _Partial(target, url, resumable=sha256 is not None)
    failed = 0
    while True:
        before = partial.size
        try:
            received = _attempt(url, partial, size, progress or _ignore, timeout)
            break
        except _DroppedError as dropped:
            failed = 0 if partial.size - before >= _HEADWAY else failed
            if failed == len(waits):
                raise UnreachableError(f"{url} cannot be fetched ({dropped})") from dropped
            _LOG.info("Trying again in %.0f s: %s (%s)", waits[failed], url, dropped)
            time.sleep(waits[failed])
            failed += 1
    return partial.finish(size, sha256 or received.sha256)


def _attempt(url: str, partial: _Partial, size: int | None, progress: Progress, timeout: float) -> _Received:
    """One request. Returns when the part is complete, raises _DroppedError when it is not yet."""
    start = partial.resumable_size()
    headers = {"User-Agent": f"meadowlark/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if partial.etag:
            headers["If-Range"] = partial.etag
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- the store only passes http and https
    redirects = _Redirects()
    try:
        response = urllib.request.build_opener(redirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            _refused(error, url, partial, start)
        return _Received(redirects.sha256)
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(_reason(error)) from error
    with response:
        _check_type(url, response.headers)
        if response.status == 206:
            start, total = _content_range(response.headers, start, partial)
        else:
            start, total = 0, response.length
        if size is not None and total is not None and total != size:
            raise ModelError(f"{url} has {total} bytes where {size} are expected: it is not the file that is meant")
        if size is None and total is None and not response.chunked and partial.needs_length:
            raise ModelError(f"{url} cannot be checked because its server states no length: use another hub")
        partial.begin(start, response.headers)
        require_space(partial.path.parent, (total or _UNSTATED_LIMIT) - start)
        _receive(response, partial, start, total if total is not None else size, progress, timeout)
    return _Received(redirects.sha256 or _stated_sha256(response.headers))


def _receive(
    response: http.client.HTTPResponse,
    partial: _Partial,
    start: int,
    total: int | None,
    progress: Progress,
    timeout: float,
) -> None:
    done = start
    window_start, window_done = time.monotonic(), done
    with partial.open_at(start) as output:
        progress(done, total)
        while True:
            try:
                block = response.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _DroppedError(_reason(error)) from error
            if not block:
                break
            with writing(partial.path.parent):
                output.write(block)
            done += len(block)
            progress(done, total)
            if total is None and done > _UNSTATED_LIMIT:
                raise ModelError(f"{response.url} sends more than {_UNSTATED_LIMIT >> 20} MiB without stating a length")
            if (elapsed := time.monotonic() - window_start) >= timeout:
                if done - window_done < _SLOWEST * elapsed:
                    raise _DroppedError(f"only {done - window_done} bytes came in {elapsed:.0f} seconds")
                window_start, window_done = time.monotonic(), done
    if total is not None and done < total:
        raise _DroppedError(f"the connection ended after {done} of {total} bytes")


def _refused(error: urllib.error.HTTPError, url: str, partial: _Partial, start: int) -> None:
    """Sort out an HTTP error. Returns only when it means that the part is already complete."""
    if error.code == 416 and start:
        if error.headers.get("Content-Range", "").replace(" ", "") == f"bytes*/{start}":
            return
        partial.discard()
        raise _DroppedError("the file has changed on the server")
    if error.code in _NOT_THERE:
        raise NotOnHubError(f"{url} does not exist (the server says {error.code})")
    if error.code in _TRY_AGAIN:
        raise _DroppedError(f"the server says {error.code} {error.reason}")
    raise UnreachableError(f"{url} cannot be fetched (the server says {error.code} {error.reason})")


def _content_range(headers: Message, start: int, partial: _Partial) -> tuple[int, int | None]:
    """Start and total of a 206 answer, which must go on exactly where the part ends, in the same version."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    etag = headers.get("ETag", "").strip()
    if match is None or int(match[1]) != start or (partial.etag and etag and etag != partial.etag):
        partial.discard()
        raise _DroppedError("the server sent something else than the rest of the file")
    return start, None if match[2] == "*" else int(match[2])


def _check_type(url: str, headers: Message) -> None:
    if headers.get_content_type() == "text/html":  # no model file is one; Wi-Fi log-in pages are
        raise UnreachableError(f"{url} answers with a web page instead of the file, as log-in pages and proxies do")


def _stated_sha256(headers: Message) -> str | None:
    """The sha256 that Hugging Face states for a file in large file storage.

    A plain ETag counts only on the hub's own answers (they carry X-Repo-Commit): storage servers behind it have
    ETags of the same form that are something else.
    """
    stated = headers.get("X-Linked-Etag") or (headers.get("ETag") if "X-Repo-Commit" in headers else None) or ""
    match = re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', stated.strip())
    return match[1] if match else None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "it did not answer in time"
    if isinstance(cause, socket.gaierror):
        return "the host's name cannot be resolved; is there a network?"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


def _ignore(done: int, total: int | None) -> None:
    """Progress that nobody watches."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what the hub says of the file before it sends us to its storage."""

    def __init__(self) -> None:
        self.sha256: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.sha256 = self.sha256 or _stated_sha256(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Partial:
    """What has come so far: `target`.part, and beside it a note which version of which address it is."""

    def __init__(self, target: Path, url: str, *, resumable: bool) -> None:
        self._target = target
        self._url = url
        self._resumable = resumable
        self.path = part_of(target)
        self._note = note_of(self.path)
        self.etag = ""

    @property
    def needs_length(self) -> bool:
        """Whether only a stated length can show that the file is complete."""
        return not self._resumable

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def resumable_size(self) -> int:
        """Bytes to keep: those of the same address, if the server or the checksum can tell that nothing changed."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
            same, self.etag = note["url"] == self._url, str(note["etag"])
        except (OSError, ValueError, KeyError, TypeError):
            same, self.etag = False, ""
        return self.size if same and (self.etag or self._resumable) else 0

    def begin(self, start: int, headers: Message) -> None:
        """Note which version is about to be written."""
        etag = headers.get("ETag", "").strip()
        if start == 0:
            self.etag = "" if etag.startswith("W/") else etag  # a weak one does not promise the same bytes
        with writing(self.path.parent):
            if start == 0:
                self.path.unlink(missing_ok=True)
            self._note.write_text(json.dumps({"url": self._url, "etag": self.etag}), "utf-8")

    @contextlib.contextmanager
    def open_at(self, start: int) -> Iterator[IO[bytes]]:
        with writing(self.path.parent):
            file = self.path.open("ab" if start else "wb")
        try:
            yield file
        finally:
            with writing(self.path.parent):
                file.close()

    def discard(self) -> None:
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)

    def finish(self, size: int | None, sha256: str | None) -> str:
        """Check the complete part and give it its name."""
        found_size, found = self.size, sha256_of(self.path)
        if found_size == 0 or (size is not None and found_size != size) or (sha256 is not None and found != sha256):
            self.discard()
            wanted = f", expected sha256 {sha256[:12]}…" if sha256 else ""
            raise ModelError(
                f"What came from {self._url} is not the expected {self._target.name} "
                f"(it has {found_size} bytes and sha256 {found[:12]}…{wanted}) and was thrown away: "
                "try again, or use another hub"
            )
        publish(self.path, self._target)
        self._note.unlink(missing_ok=True)
        return found
