"""The sockets of BFD (RFC 5881 section 4, RFC 5883 section 5): four that listen, and one a session to send from."""
from __future__ import annotations

import errno
import socket
from sys import byteorder

SINGLE_PORT, MULTI_PORT = 3784, 4784
FIRST_SOURCE_PORT, LAST_SOURCE_PORT = 49152, 65535
_TTL = 255
_CS6 = 0xC0  # class selector 6, as routing protocols are sent (RFC 4594 section 3.2)
_IP_RECVTTL, _IPV6_RECVHOPLIMIT, _SO_RCVBUFFORCE = 12, 51, 33
RECEIVE_BUFFER = 4 << 20  # octets: what comes in while this process is stopped for a second
MOST_QUEUED = RECEIVE_BUFFER // 512  # datagrams; the kernel counts more for each
_TRIES, _STRIDE = 64, 257  # source ports of which one has to be free, and how far apart they are

PORTS = tuple((family, port) for family in (socket.AF_INET, socket.AF_INET6) for port in (SINGLE_PORT, MULTI_PORT))

Address = tuple[str, int] | tuple[str, int, int, int]


def listen(family: int, port: int) -> socket.socket:
    """A socket that gives the TTL with each datagram. OSError."""
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER // 2)  # the kernel doubles it
        except OSError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)
        made.bind(("", port))
    except BaseException:
        made.close()
        raise
    return made


def connect(local: str, peer: str, *, port: int, number: int) -> socket.socket:
    """A socket to send to `peer` from. OSError: EADDRNOTAVAIL: `local` is not here.

    Its source port follows from `number`, the session's discriminator: RFC 5881 section 4 wants the same one as long as
    the session lasts, which is longer than this process.
    """
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _TTL)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CS6)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _TTL)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CS6)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nothing that comes here is read
        _bind(made, local, number)
        made.connect(address_of(peer, port))
    except BaseException:
        made.close()
        raise
    return made


def _bind(made: socket.socket, local: str, number: int) -> None:
    for step in range(_TRIES):
        port = FIRST_SOURCE_PORT + (number + step * _STRIDE) % (LAST_SOURCE_PORT - FIRST_SOURCE_PORT + 1)
        try:
            made.bind(address_of(local, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise OSError(errno.EADDRINUSE, "no source port is free")


def address_of(text: str, port: int) -> Address:
    """As sockets take it; a link-local address has its device after a `%`. OSError when there is no such device."""
    if ":" not in text:
        return text, port
    host, _, device = text.partition("%")
    return host, port, 0, socket.if_nametoindex(device) if device else 0


def sender_key(address: Address) -> str | tuple[str, int]:
    """What a session is found by, from what recvmsg says: the address, with the device when that is a part of it."""
    return (address[0], address[3]) if len(address) == 4 and address[3] else address[0]


def peer_key(peer: str) -> str | tuple[str, int]:
    """The same from a session's peer. OSError when it names a device that is not there, or no address."""
    host, _, device = peer.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    host = socket.inet_ntop(family, socket.inet_pton(family, host))
    return (host, socket.if_nametoindex(device)) if device else host


def ttl_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The TTL or hop limit that came with a datagram; 0 when none did."""
    return int.from_bytes(ancillary[0][2][:4], byteorder) if ancillary else 0
