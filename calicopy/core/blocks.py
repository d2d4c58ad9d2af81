"""Between the RIB and IPAM: what other nodes announce, what we claim, and where two want the same.

Theory of operation: the RIB tells which blocks and host prefixes it heard from which node; IPAM keeps reservations and
settles conflicts, and tells who may announce what, which goes back to the RIB. A claim is confirmed only when all that
was heard before the gate opened has been told to IPAM. Of the host prefixes that others announce only those inside our
blocks matter (the winner of a conflict must not assign them), so that a large table of them costs nothing here.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping

from calicopy.config.resolve import NodeConfig
from calicopy.core.commands import Command, Log
from calicopy.core.views import LogView
from calicopy.ipam import BlockState, Ipam
from calicopy.net import Family, Packed, Prefix, pack
from calicopy.rib import Decisions, Holder, Rib


class Blocks:
    """Keeps `ipam` and `rib` of one mind about blocks."""

    def __init__(self, node: NodeConfig, rib: Rib, ipam: Ipam, *, emit: Callable[[Command], None]) -> None:
        self._rib = rib
        self._ipam = ipam
        self._emit = emit
        self._pinned: set[Prefix] = set()
        self._repinned: set[Prefix] = set()  # the RIB has to be told of these, whoever holds them
        self.configure(node)
        self._hosts: dict[Family, dict[Packed, int]] = {family: {} for family in Family}
        self._told: dict[Family, dict[Packed, int]] = {family: {} for family in Family}
        self._conflicts: dict[tuple[str, str], str] = {}

    def configure(self, node: NodeConfig) -> None:
        """Another cluster file, or the first: which blocks are pinned to other nodes."""
        pinned = {prefix for prefix, owner in node.pinned.items() if owner != node.name}
        self._repinned |= pinned ^ self._pinned
        self._pinned = pinned

    def heard(self, decisions: Decisions) -> None:
        """Tell IPAM what the decision process came across."""
        rows = [*decisions.owners_seen, *decisions.conflicts]
        if rows:
            self._see(rows)
        for family, packed, router_id in decisions.conflicts_over:
            self._ipam.conflict_over(Prefix(family, packed), router_id)
        for family in Family:
            self._learn_hosts(family, decisions)
        if rows or decisions.conflicts_over:
            self.report()

    def _see(self, rows: list[tuple[Family, Packed, int]]) -> None:
        """Tell IPAM of blocks at other nodes, and say which of ours it gave up for that."""
        before = {view.prefix: view.state for view in self._ipam.blocks()}
        self._ipam.seen(rows)
        after = {view.prefix for view in self._ipam.blocks()}
        for block, state in before.items():
            if block not in after:
                kind = "claim" if state is BlockState.PENDING else "block"
                text = f"the {kind} {block} is given up: another node owns it"
                self._emit(Log(LogView("ipam", str(block), f"{kind}-lost", text, "warning")))

    def _learn_hosts(self, family: Family, decisions: Decisions) -> None:
        """Keep the host prefixes that other nodes announce, those that were refused in a conflict too."""
        hosts, bits = self._hosts[family], family.bits
        changed = False
        for kind, packed, router_id in decisions.conflicts_over:
            if kind is family and hosts.get(packed) == router_id:
                del hosts[packed]
                changed = True
        for selection, prefixes in decisions.changes.get(family, ()):
            owner = None if selection is None else selection.best.owner
            for packed in prefixes:
                if packed[0] != bits or hosts.get(packed) == owner:
                    continue
                changed = True
                if owner is None:
                    del hosts[packed]
                else:
                    hosts[packed] = owner
        for kind, packed, router_id in decisions.conflicts:
            if kind is family and packed[0] == bits and packed not in hosts:
                hosts[packed] = router_id
                changed = True
        if changed:
            self._tell_hosts(family)

    def _tell_hosts(self, family: Family) -> None:
        hosts = self._hosts[family]
        inside: dict[Packed, int] = {}
        for view in self._ipam.blocks() if hosts else ():
            block = view.prefix
            if block.family is not family:
                continue
            if block.size > len(hosts):
                inside.update({host: owner for host, owner in hosts.items() if Prefix(family, host) in block})
                continue
            for number in range(block.first, block.first + block.size):
                host = pack(number, family.bits, family)
                if host in hosts:
                    inside[host] = hosts[host]
        if inside != self._told[family]:
            self._told[family] = inside
            self._ipam.remote_host_routes(family, inside)
            self.report()

    def confirm(self) -> None:
        """Every claim that waits holds."""
        for claim in self._ipam.pending():
            self._ipam.confirm(claim.block)
        self.own_changed()

    def own_changed(self) -> None:
        """Our blocks are others than before: other host prefixes lie in them."""
        for family in Family:
            self._tell_hosts(family)

    def tell_rib(self) -> bool:
        """Who may announce which block from now on; whether anything changed."""
        changes = self._ipam.take_holder_changes()
        if self._repinned:
            held = self._ipam.holders()
            for prefix in self._repinned:
                changes.setdefault(prefix.family, {})[prefix.packed] = held[prefix.family].get(prefix.packed)
            self._repinned.clear()
        for family, holders in changes.items():
            self._rib.set_holders(family, self._as_holders(family, holders))
        return bool(changes)

    def _as_holders(self, family: Family, held: Mapping[Packed, int | None]) -> dict[Packed, Holder | None]:
        """The same for the RIB. Many blocks of few nodes come at once: a holder is made once for all that it holds."""
        loose = {who: None if who is None else Holder(who) for who in set(held.values())}
        holders = {block: loose[who] for block, who in held.items()}
        for prefix in self._pinned:
            who = held.get(prefix.packed) if prefix.family is family else None
            if who is not None:
                holders[prefix.packed] = Holder(who, pinned=True)
        return holders

    def report(self) -> None:
        """Log conflicts that are new, and those that are over."""
        found = {("block-conflict", str(one.block)): str(one) for one in self._ipam.block_conflicts()}
        found |= {("address-conflict", str(one.address)): str(one) for one in self._ipam.address_conflicts()}
        for key, text in found.items():
            if key not in self._conflicts:
                self._emit(Log(LogView("ipam", key[1], key[0], text, "warning")))
        for key in self._conflicts.keys() - found.keys():
            self._emit(Log(LogView("ipam", key[1], f"{key[0]}-over", f"the conflict over {key[1]} is over")))
        self._conflicts = found
