"""What ExaBGP holds as announced: the answer of `show adj-rib out`, read back after the agent restarted."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address

from calicopy.net import Family, Packed, Prefix, PrefixError
from calicopy.speaker.client import SpeakerClient

Announced = Mapping[str, Mapping[Family, tuple[tuple[int, Packed], ...]]]
"""Peer -> family -> (path id, prefix), where the path id is 0 without ADD-PATH."""


async def announced(client: SpeakerClient) -> Announced:
    """What ExaBGP would announce on each session now. Empty when it did not answer."""
    return parse_adj_rib_out((await client.command("show adj-rib out")).output)


def parse_adj_rib_out(lines: Iterable[str]) -> Announced:
    """Lines such as `192.0.2.2 ipv4 unicast 10.0.0.0/26 path-information 0.0.0.7 next-hop 192.0.2.1`, where the path id
    may be missing; other lines are passed over.
    """
    found: dict[str, dict[Family, list[tuple[int, Packed]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        words = line.split()
        if len(words) < 4 or words[2] != "unicast":
            continue
        try:
            prefix = Prefix.parse(words[3])
            path_id = int(IPv4Address(words[5])) if words[4:5] == ["path-information"] else 0
        except (PrefixError, AddressValueError, IndexError):
            continue
        found[words[0]][prefix.family].append((path_id, prefix.packed))
    return {
        peer: {family: tuple(pairs) for family, pairs in families.items()} for peer, families in found.items()
    }
