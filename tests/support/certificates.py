"""A certificate authority for one test, made with openssl."""
from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@dataclass
class Authority:
    """A CA in a directory, and what it signs."""

    directory: Path
    name: str

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.name}.crt"

    def make(self) -> Authority:
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2,
                "-subj", f"/CN={self.name}", "-keyout", self.directory / f"{self.name}.key", "-out", self.certificate)
        return self

    def sign(self, name: str, into: str | None = None) -> tuple[Path, Path]:
        """Certificate and key for `name`, with 127.0.0.1 as its address."""
        base = self.directory / (into or name)
        key, request, certificate = (base.with_suffix(ending) for ending in (".key", ".csr", ".crt"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey",
                self.certificate.with_suffix(".key"), "-days", 2, "-copy_extensions", "copy", "-out", certificate)
        return certificate, key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
