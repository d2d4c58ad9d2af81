"""Capabilities of an OPEN (RFC 5492): one reader per code, one value for all of them.

Theory of operation: families other than IPv4 and IPv6 unicast are kept as numbers where the multiprotocol capability
names them, and left out elsewhere: calicopy cannot use them. A capability that is unknown, or has a wrong length, is
kept as octets.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from calicopy.net import Family
from calicopy.net.family import SAFI_UNICAST

_IPV4_OVER_IPV6 = b"\0\1\0\1\0\2"


class CapabilityCode(enum.IntEnum):
    """Capability codes (IANA)."""

    MULTIPROTOCOL = 1
    ROUTE_REFRESH = 2
    EXTENDED_NEXT_HOP = 5
    EXTENDED_MESSAGE = 6
    ROLE = 9
    GRACEFUL_RESTART = 64
    ASN4 = 65
    ADD_PATH = 69
    ENHANCED_REFRESH = 70
    LONG_LIVED_GRACEFUL_RESTART = 71
    FQDN = 73


class PathMode(enum.IntFlag):
    """ADD-PATH send/receive (RFC 7911 section 4), from the side of the speaker that announces it."""

    RECEIVE = 1
    SEND = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class GracefulRestart:
    """Graceful restart (RFC 4724 section 3). `restarting`: the R bit. `notification`: the N bit (RFC 8538).

    `restart_time_s`: 0 to 4095. `families`: each with its F bit, whether forwarding state was preserved.
    """

    restart_time_s: int
    families: tuple[tuple[Family, bool], ...] = ()
    restarting: bool = False
    notification: bool = False

    def preserves(self, family: Family) -> bool:
        """Whether the F bit is set for the family."""
        return (family, True) in self.families

    def covers(self, family: Family) -> bool:
        """Whether the family is named at all."""
        return any(one is family for one, _ in self.families)


@dataclass(frozen=True, slots=True)
class LongLivedFamily:
    """One family of long-lived graceful restart (RFC 9494 section 3): F bit, and stale time of 0 to 16777215 s."""

    family: Family
    preserved: bool
    stale_time_s: int


@dataclass(frozen=True, slots=True)
class Fqdn:
    """Host and domain name of the speaker; octets that are no UTF-8 became U+FFFD."""

    host: str
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """All capabilities of one OPEN.

    `families` and `other_families` ((AFI, SAFI) numbers): from the multiprotocol capability; with neither, the
    speaker has IPv4 unicast alone. `asn4`: its AS number, None without the capability. `role`: RFC 9234. `unknown`:
    (code, octets).
    """

    families: tuple[Family, ...] = ()
    other_families: tuple[tuple[int, int], ...] = ()
    route_refresh: bool = False
    enhanced_refresh: bool = False
    extended_message: bool = False
    extended_next_hop: bool = False
    asn4: int | None = None
    add_path: tuple[tuple[Family, PathMode], ...] = ()
    graceful_restart: GracefulRestart | None = None
    long_lived: tuple[LongLivedFamily, ...] = ()
    role: int | None = None
    fqdn: Fqdn | None = None
    unknown: tuple[tuple[int, bytes], ...] = ()

    @property
    def unicast_families(self) -> frozenset[Family]:
        """The unicast families that the speaker can carry."""
        if not self.families and not self.other_families:
            return frozenset({Family.IPV4})
        return frozenset(self.families)

    def paths(self, mode: PathMode) -> frozenset[Family]:
        """The families for which the speaker would do `mode` of ADD-PATH."""
        return frozenset(family for family, modes in self.add_path if mode in modes)


NO_CAPABILITIES = Capabilities()
"""What a speaker of RFC 1771 announces."""


@dataclass(slots=True)
class CapabilitiesDraft:
    """Capabilities while they are being read."""

    families: list[Family] = field(default_factory=list)
    other_families: list[tuple[int, int]] = field(default_factory=list)
    route_refresh: bool = False
    enhanced_refresh: bool = False
    extended_message: bool = False
    extended_next_hop: bool = False
    asn4: int | None = None
    add_path: dict[Family, PathMode] = field(default_factory=dict)
    graceful_restart: GracefulRestart | None = None
    long_lived: dict[Family, LongLivedFamily] = field(default_factory=dict)
    role: int | None = None
    fqdn: Fqdn | None = None
    unknown: list[tuple[int, bytes]] = field(default_factory=list)

    def finish(self) -> Capabilities:
        """The value."""
        return Capabilities(
            families=tuple(dict.fromkeys(self.families)),
            other_families=tuple(dict.fromkeys(self.other_families)),
            route_refresh=self.route_refresh,
            enhanced_refresh=self.enhanced_refresh,
            extended_message=self.extended_message,
            extended_next_hop=self.extended_next_hop,
            asn4=self.asn4,
            add_path=tuple(self.add_path.items()),
            graceful_restart=self.graceful_restart,
            long_lived=tuple(self.long_lived.values()),
            role=self.role,
            fqdn=self.fqdn,
            unknown=tuple(self.unknown),
        )


def decode_capability(draft: CapabilitiesDraft, code: int, value: bytes) -> None:
    """Read one capability into the draft; among the unknown when its code or its length is not known."""
    reader = _READERS.get(code)
    if reader is None or not reader(draft, value):
        draft.unknown.append((code, value))


def _family(afi: bytes, safi: int) -> Family | None:
    number = int.from_bytes(afi, "big")
    return next((family for family in Family if family == number and safi == SAFI_UNICAST), None)


def _read_multiprotocol(draft: CapabilitiesDraft, value: bytes) -> bool:
    if len(value) != 4:
        return False
    family = _family(value[:2], value[3])
    if family is not None:
        draft.families.append(family)
    else:
        draft.other_families.append((int.from_bytes(value[:2], "big"), value[3]))
    return True


def _read_route_refresh(draft: CapabilitiesDraft, value: bytes) -> bool:
    draft.route_refresh = draft.route_refresh or not value
    return not value


def _read_enhanced_refresh(draft: CapabilitiesDraft, value: bytes) -> bool:
    draft.enhanced_refresh = draft.enhanced_refresh or not value
    return not value


def _read_extended_message(draft: CapabilitiesDraft, value: bytes) -> bool:
    draft.extended_message = draft.extended_message or not value
    return not value


def _read_extended_next_hop(draft: CapabilitiesDraft, value: bytes) -> bool:
    """RFC 8950 section 4: NLRI AFI 2, NLRI SAFI 2, next hop AFI 2; ours is IPv4 unicast over IPv6."""
    if not value or len(value) % 6:
        return False
    if any(value[at : at + 6] == _IPV4_OVER_IPV6 for at in range(0, len(value), 6)):
        draft.extended_next_hop = True
    return True


def _read_role(draft: CapabilitiesDraft, value: bytes) -> bool:
    if len(value) != 1:
        return False
    draft.role = value[0]
    return True


def _read_graceful_restart(draft: CapabilitiesDraft, value: bytes) -> bool:
    if len(value) % 4 != 2:
        return False
    families: dict[Family, bool] = {}
    for at in range(2, len(value), 4):
        family = _family(value[at : at + 2], value[at + 2])
        if family is not None:
            families[family] = bool(value[at + 3] & 0x80)
    draft.graceful_restart = GracefulRestart(
        restart_time_s=int.from_bytes(value[:2], "big") & 0x0FFF,
        families=tuple(families.items()),
        restarting=bool(value[0] & 0x80),
        notification=bool(value[0] & 0x40),
    )
    return True


def _read_asn4(draft: CapabilitiesDraft, value: bytes) -> bool:
    if len(value) != 4:
        return False
    draft.asn4 = int.from_bytes(value, "big")
    return True


def _read_add_path(draft: CapabilitiesDraft, value: bytes) -> bool:
    if not value or len(value) % 4:
        return False
    for at in range(0, len(value), 4):
        family, mode = _family(value[at : at + 2], value[at + 2]), value[at + 3]
        if family is not None and 1 <= mode <= 3:  # others are to be ignored, RFC 7911 section 4
            draft.add_path[family] = PathMode(mode)
    return True


def _read_long_lived(draft: CapabilitiesDraft, value: bytes) -> bool:
    if len(value) % 7:
        return False
    for at in range(0, len(value), 7):
        family = _family(value[at : at + 2], value[at + 2])
        if family is not None:
            stale_time_s = int.from_bytes(value[at + 4 : at + 7], "big")
            draft.long_lived[family] = LongLivedFamily(family, bool(value[at + 3] & 0x80), stale_time_s)
    return True


def _read_fqdn(draft: CapabilitiesDraft, value: bytes) -> bool:
    if not value or len(value) < 2 + value[0]:
        return False
    stop = 1 + value[0]
    if len(value) != stop + 1 + value[stop]:
        return False
    host, domain = value[1:stop], value[stop + 1 :]
    draft.fqdn = Fqdn(host.decode("utf-8", errors="replace"), domain.decode("utf-8", errors="replace"))
    return True


_READERS: dict[int, Callable[[CapabilitiesDraft, bytes], bool]] = {
    CapabilityCode.MULTIPROTOCOL: _read_multiprotocol,
    CapabilityCode.ROUTE_REFRESH: _read_route_refresh,
    CapabilityCode.EXTENDED_NEXT_HOP: _read_extended_next_hop,
    CapabilityCode.EXTENDED_MESSAGE: _read_extended_message,
    CapabilityCode.ROLE: _read_role,
    CapabilityCode.GRACEFUL_RESTART: _read_graceful_restart,
    CapabilityCode.ASN4: _read_asn4,
    CapabilityCode.ADD_PATH: _read_add_path,
    CapabilityCode.ENHANCED_REFRESH: _read_enhanced_refresh,
    CapabilityCode.LONG_LIVED_GRACEFUL_RESTART: _read_long_lived,
    CapabilityCode.FQDN: _read_fqdn,
}


def encode_capabilities(capabilities: Capabilities) -> list[bytes]:
    """Each capability as code, length, value; ValueError when a value is over 255 octets."""
    return [bytes((code, len(value))) + value for code, value in _values(capabilities)]


def _values(capabilities: Capabilities) -> Iterable[tuple[int, bytes]]:
    for family in capabilities.families:
        yield CapabilityCode.MULTIPROTOCOL, bytes((0, family, 0, SAFI_UNICAST))
    for afi, safi in capabilities.other_families:
        yield CapabilityCode.MULTIPROTOCOL, afi.to_bytes(2, "big") + bytes((0, safi))
    if capabilities.route_refresh:
        yield CapabilityCode.ROUTE_REFRESH, b""
    if capabilities.extended_next_hop:
        yield CapabilityCode.EXTENDED_NEXT_HOP, _IPV4_OVER_IPV6
    if capabilities.extended_message:
        yield CapabilityCode.EXTENDED_MESSAGE, b""
    if capabilities.role is not None:
        yield CapabilityCode.ROLE, bytes((capabilities.role,))
    restart = capabilities.graceful_restart
    if restart is not None:
        yield CapabilityCode.GRACEFUL_RESTART, _graceful_restart(restart)
    if capabilities.asn4 is not None:
        yield CapabilityCode.ASN4, capabilities.asn4.to_bytes(4, "big")
    if capabilities.add_path:
        entries = (bytes((0, family, SAFI_UNICAST, mode)) for family, mode in capabilities.add_path)
        yield CapabilityCode.ADD_PATH, b"".join(entries)
    if capabilities.enhanced_refresh:
        yield CapabilityCode.ENHANCED_REFRESH, b""
    if capabilities.long_lived:
        yield CapabilityCode.LONG_LIVED_GRACEFUL_RESTART, b"".join(map(_long_lived, capabilities.long_lived))
    if capabilities.fqdn is not None:
        host, domain = capabilities.fqdn.host.encode(), capabilities.fqdn.domain.encode()
        yield CapabilityCode.FQDN, bytes((len(host),)) + host + bytes((len(domain),)) + domain
    yield from capabilities.unknown


def _graceful_restart(restart: GracefulRestart) -> bytes:
    if not 0 <= restart.restart_time_s < 4096:
        raise ValueError(f"restart time {restart.restart_time_s} s, expected 0 to 4095 (RFC 4724 section 3)")
    flags = (0x8000 if restart.restarting else 0) | (0x4000 if restart.notification else 0)
    entries = (bytes((0, family, SAFI_UNICAST, 0x80 if kept else 0)) for family, kept in restart.families)
    return (flags | restart.restart_time_s).to_bytes(2, "big") + b"".join(entries)


def _long_lived(entry: LongLivedFamily) -> bytes:
    head = bytes((0, entry.family, SAFI_UNICAST, 0x80 if entry.preserved else 0))
    return head + entry.stale_time_s.to_bytes(3, "big")
