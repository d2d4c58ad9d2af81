"""NAT outgoing: packets from a pool's pods to outside all pools leave with the node's address.

Theory of operation: one nft table, `inet calicopy`, is ours whole. It is replaced in one transaction (`nft -f -`), so
there is never a moment without it, and only when it differs: its rules carry a digest of the wanted text as a comment.
"""
from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from calicopy.kernel.problems import KernelProblem, ProblemKind
from calicopy.net import Family, Prefix

TABLE = "calicopy"
_TIMEOUT_S = 10.0
_KEYWORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}


@dataclass(frozen=True, slots=True)
class NatSpec:
    """`outgoing`: pools with nat_outgoing. `pools`: all pools, between which nothing is translated."""

    outgoing: tuple[Prefix, ...]
    pools: tuple[Prefix, ...]


def render(spec: NatSpec) -> str:
    """The nft script that makes the table what `spec` says, in one transaction; without pools it removes it."""
    # `table` alone makes an empty one where there is none, so that the `delete` after it never fails.
    head = f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n"
    if not spec.outgoing:
        return head
    rules = [_rule(family, spec) for family in Family]
    body = "\n".join(rule for rule in rules if rule)
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    body = body.replace("@DIGEST@", digest)
    chain = f"  chain postrouting {{\n    type nat hook postrouting priority 100; policy accept;\n{body}\n  }}\n"
    return f"{head}table inet {TABLE} {{\n{chain}}}\n"


def _rule(family: Family, spec: NatSpec) -> str:
    sources = _elements(family, spec.outgoing)
    if not sources:
        return ""
    inside, keyword = _elements(family, (*spec.pools, *spec.outgoing)), _KEYWORD[family]
    return (
        f"    {keyword} saddr {{ {sources} }} {keyword} daddr != {{ {inside} }} "
        f'counter masquerade comment "calicopy:@DIGEST@"'
    )


def _elements(family: Family, prefixes: Sequence[Prefix]) -> str:
    return ", ".join(str(prefix) for prefix in sorted({prefix for prefix in prefixes if prefix.family is family}))


def digest_of(script: str) -> str:
    """The digest that a rendered script carries; empty for one that removes the table."""
    _, _, rest = script.partition('"calicopy:')
    return rest.partition('"')[0]


def ensure_nat(spec: NatSpec) -> list[KernelProblem]:
    """Bring the table to what `spec` says. Runs `nft`, in the network namespace of the calling thread."""
    script = render(spec)
    digest = digest_of(script)
    try:
        listed = _nft(["list", "table", "inet", TABLE], "")
        present = listed.returncode == 0
        if not present and not digest:
            return []
        if present and digest and listed.stdout.count(f"calicopy:{digest}") == script.count(digest):
            return []
        done = _nft(["-f", "-"], script)
    except FileNotFoundError:
        if not digest:
            return []
        return [KernelProblem(ProblemKind.NFT_MISSING, TABLE, "nat_outgoing needs the nft command (package nftables)")]
    except subprocess.TimeoutExpired:
        return [KernelProblem(ProblemKind.NFT_FAILED, TABLE, f"nft did not end within {_TIMEOUT_S:g} s")]
    if done.returncode == 0:
        return []
    kind = ProblemKind.NO_PERMISSION if "not permitted" in done.stderr else ProblemKind.NFT_FAILED
    return [KernelProblem(kind, f"inet {TABLE}", done.stderr.strip().split("\n")[0])]


def _nft(arguments: list[str], script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nft", *arguments], input=script, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
