"""Access tokens for HTTP: named, each with a role, kept as hashes, made and revoked while the server runs.

A token is 32 random bytes: there is nothing to guess, so one round of SHA-256 keeps it as safe as a slow hash would.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from handlers.errors import RequestError, SettingsError
from handlers.files import give_to_owner
from handlers.locking import InUseError, lock_file
from handlers.session import Role

_LOGGER = logging.getLogger(__name__)

FIRST = "first"
"""Name of the token that the server makes when it is first reached from outside and there is none yet; an admin's."""

LONGEST_NAME = 64
"""Characters of a token's name, and of its tenant's."""

MOST_TOKENS = 1000
"""A household has ten; each is compared with every request."""

_OLD_FILE = "http-token"
"""Where Meadowlark once kept its first token, as it is."""

_FILE = "tokens.json"
_LOCK = "tokens.lock"
_VERSION = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")

_LOCK_SECONDS = 5.0
"""Another process needs milliseconds to write the file."""


@dataclass(frozen=True)
class Token:
    """What is known of a token; never the token itself."""

    name: str
    role: str
    """guest (talk), user (talk, own memory, act) or admin (all)."""
    user: str
    """The person whose it is, by the id in the settings; empty for a program, which says itself who speaks."""
    created: str
    """UTC, ISO 8601."""
    sha256: str
    tenant: str = ""
    """The household or organisation whose it is, by its key in the settings; empty for the server's own."""

    @property
    def may(self) -> Role:
        return Role.parse(self.role)


class Tokens:
    """The tokens of a data folder. What another process changes is seen with the next request."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._old_path = folder / _OLD_FILE
        self._lock = folder / _LOCK
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def all(self) -> list[Token]:
        """Every token, the oldest first; SettingsError when the file cannot be read."""
        self._refresh()
        return list(self._tokens.values())

    def find(self, secret: str) -> Token | None:
        """Whose token this is. Takes the same time whichever it is, and none; SettingsError as `all`."""
        digest = _digest(secret)
        found = None
        for token in self.all():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found

    def add(self, name: str, role: Role, user: str = "", tenant: str = "", secret: str = "") -> str:
        """Make a token, which is returned and never shown again. RequestError for a name that is taken or is none."""
        for what, text in (("name", name), ("tenant", tenant or "-")):
            if not (0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()):
                raise RequestError("bad-name", f"A token's {what} has 1 to {LONGEST_NAME} letters, digits or signs")
        with self._changing() as tokens:
            if name in tokens:
                raise RequestError(
                    "taken", f"There is a token '{name}' already: revoke it first, or choose another name"
                )
            if len(tokens) >= MOST_TOKENS:
                raise RequestError("too-many", f"There are {MOST_TOKENS} tokens: revoke those that nobody uses")
            secret = secret or secrets.token_urlsafe(32)
            tokens[name] = _token(name, role, user, tenant, secret)
        return secret

    def add_first(self) -> str:
        """Where there is no token at all, make an admin's, which is returned and never shown again; else ''.

        The file of an older Meadowlark is taken over: its secret is that of the first token from then on.
        """
        with self._locked():
            old = self._read_old()
            tokens = {token.name: token for token in self.all()}
            secret = old or ("" if tokens else secrets.token_urlsafe(32))
            if secret:
                self._write({**tokens, FIRST: _token(FIRST, Role.ADMIN, "", "", secret)})
            if old:
                self._remove_old()
        return "" if old else secret

    def revoke(self, name: str) -> None:
        """Make a token worthless from the next request on. RequestError when there is none of this name."""
        with self._changing() as tokens:
            if tokens.pop(name, None) is None:
                raise RequestError("no-token", f"There is no token '{name}'; there are: {', '.join(tokens) or 'none'}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """The tokens, to be changed; written when the block ends well. One process at a time."""
        with self._locked():
            self._refresh()
            tokens = dict(self._tokens)
            yield tokens
            self._write(tokens)

    def _read_old(self) -> str:
        try:
            return self._old_path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{self._old_path} cannot be read ({error}): delete it, and make a token with  "
                "meadowlark-server token add NAME --role admin"
            ) from None

    def _remove_old(self) -> None:
        try:
            self._old_path.unlink()
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None
        _LOGGER.info("The token of %s goes on as 'first', kept as a hash; the file is removed", self._old_path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                descriptor = lock_file(self._lock)
                give_to_owner(self._lock)
                break
            except InUseError as error:
                if time.monotonic() > deadline:
                    raise SettingsError(
                        f"{self._path} is being changed by the process {error.owner}: end it and try again"
                    ) from None
                time.sleep(0.05)
            except OSError as error:
                raise self._unusable(error.strerror or str(error)) from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            self._tokens = _parsed(json.loads(self._path.read_text(encoding="utf-8")))
            self._stamp = stamp
        except FileNotFoundError:
            self._tokens, self._stamp = {}, None
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"{self._path} is damaged ({error}): delete it, and make tokens with  meadowlark-server token add NAME"
            ) from None

    def _write(self, tokens: Mapping[str, Token]) -> None:
        text = json.dumps({"version": _VERSION, "tokens": [asdict(token) for token in tokens.values()]}, indent=1)
        new = self._path.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            give_to_owner(new)
            new.replace(self._path)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None

    def _unusable(self, why: str) -> SettingsError:
        return SettingsError(
            f"{self._path} cannot be used ({why}): make the data folder writable, or choose another with --data-dir"
        )


def _token(name: str, role: Role, user: str, tenant: str, secret: str) -> Token:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Token(name, role.word, user, created, _digest(secret), tenant)


def _parsed(document: Mapping[str, object]) -> dict[str, Token]:
    if document["version"] != _VERSION:
        raise ValueError(f"version {document['version']} is of another Meadowlark")
    listed = document["tokens"]
    if not isinstance(listed, list):
        raise ValueError("no list of tokens")
    tokens = [Token(**one) for one in listed]
    for token in tokens:
        if not all(isinstance(value, str) for value in asdict(token).values()):
            raise ValueError("a token has a field that is no text")
        if not _SHA256.fullmatch(token.sha256):
            raise ValueError(f"the token '{token.name}' has no SHA-256")
        Role.parse(token.role)
    return {token.name: token for token in tokens}


def _digest(secret: str) -> str:
    """Of what came in a header, too, which may be no text at all."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
