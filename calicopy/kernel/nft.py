"""The nft table `inet calicopy`: NAT outgoing, and from whom encapsulated packets are taken.

Theory of operation: the table is ours whole (workloads are guarded in another one). It is read, and replaced only when
it differs, in one transaction (`nft -f -`), so that there is never a moment without it; flows that conntrack knows go
on, since it keeps what was decided for them. Whether it differs: each rule carries a digest of the wanted text, and
what the kernel showed after it was written must be what it shows now, but for the counters. Their values are carried
over, also when somebody removed the table meanwhile.

Ingress protection: the kernel takes an encapsulated packet from anybody, and what is inside looks like it came from a
pod. So the input hook, which sees the outer packet first, drops those that come from no node. Only what would reach
a device of ours is looked at: protocol 4 over IPv4, VXLAN with our VNI, our UDP port. What a pod sends to another node
gets its own node's address by NAT, and would be taken there: the forward hook drops it, as it comes from no node yet.
"""
from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.net import Decapsulation, Encapsulation, Family, IPAddress, Prefix

TABLE = "calicopy"
_TIMEOUT_S = 10.0
_KEYWORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_NAME = {Family.IPV4: "ipv4", Family.IPV6: "ipv6"}
_MARK = "@DIGEST@"
_COUNTER = re.compile(r"(counter (\w+) \{[^{}]*?packets )(\d+) bytes (\d+)")
_UNSUPPORTED = ("cache initialization failed", "not supported", "Unable to initialize Netlink socket")


@dataclass(frozen=True, slots=True)
class NftSpec:
    """What the table does.

    `nat_sources`: pods whose packets leave with the node's address, unless they go to `nat_exempt`.
    `guarded`: what is taken from `senders` alone.
    """

    nat_sources: tuple[Prefix, ...] = ()
    nat_exempt: tuple[Prefix, ...] = ()
    guarded: tuple[Decapsulation, ...] = ()
    senders: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter of the table: packets, and octets with their IP headers. NAT counts the first packet of a flow."""

    packets: int = 0
    octets: int = 0


class NftTable:
    """The table, in the network namespace of the calling thread. Runs `nft`."""

    def __init__(self) -> None:
        self._digest = ""
        self._shown = ""  # what the kernel showed after the table was written, or first found as wanted
        self._counters: dict[str, Counted] = {}
        self._made: tuple[NftSpec, str] | None = None
        self.replaced = 0

    def ensure(self, spec: NftSpec) -> list[KernelProblem]:
        """Bring the table to what `spec` says. Where NAT alone is refused, the protection is there all the same."""
        problem = self._ensure(spec)
        if problem is None:
            return []
        if problem.kind is ProblemKind.NFT_FAILED and spec.nat_sources and spec.guarded:
            self._ensure(replace(spec, nat_sources=()))
        return [problem]

    def counters(self) -> Mapping[str, Counted]:
        """The counters as they are now, by name; as last seen while the table cannot be read."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self._list("counters", "table")
        return dict(self._counters)

    def _ensure(self, spec: NftSpec) -> KernelProblem | None:
        body = self._body_of(spec)
        digest = _digest_of(body)
        try:
            shown = self._list()
            if self._is_wanted(shown, body, digest):
                return None
            done = _nft(["-f", "-"], _script(spec, body, self._counters))
            if done.returncode == 0:
                self.replaced += 1
                self._digest, self._shown = digest, _without_counts(self._list() or "")
                return None
        except OSError as error:
            if not body:
                return None
            missing = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be run ({error.strerror})"
            text = f"the nft command (package nftables) {missing}: {_consequence(spec)}"
            return KernelProblem(ProblemKind.NFT_MISSING, f"inet {TABLE}", text)
        except subprocess.TimeoutExpired:
            return KernelProblem(ProblemKind.NFT_FAILED, f"inet {TABLE}", f"nft did not end within {_TIMEOUT_S:g} s")
        return _refused(done.stderr, spec)

    def _body_of(self, spec: NftSpec) -> str:
        """Its text, made once as long as the spec stays: there may be thousands of nodes."""
        if self._made is None or self._made[0] != spec:
            self._made = spec, _body(spec)
        return self._made[1]

    def _is_wanted(self, shown: str | None, body: str, digest: str) -> bool:
        if shown is None or not body:
            return shown is None and not body
        if shown.count(f"calicopy:{digest}") != body.count(_MARK):
            return False
        if self._digest != digest:  # of an agent before us
            self._digest, self._shown = digest, _without_counts(shown)
        return self._shown == _without_counts(shown)

    def _list(self, *what: str) -> str | None:
        """The table, or what of it, as nft shows it, None when there is none; notes its counters."""
        listed = _nft(["list", *(what or ("table",)), "inet", TABLE], "")
        if listed.returncode != 0:
            return None
        for _, name, packets, octets in _COUNTER.findall(listed.stdout):
            self._counters[name] = Counted(int(packets), int(octets))
        return listed.stdout


def render(spec: NftSpec, counted: Mapping[str, Counted]) -> str:
    """The nft script that makes the table what `spec` says, in one transaction, with these counters.

    Nothing wanted: it removes the table.
    """
    return _script(spec, _body(spec), counted)


