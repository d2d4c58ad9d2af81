"""The whole set of sessions to the text of ExaBGP's configuration file.

Theory of operation: a pure function of the set, apart from reading MD5 keys. The same set gives the same bytes, in the
order of the peers' addresses, so a session that did not change reads the same and keeps running at a reload. Values are
checked here, because a field with a space or a semicolon would otherwise be taken as configuration. One session that
cannot be said (its key file is missing) does not stop the others: see `Rendered`.
"""
from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from calicopy.net.family import Family
from calicopy.seam.speaker import MAX_MD5_OCTETS, MAX_RESTART_TIME_S, SessionSpec, SpecError

BRIDGE = Path(__file__).with_name("bridge.py")
HEADER = "# Written by the calicopy agent at each change: edits are lost.\n"
PATH_WORD = re.compile(r"[A-Za-z0-9_./+:@%,=-]+")
NEIGHBOR = re.compile(r"^neighbor (\S+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
MAX_KEEPALIVE_S = 65535 // 3  # a third of the longest hold time
CAPABILITY_DIRECTIONS = {(True, False): "send", (False, True): "receive", (True, True): "send/receive"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """The file's text, and what is wrong with the sessions that it holds as they were before, or not at all."""

    text: str
    problems: tuple[SpecError, ...] = ()


def render(
    specs: Iterable[SessionSpec], *, socket_path: str, bridge_command: tuple[str, ...] | None = None, present: str = ""
) -> Rendered:
    """The configuration for these sessions and a bridge that serves `socket_path`.

    A session that cannot be said keeps its block of the `present` text, so that one that runs goes on; without such a
    block it is left out. Raises SpecError where no session could be told from another: an address that is none or that
    is given twice, a command that cannot be written down.
    """
    ordered = sorted(specs, key=lambda spec: _order(spec.peer_address))
    addresses = [str(ip_address(spec.peer_address)) for spec in ordered]
    for address in {a for a in addresses if addresses.count(a) > 1}:
        raise SpecError(f"peer address {address} is given to more than one session")
    command = bridge_command or default_bridge_command(socket_path)
    for word in command:
        if not PATH_WORD.fullmatch(word):
            raise SpecError(f"the bridge's command holds {word!r}: expected letters, digits and _./+:@%,=-")
    cold = [str(ip_address(spec.peer_address)) for spec in ordered if spec.restarted_without_state]
    before = {block[1]: f"\n{block[0]}" for block in NEIGHBOR.finditer(present)}
    neighbors, problems = "", []
    for address, spec in zip(addresses, ordered, strict=True):
        try:
            neighbors += _neighbor(spec)
        except SpecError as error:
            problems.append(error)
            neighbors += before.get(address, "")
    words = " ".join((*command, "--config", digest(neighbors)))
    process = f"\nprocess bridge {{\n  run {words};\n  encoder json;\n}}\n"
    text = HEADER + "".join(f"# calicopy: cold {address}\n" for address in cold) + process + neighbors
    return Rendered(text, tuple(problems))



def digest(neighbors: str) -> str:
    """A short name for the text of all sessions; the bridge hands it back, so that the agent knows what was loaded."""
    return hashlib.sha256(neighbors.encode()).hexdigest()[:16]


def config_digest(text: str) -> str:
    """The digest that a rendered file carries, empty when there is none."""
    found = re.search(r" --config ([0-9a-f]+);", text)
    return found.group(1) if found else ""


def default_bridge_command(socket_path: str) -> tuple[str, ...]:
    """The bridge as a plain file: it needs no site packages, and is up in 20 ms without them."""
    return (sys.executable, "-I", "-S", str(BRIDGE), "--socket", socket_path)


def _order(address: str) -> tuple[int, int]:
    try:
        parsed = ip_address(address)
    except ValueError:
        raise SpecError(f"peer address {address!r} is not an IP address") from None
    return parsed.version, int(parsed)


def _neighbor(spec: SessionSpec) -> str:
    peer, local = _addresses(spec)
    lines = []
    description = _quoted(spec.description or spec.name)
    if spec.keepalive_s is not None:  # ExaBGP has no such setting: peering.py reads it from here
        description += f" keepalive={_between(spec, 'keepalive_s', spec.keepalive_s, 1, MAX_KEEPALIVE_S)}"
    if description:
        lines.append(f'description "{description.strip()}";')
    lines += [
        f"router-id {_ipv4(spec, spec.router_id)};",
        f"local-address {local};",
        f"local-as {_asn(spec, spec.local_as)};",
        f"peer-as {_asn(spec, spec.peer_as)};",
        f"hold-time {_between(spec, 'hold_time_s', spec.hold_time_s, 0, 65535)};",
        f"passive {'true' if spec.passive else 'false'};",
        f"connect {_between(spec, 'peer_port', spec.peer_port, 1, 65535)};",
    ]
    if spec.listen_port is not None:
        lines.append(f"listen {_between(spec, 'listen_port', spec.listen_port, 1, 65535)};")
    elif spec.passive:
        raise SpecError(f"session {spec.name}: a passive session needs a listen_port")
    if spec.outgoing_ttl is not None:
        lines.append(f"outgoing-ttl {_between(spec, 'outgoing_ttl', spec.outgoing_ttl, 1, 255)};")
    if spec.incoming_ttl is not None:
        lines.append(f"incoming-ttl {_between(spec, 'incoming_ttl', spec.incoming_ttl, 1, 255)};")
    if spec.md5_password_file is not None:
        lines += [f'md5-password "{_password(spec, spec.md5_password_file)}";', "md5-base64 true;"]
    lines += ["group-updates true;", "adj-rib-in false;", "adj-rib-out true;", "manual-eor true;"]
    lines += _capability(spec) + _families("family", spec.families, spec) + _add_path(spec)
    lines += [f"api peer-{peer.packed.hex()} {{", *API]  # ExaBGP wants a name of its own for each
    body = "".join(f"  {line}\n" for line in lines)
    return f"\nneighbor {peer} {{\n{body}}}\n"


API = [
    "  processes [ bridge ];",
    "  neighbor-changes;",
    "  fsm;",
    "  receive { packets; open; update; notification; refresh; }",
    "  send { packets; open; notification; }",
    "}",
]


def _capability(spec: SessionSpec) -> list[str]:
    restart = _between(spec, "graceful_restart_time_s", spec.graceful_restart_time_s, 0, MAX_RESTART_TIME_S)
    lines = ["capability {", "  asn4 enable;", "  route-refresh enable;"]
    lines.append(f"  graceful-restart {restart};" if restart else "  graceful-restart disable;")
    lines.append(f"  extended-message {'enable' if spec.extended_message else 'disable'};")
    lines.append("  multi-session disable;")
    direction = CAPABILITY_DIRECTIONS.get((bool(spec.add_path_send), bool(spec.add_path_receive)))
    if direction is not None:
        lines.append(f"  add-path {direction};")
    return [*lines, "}"]


def _families(section: str, families: Iterable[Family], spec: SessionSpec) -> list[str]:
    ordered = sorted(set(families))
    if not ordered:
        raise SpecError(f"session {spec.name}: families is empty, expected at least one")
    return [f"{section} {{", *(f"  {family} unicast;" for family in ordered), "}"]


def _add_path(spec: SessionSpec) -> list[str]:
    send, receive = set(spec.add_path_send), set(spec.add_path_receive)
    if send and receive and send != receive:
        raise SpecError(f"session {spec.name}: ExaBGP offers ADD-PATH in both directions for the same families only")
    return _families("add-path", send | receive, spec) if send | receive else []


def _addresses(spec: SessionSpec) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    try:
        peer, local = ip_address(spec.peer_address), ip_address(spec.local_address)
    except ValueError as error:
        raise SpecError(f"session {spec.name}: {error}") from None
    if "%" in str(peer) or "%" in str(local):
        raise SpecError(f"session {spec.name}: ExaBGP takes no address with a scope: {local} to {peer}")
    if peer.version != local.version or peer == local:
        raise SpecError(f"session {spec.name}: local {local} and peer {peer} must be two addresses of one family")
    return peer, local


def _ipv4(spec: SessionSpec, text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise SpecError(f"session {spec.name}: router_id {text!r}: expected four octets such as 192.0.2.1") from None


def _asn(spec: SessionSpec, number: int) -> int:
    return _between(spec, "AS number", number, 1, 0xFFFFFFFF)


def _between(spec: SessionSpec, what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise SpecError(f"session {spec.name}: {what} {value}: expected {low} to {high}")
    return value


def _quoted(text: str) -> str:
    """Free text as far as ExaBGP's quoting carries it: other characters become underscores."""
    return re.sub(r"[^A-Za-z0-9 _./:@()+-]", "_", text)[:120]


def read_key(path: str) -> bytes:
    """An MD5 key. A last line end is not part of it. OSError when the file cannot be read."""
    with Path(path).open("rb") as file:
        return file.read(MAX_MD5_OCTETS + 3).rstrip(b"\r\n")


def _password(spec: SessionSpec, path: str) -> str:
    """The key in base64, so that no character of it is taken for configuration."""
    try:
        key = read_key(path)
    except OSError as error:
        raise SpecError(f"session {spec.name}: cannot read the MD5 key file {path}: {error.strerror}") from None
    if not 1 <= len(key) <= MAX_MD5_OCTETS:
        expected = f"expected 1 to {MAX_MD5_OCTETS} octets"
        raise SpecError(f"session {spec.name}: the key in {path} is empty or too long: {expected}")
    return base64.b64encode(key).decode("ascii")
