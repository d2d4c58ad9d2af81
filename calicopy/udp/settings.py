"""What the agent tells the forwarder, and what that tells the agent: two small files in the run directory.

Theory of operation: each file is written whole (`calicopy.unit.write_whole`). The settings are the agent's, and there
while the cluster file wants udp; the status is the forwarder's. A line says one thing, since loading a module that
reads more than that (json) would add a quarter to the time that a killed forwarder takes to be back.
"""
from __future__ import annotations

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
        lines = [f"device {self.device}", f"port {self.port}"]
        lines += [f"address {address}" for address in self.addresses]
        lines += [f"node {gateway} {address}" for gateway, address in sorted(self.nodes.items())]
        return "".join(f"{line}\n" for line in lines)


def parse_settings(text: str) -> Settings:
    """The content of the file. ValueError when it is not what `as_text` writes."""
    device, port = "", 0
    addresses, nodes = [], {}
    for line in text.splitlines():
        match line.split(" "):
            case ["device", name]:
                device = name
            case ["port", number]:
                port = int(number)
            case ["address", address]:
                addresses.append(address)
            case ["node", gateway, address]:
                nodes[gateway] = address
            case _:
                raise ValueError(f"line {line!r} is not the agent's")
    if not device or not port or not addresses:
        raise ValueError("it says too little")
    return Settings(device, port, addresses=addresses, nodes=nodes)


def device_of(line: str) -> str:
    """The device that the first line of the file names. ValueError when it names none."""
    key, _, name = line.rstrip("\n").partition(" ")
    if key != "device" or not name:
        raise ValueError("it names no device")
    return name


class Status:
    """Who says it, when (monotonic seconds), what is wrong (empty: nothing), and the counters by name."""

    __slots__ = ("counters", "error", "pid", "said")

    def __init__(self, *, pid: int, said: float, error: str, counters: Mapping[str, int]) -> None:
        self.pid = pid
        self.said = said
        self.error = error
        self.counters = counters

    def as_text(self) -> str:
        """The file's content."""
        lines = [f"pid {self.pid}", f"time {self.said}", f"error {self.error}".replace("\n", " ")]
        lines += [f"counter {name} {value}" for name, value in self.counters.items()]
        return "".join(f"{line}\n" for line in lines)


def parse_status(text: str) -> Status:
    """The content of the file. ValueError when it is not what `as_text` writes."""
    pid, said, error = 0, -1.0, ""
    counters = {}
    for line in text.splitlines():
        match line.split(" "):
            case ["pid", number]:
                pid = int(number)
            case ["time", seconds]:
                said = float(seconds)
            case ["error", *words]:
                error = " ".join(words)
            case ["counter", name, number]:
                counters[name] = int(number)
            case _:
                raise ValueError(f"line {line!r} is not the forwarder's")
    if not pid or said < 0:
        raise ValueError("it says too little")
    return Status(pid=pid, said=said, error=error, counters=counters)
