"""Packets to many addresses, and when the last of them was seen: for what a failover costs the packets themselves.

    python -m bench.flood PORT ADDRESS...      # sends, until it is ended: one packet to each, every half millisecond

Theory of operation: the sender is a process of its own, slow enough to leave the CPU to what is measured. What it sends
is kept by the kernel in the buffer of a packet socket, with the time at which it passed (CLOCK_REALTIME, as
`time.time`), and read when all is over: so watching costs next to nothing meanwhile.
"""
from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from bench.fabric import ETH_P_IP, SO_RCVBUFFORCE, BenchError, Fabric

PORT = 9  # discard
INTERVAL_S = 0.0005
BUFFER = 256 << 20
ETH_P_ALL = 0x0003
PACKET_OTHERHOST, PACKET_OUTGOING = 3, 4  # linux/if_packet.h
SO_TIMESTAMPNS, SO_ATTACH_FILTER = 35, 26
SOL_PACKET, PACKET_STATISTICS = 263, 6
SNAP = 96

# Classic BPF on a packet that begins at its IPv4 header (linux/filter.h): (code, jump if true, if false, operand).
_RETURN = [(0x06, 0, 0, SNAP), (0x06, 0, 0, 0)]
Filter = list[tuple[int, int, int, int]]


def udp_to(port: int) -> Filter:
    """UDP to a port."""
    return [(0x30, 0, 0, 9), (0x15, 0, 4, 17), (0xB1, 0, 0, 0), (0x48, 0, 0, 2), (0x15, 0, 1, port), *_RETURN]


def end_of_tcp_from(address: str) -> Filter:
    """A FIN or RST of a host."""
    source = int.from_bytes(socket.inet_aton(address), "big")
    return [(0x30, 0, 0, 9), (0x15, 0, 6, 6), (0x20, 0, 0, 12), (0x15, 0, 4, source),
            (0xB1, 0, 0, 0), (0x50, 0, 0, 13), (0x45, 0, 1, 0x05), *_RETURN]  # fmt: skip


class Capture:
    """The packets that pass a host's interface from now on, of those that `wanted` takes.

    `leaving`: only those that the host sends. A switch that does not know where a host is sends its packets to all.
    """

    def __init__(
        self, fabric: Fabric, host: str, wanted: Filter, *, device: str = "eth1", leaving: bool = False
    ) -> None:
        self._leaving = leaving
        self._socket = fabric.open_socket(host, socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        code = b"".join(struct.pack("=HBBI", *each) for each in wanted)
        held = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(wanted), ctypes.addressof(held))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((device, ETH_P_ALL))
        self._socket.setblocking(False)

    @property
    def holds_one(self) -> bool:
        """Whether a packet was seen."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def times(self) -> list[float]:
        """When each was seen; the capture ends. BenchError when some were lost for want of memory."""
        with self._socket:
            found = list(self._read())
            lost = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        if lost:
            raise BenchError(f"{lost} packets were not captured")
        return found

    def _read(self) -> Iterator[float]:
        with suppress(BlockingIOError):
            while True:
                _, ancillary, _, address = self._socket.recvmsg(SNAP, 64)
                _, protocol, kind, *_ = address
                if protocol == ETH_P_IP and (kind == PACKET_OUTGOING if self._leaving else kind != PACKET_OTHERHOST):
                    ((_, _, data),) = ancillary
                    seconds, nanoseconds = struct.unpack("@ll", data[:16])
                    yield seconds + nanoseconds / 1e9


@contextmanager
def flooding(fabric: Fabric, host: str, addresses: Sequence[str]) -> Iterator[None]:
    """A flood from a host, as long as the context lasts."""
    process = fabric.spawn(host, sys.executable, "-m", "bench.flood", str(PORT), *addresses, log="flood.log")
    try:
        yield
    finally:
        fabric.stop(process)


def send(port: int, addresses: Sequence[str]) -> None:
    """Send for ever. What the host has no route for is not sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        ends = [(address, port) for address in addresses]
        while True:
            for end in ends:
                with suppress(OSError):
                    sender.sendto(b"", end)
            time.sleep(INTERVAL_S)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        send(int(sys.argv[1]), sys.argv[2:])
