"""Mutual TLS of the TCP listener: certificate, key and client CA, reread when the files change.

Theory of operation: the server library asks for the certificates before each handshake. The files' identities are
compared; only when one differs are they read. What cannot be used (half written, a key that does not fit) is reported
once, and the last good set stays. Clients without a certificate of the client CA are never let in.
"""
from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

log = logging.getLogger(__name__)


class TlsFilesError(OSError):
    """The files cannot be used; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    certificate: Path
    key: Path
    client_ca: Path

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file changes. Raises TlsFilesError."""
        stamps = []
        for path in (self.certificate, self.key, self.client_ca):
            try:
                found = path.stat()
            except OSError as error:
                raise TlsFilesError(f"{path}: {error.strerror}") from error
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(stamps)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The certificates, checked. Raises TlsFilesError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # With a password given, an encrypted key is refused; without, the terminal would be asked for one.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise TlsFilesError(f"certificate {self.certificate} with key {self.key}: {_why(error)}") from error
        try:
            context.load_verify_locations(self.client_ca)
            pair = (self.key.read_bytes(), self.certificate.read_bytes())
            return grpc.ssl_server_certificate_configuration([pair], root_certificates=self.client_ca.read_bytes())
        except (ssl.SSLError, OSError) as error:
            raise TlsFilesError(f"client CA {self.client_ca}: {_why(error)}") from error


class Certificates:
    """The set in use."""

    def __init__(self, files: TlsFiles) -> None:
        """Reads the files. Raises TlsFilesError."""
        self._files = files
        self._stamp = files.stamp()
        self._first = files.read()
        self._said = ""

    def credentials(self) -> grpc.ServerCredentials:
        """For a port; asks for a client certificate, always."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self.newer,  # type: ignore[arg-type]  # None means "as before": the library says so, its types do not
            require_client_authentication=True,
        )

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        """The files' content when it changed since the last call, else None. Called by a thread of the library."""
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            made = self._files.read()
        except TlsFilesError as error:
            if str(error) != self._said:
                log.error("TLS files are not used, the ones before stay: %s", error)
                self._said = str(error)
            return None
        self._stamp, self._said = stamp, ""
        log.info("TLS files have changed: certificate %s", self._files.certificate)
        return made


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM, or not what was expected"
    return getattr(error, "strerror", None) or str(error)
