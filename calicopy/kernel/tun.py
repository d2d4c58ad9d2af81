"""The TUN device of encapsulation `udp`, by ioctl (linux/if_tun.h). Standard library only: the forwarder uses it too.

Theory of operation: the device is persistent, so it outlives whoever made it; agent and forwarder open it the same way,
and the first one makes it. But a TUN device has a carrier only while a descriptor is open on it, and without a carrier
the kernel flushes next hop objects and all routes on them, silently. So it has several queues (IFF_MULTI_QUEUE), and
agent and supervisor hold a *detached* one each: no packet is given to that, yet the carrier stays while the forwarder
and the agent are started anew.
All must open it with the same flags, since the kernel applies the last ones to everybody.
"""
from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

CLONE_DEVICE = "/dev/net/tun"
IFNAMSIZ = 16
QUEUE_LENGTH = 2000
"""Packets that wait for the forwarder, some 20 ms. With the kernel's 500 every pause of the scheduler loses some."""

_TUNSETIFF, _TUNSETPERSIST, _TUNSETQUEUE = 0x400454CA, 0x400454CB, 0x400454D9
_TUNGETIFF = 0x800454D2
_IFF_TUN, _IFF_NO_PI, _IFF_MULTI_QUEUE, _IFF_DETACH_QUEUE = 0x0001, 0x1000, 0x0100, 0x0400
_SIOCGIFTXQLEN, _SIOCSIFTXQLEN = 0x8942, 0x8943
_IFREQ_INT = struct.Struct("16si20x")
_IFREQ = struct.Struct("16sH22x")


class TunError(OSError):
    """The device cannot be had; the text is for people."""


def open_tun(name: str) -> int:
    """A queue of the device, which is made when it is not there: a descriptor that does not block, each read and write
    an IP packet. TunError says what is missing."""
    request = _IFREQ.pack(_octets(name), _IFF_TUN | _IFF_NO_PI | _IFF_MULTI_QUEUE)
    try:
        descriptor = os.open(CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TunError(error.errno, _why_not_open(error)) from None
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        _set_queue_length(name)
    except OSError as error:
        os.close(descriptor)
        raise TunError(error.errno, _why_not_made(name, error)) from None
    return descriptor


def _set_queue_length(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        found = fcntl.ioctl(any_socket.fileno(), _SIOCGIFTXQLEN, _IFREQ_INT.pack(_octets(name), 0))
        if _IFREQ_INT.unpack(found)[1] != QUEUE_LENGTH:
            fcntl.ioctl(any_socket.fileno(), _SIOCSIFTXQLEN, _IFREQ_INT.pack(_octets(name), QUEUE_LENGTH))


def hold_tun(name: str) -> int:
    """As `open_tun`, but the queue is detached: it keeps the device and its carrier, and is given no packet."""
    descriptor = open_tun(name)
    try:
        fcntl.ioctl(descriptor, _TUNSETQUEUE, _IFREQ.pack(b"", _IFF_DETACH_QUEUE))
    except OSError as error:
        os.close(descriptor)
        raise TunError(error.errno, f"{name}: its queue cannot be detached: {error.strerror}") from None
    return descriptor


class TunHold:
    """A detached queue of a device, kept open: without any the device has no carrier."""

    __slots__ = ("_device", "_queue")

    def __init__(self) -> None:
        self._device = ""
        self._queue = -1

    def hold(self, device: str) -> None:
        """Have one of this device, made anew when somebody deleted the device. TunError."""
        if device != self._device or not _is_there(self._queue):
            self.close()
            self._queue, self._device = hold_tun(device), device

    def close(self) -> None:
        """Let go of it."""
        if self._queue >= 0:
            os.close(self._queue)
        self._queue, self._device = -1, ""


def _is_there(descriptor: int) -> bool:
    """Whether the device that the descriptor was opened for is still there."""
    try:
        fcntl.ioctl(descriptor, _TUNGETIFF, bytes(_IFREQ.size))
    except OSError:
        return False
    return True


def _octets(name: str) -> bytes:
    octets = name.encode()
    if not 0 < len(octets) < IFNAMSIZ:
        raise TunError(errno.EINVAL, f"{name!r} is no name for a device")
    return octets


def _why_not_open(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"there is no {CLONE_DEVICE}: give it to the container, or load the module tun"
        case errno.ENODEV | errno.ENXIO:
            return f"{CLONE_DEVICE} has no driver: the kernel lacks the module tun"
        case errno.EPERM | errno.EACCES:
            return f"{CLONE_DEVICE} may not be opened: the container must be given the device"
    return f"{CLONE_DEVICE}: {error.strerror}"


def _why_not_made(name: str, error: OSError) -> str:
    match error.errno:
        case errno.EPERM:
            return f"making {name} needs CAP_NET_ADMIN"
        case errno.EINVAL | errno.EBUSY:
            return f"{name} is there, but is no TUN device with several queues"
    return f"{name}: {error.strerror}"
