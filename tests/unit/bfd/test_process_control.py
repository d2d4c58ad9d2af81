"""What clients of the control socket say, whatever that is."""
from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from calicopy.bfd.process.control import Control


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(str(tmp_path / "bfd.sock"))
    yield made
    made.close()


@pytest.mark.parametrize("end", [b"", b"\npoke\n"])
def test_a_client_whose_line_is_too_long_is_cut_off(control: Control, end: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(control._path))
        descriptor = control.accept(lambda: ["end\n"])
        assert descriptor is not None
        client.send(b"poke\nack 10.0.0.2")
        assert control.lines(descriptor) == ["poke"]
        client.send(b" " + b"9" * 5000 + end)
        assert control.lines(descriptor) == []
        assert client.recv(100) == b"end\n"
        assert client.recv(100) == b""
    assert not control.clients
