"""What the agent tells the forwarder, and what that tells the agent: two small files in the run directory.

Theory of operation: each file is written whole beside its place and renamed into it, so a reader never sees half of
one. The settings are the agent's, and there while the cluster file wants udp; the status is the forwarder's. Standard
library only, without the modules that would cost the forwarder more memory than its work does.
"""
from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping

STATUS_S = 1.0  # how often the status is written


class Settings:
    """Device, port, our own addresses (at most one a family), and the other nodes: their addresses by what the routes
    over the device have as gateway. For IPv6 that is not the address itself, which the kernel takes for another link's.
    """

    __slots__ = ("addresses", "device", "nodes", "port")

    def __init__(self, device: str, port: int, *, addresses: Iterable[str], nodes: Mapping[str, str]) -> None:
        self.device = device
        self.port = port
        self.addresses = tuple(addresses)
        self.nodes = dict(nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.as_text() == other.as_text()

    def __hash__(self) -> int:
        return hash(self.as_text())

    def same_place(self, other: Settings) -> bool:
        """Whether device, port and addresses are the same, so that nothing has to be opened anew."""
        return (self.device, self.port, self.addresses) == (other.device, other.port, other.addresses)

    def as_text(self) -> str:
        """The file's content."""
        words = {"device": self.device, "port": self.port, "addresses": self.addresses, "nodes": self.nodes}
        return json.dumps(words, sort_keys=True) + "\n"


def parse_settings(text: str) -> Settings:
    """The content of the file. ValueError when it is not what `as_text` writes."""
    words = json.loads(text)
    try:
        device, port, addresses, nodes = (words[key] for key in ("device", "port", "addresses", "nodes"))
        names = (device, *addresses, *nodes, *nodes.values())
        if isinstance(port, int) and all(isinstance(one, str) for one in names):
            return Settings(device, port, addresses=addresses, nodes=nodes)
    except (KeyError, TypeError, AttributeError):
        pass
    raise ValueError("it is not a file of the agent's")


def write_whole(path: str, text: str) -> None:
    """Put `text` at `path` at once, whatever was there. OSError."""
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to load
        file.write(text)
    os.replace(beside, path)  # noqa: PTH105 - as above


def remove(path: str) -> None:
    """Have nothing at `path`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as above