def _script(spec: NftSpec, body: str, counted: Mapping[str, Counted]) -> str:
    # `table` alone makes an empty one where there is none, so that the `delete` after it never fails.
    head = f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n"
    if not body:
        return head
    counters = [(name, counted.get(name, Counted())) for name in _counter_names(spec)]
    lines = [f"  counter {name} {{ packets {each.packets} bytes {each.octets} }}" for name, each in counters]
    return f"{head}table inet {TABLE} {{\n" + "\n".join(lines) + f"\n{body.replace(_MARK, _digest_of(body))}}}\n"


def _digest_of(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _body(spec: NftSpec) -> str:
    """The table's text but for the counters, with a mark in place of its digest; empty when nothing is wanted."""
    body = ""
    if nat := [rule for family in Family if (rule := _nat_rule(family, spec))]:
        body += _chain("postrouting", "type nat hook postrouting priority 100", nat)
    if spec.guarded:
        body += "".join(_senders(family, spec) for family in Family)
        body += _chain("input", "type filter hook input priority -10", list(_guard_rules(spec, forwarded=False)))
        body += _chain("forward", "type filter hook forward priority -10", list(_guard_rules(spec, forwarded=True)))
    return body


def _chain(name: str, hook: str, rules: Sequence[str]) -> str:
    lines = "".join(f'    {rule} comment "calicopy:{_MARK}"\n' for rule in rules)
    return f"  chain {name} {{\n    {hook}; policy accept;\n{lines}  }}\n"


def _nat_rule(family: Family, spec: NftSpec) -> str:
    sources = _elements(family, spec.nat_sources)
    if not sources:
        return ""
    exempt, keyword = _elements(family, (*spec.nat_exempt, *spec.nat_sources)), _KEYWORD[family]
    return (
        f"{keyword} saddr {{ {sources} }} {keyword} daddr != {{ {exempt} }} "
        f"counter name {_nat_counter(family)} masquerade"
    )


def _senders(family: Family, spec: NftSpec) -> str:
    version = 4 if family is Family.IPV4 else 6
    senders = sorted({str(address) for address in spec.senders if address.version == version})
    held = f" elements = {{ {', '.join(senders)} }}" if senders else ""
    return f"  set senders_{_NAME[family]} {{ type {_NAME[family]}_addr;{held} }}\n"


def _guard_rules(spec: NftSpec, *, forwarded: bool) -> Iterator[str]:
    """`forwarded`: for packets on their way to another node; else for those to us."""
    for guard in spec.guarded:
        for family in (Family.IPV4,) if guard.encapsulation is Encapsulation.IPIP else tuple(Family):
            keyword, senders = _KEYWORD[family], f"@senders_{_NAME[family]}"
            target = f" {keyword} daddr {senders}" if forwarded else ""
            for match in _matches(guard, family):
                yield (
                    f"{match} {keyword} saddr != {senders}{target} "
                    f"counter name {drop_counter(guard.encapsulation)} drop"
                )


def _matches(guard: Decapsulation, family: Family) -> Iterator[str]:
    match guard.encapsulation:
        case Encapsulation.IPIP:
            yield "ip protocol 4"
        case Encapsulation.VXLAN:
            # The VNI is 12 octets into the UDP header (RFC 7348 section 5): others' VXLAN on that port is theirs.
            yield f"udp dport {guard.port} @th,96,24 {guard.vni}"
            if family is Family.IPV6:
                # Fragments are put together before the hook for IPv4 alone, and the first of them must have no more
                # than the UDP header (RFC 8200 section 4.5). Nobody's VXLAN should be in fragments (RFC 7348).
                yield f"udp dport {guard.port} frag more-fragments 1"
        case _:
            yield f"udp dport {guard.port}"


def drop_counter(encapsulation: Encapsulation) -> str:
    """The counter of what strangers sent."""
    return f"dropped_{encapsulation.value}"


def _nat_counter(family: Family) -> str:
    return f"nat_{_NAME[family]}"


def _counter_names(spec: NftSpec) -> list[str]:
    names = [_nat_counter(family) for family in Family if _elements(family, spec.nat_sources)]
    return names + [drop_counter(guard.encapsulation) for guard in spec.guarded]


def _elements(family: Family, prefixes: Sequence[Prefix]) -> str:
    """The prefixes of a family, none inside another, as nft wants the elements of an interval set."""
    texts = {str(prefix) for prefix in prefixes if prefix.family is family}
    if family is Family.IPV4:
        return ", ".join(map(str, collapse_addresses(map(IPv4Network, texts))))
    return ", ".join(map(str, collapse_addresses(map(IPv6Network, texts))))


def _without_counts(shown: str) -> str:
    return _COUNTER.sub(r"\1", shown)


def _consequence(spec: NftSpec) -> str:
    parts = []
    if spec.nat_sources:
        parts.append("pods do not leave with the node's address (nat_outgoing)")
    if spec.guarded:
        parts.append("encapsulated packets are taken from anybody")
    return ", ".join(parts)


def _refused(stderr: str, spec: NftSpec) -> KernelProblem:
    message = stderr.strip().split("\n")[0].rpartition("Error: ")[2]
    if "not permitted" in stderr:
        return KernelProblem(ProblemKind.NO_PERMISSION, f"inet {TABLE}", f"{message}: {_consequence(spec)}")
    if any(words in stderr for words in _UNSUPPORTED):
        message = f"the kernel has no nf_tables, or not what this needs of it ({message})"
    return KernelProblem(ProblemKind.NFT_FAILED, f"inet {TABLE}", f"{message}: {_consequence(spec)}")


def _nft(arguments: list[str], script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nft", *arguments], input=script, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
