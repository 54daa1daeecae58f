"""HTTPS by certificate files, which are taken anew when somebody renews them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from handlers.errors import SettingsError
from server.settings import HttpSettings

_LOGGER = logging.getLogger(__name__)

_CHECK_SECONDS = 60.0
"""Between two looks at the files: whoever renews a certificate does it days before the old one expires."""


def certificate_of(settings: HttpSettings) -> Certificate | None:
    """The one of the settings, None without one; SettingsError when it cannot be used."""
    if settings.certificate is not None:
        return Certificate(settings.certificate, settings.key)
    if settings.key is not None:
        raise SettingsError("http.key: a key alone is not enough: set http.certificate, too")
    return None


class Certificate:
    """A certificate with its chain, and its private key, as PEM files."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Without `key` it is in the file of the certificate. SettingsError when they cannot be used."""
        self._certificate = certificate
        self._key = key or certificate
        self._stamps = self._look()
        self._newest = _load(self._certificate, self._key)
        self.context = self._newest
        """For the server to listen with. Each connection gets what is the newest certificate then."""
        self.context.sni_callback = self._choose

    async def watch(self) -> None:
        """Take new files when they are there, until it is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Take new files. Where they cannot be used the old certificate goes on, and the log says so once."""
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._newest = _load(self._certificate, self._key)
        except SettingsError as error:
            _LOGGER.error("HTTPS goes on with the certificate that it has: %s", error)
        except Exception:  # whatever is wrong with them, the next ones are to be taken
            _LOGGER.exception("HTTPS goes on with the certificate that it has: the new one cannot be read")
        else:
            _LOGGER.info("HTTPS has a new certificate")

    def _look(self) -> list[tuple[int, int, int]]:
        return [_stamp(self._certificate), _stamp(self._key)]

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._newest


def _stamp(path: Path) -> tuple[int, int, int]:
    """What is another one when the file is; of one that is not there, too."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _load(certificate: Path, key: Path) -> ssl.SSLContext:
    """SettingsError when they cannot be used; one that has expired can, and is logged."""

    def ask_for_password() -> str:
        raise SettingsError(
            f"http.key: {key} is protected by a password: save it without one, readable only for the server"
        )

    leaf = _first_certificate(certificate)
    _read(key, "http.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, ask_for_password)
    except OSError as error:  # ssl.SSLError is one
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            problem = f"{key} is not the key of {certificate}: name the two files that were made together"
        else:
            problem = f"{key} has no private key that can be used: name a PEM file with 'BEGIN PRIVATE KEY'"
        raise SettingsError(f"http.key: {problem}") from None
    if leaf.not_valid_after_utc < datetime.now(UTC):
        _LOGGER.warning(
            "The certificate %s has expired on %s, and browsers refuse it: renew it",
            certificate,
            leaf.not_valid_after_utc.date(),
        )
    return context


def _first_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_read(path, "http.certificate"))[0]
    except ValueError:
        raise SettingsError(
            f"http.certificate: {path} has no certificate: name a PEM file with 'BEGIN CERTIFICATE'"
        ) from None


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{setting}: {path} cannot be read ({error.strerror}): name a file that the server may read"
        ) from None
