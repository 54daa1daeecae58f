"""A file that a client sends, on its way to the disk: as a form with fields beside it, or as the body itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import BinaryIO

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from handlers.errors import RequestError
from server.json_api import GoneError

_LOGGER = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 18
"""Written at once: few enough to be no memory, many enough to be no work."""

_STALL_SECONDS = 30.0
"""For the next piece of a file; a Wi-Fi that stops for longer is gone."""

_UPLOAD_SECONDS = 600.0
"""For all of it: 50 MB over a slow line."""

_MOST_FIELDS = 32

_LONGEST_FIELD = 4096
"""Bytes of a field; the longest are the words that somebody expects."""


@dataclass(frozen=True)
class Upload:
    """What was sent."""

    file: BinaryIO
    fields: dict[str, list[str]] = field(default_factory=dict)
    """Those of the form or, without one, of the address."""

    def last(self, name: str) -> str:
        """The value of a field; empty where there is none."""
        return self.fields.get(name, [""])[-1].strip()


@contextlib.asynccontextmanager
async def received(request: web.Request, largest: int) -> AsyncIterator[Upload]:
    """The file of a request, at most `largest` bytes, for the length of the block; on a disk, without a name.

    RequestError `too-large`, `wrong-type`, `timeout`, `no-room`, or `bad-request` for a form without a file.
    """
    if (request.content_length or 0) > largest + _MOST_FIELDS * _LONGEST_FIELD:
        raise _too_large(largest)
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed below, where it may fail once more)
    except OSError as error:
        raise _no_room(error) from None
    try:
        fields = await _take(request, file, largest)
        yield Upload(file, fields)
    finally:
        with contextlib.suppress(OSError):  # of what could not be written, which was said
            file.close()


async def _take(request: web.Request, file: BinaryIO, largest: int) -> dict[str, list[str]]:
    """Write the file, from its beginning; returns the fields beside it."""
    try:
        async with asyncio.timeout(_UPLOAD_SECONDS):
            if request.content_type == "multipart/form-data":
                fields = await _read_form(request, file, largest)
            elif _is_recording(request.content_type):
                fields = {name: request.query.getall(name) for name in request.query}
                await _write(_body(request), file, largest)
            else:
                raise RequestError(
                    "wrong-type", "Send the file as a form with the field 'file', or with 'Content-Type: audio/wav'"
                )
            await asyncio.to_thread(file.seek, 0)
    except TimeoutError:
        raise RequestError("timeout", "The file did not arrive in time: send it again") from None
    except ConnectionResetError:
        raise GoneError from None
    except OSError as error:
        raise _no_room(error) from None
    except (web.RequestPayloadError, BadHttpMessage):
        raise RequestError("bad-request", "The body is not what its headers say") from None
    return fields


def _is_recording(content_type: str) -> bool:
    # Browsers and programs call WebM and MP4 a video, and OGG an application.
    named = ("audio/", "video/")
    return content_type.startswith(named) or content_type in ("application/octet-stream", "application/ogg")


async def _read_form(request: web.Request, file: BinaryIO, largest: int) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    files = count = 0
    try:
        form = await request.multipart()
        while (part := await asyncio.wait_for(form.next(), _STALL_SECONDS)) is not None:
            count += 1
            if count > _MOST_FIELDS or not isinstance(part, BodyPartReader):
                raise RequestError("bad-request", f"A form has up to {_MOST_FIELDS} fields, and none within another")
            if part.name == "file" or part.filename is not None:
                files += 1
                if files > 1 or part.name != "file":
                    raise RequestError("bad-request", "Send one file, in the field 'file'")
                await _write(_part(part), file, largest)
            else:
                fields.setdefault(part.name or "", []).append(await _text(part))
    except (ValueError, AssertionError, LookupError) as error:  # how aiohttp says that it is no form
        raise RequestError("bad-request", f"The form cannot be read ({str(error) or 'it is cut off'})") from None
    if not files:
        raise RequestError("bad-request", "file: the form has no file; add one in the field 'file'")
    return fields


async def _text(part: BodyPartReader) -> str:
    value = bytearray()
    async for chunk in _part(part):
        value += chunk
        if len(value) > _LONGEST_FIELD:
            raise RequestError("too-large", f"{part.name}: a field of the form has up to {_LONGEST_FIELD} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestError("bad-request", f"{part.name}: is not text in UTF-8") from None


async def _write(chunks: AsyncIterator[bytes], file: BinaryIO, largest: int) -> None:
    written = 0
    async for chunk in chunks:
        written += len(chunk)
        if written > largest:
            raise _too_large(largest)
        await asyncio.to_thread(file.write, chunk)


async def _part(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await asyncio.wait_for(part.read_chunk(_CHUNK_BYTES), _STALL_SECONDS):
        yield chunk


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    while chunk := await asyncio.wait_for(request.content.read(_CHUNK_BYTES), _STALL_SECONDS):
        yield chunk


def _no_room(error: OSError) -> RequestError:
    _LOGGER.error("A file that was sent cannot be kept in %s: %s", tempfile.tempdir or "any folder", error.strerror)
    return RequestError("no-room", "The server has no room for the file; its log says where")


def _too_large(largest: int) -> RequestError:
    return RequestError("too-large", f"The file is larger than {largest // 1_000_000} MB: send it in parts, or as MP3")
