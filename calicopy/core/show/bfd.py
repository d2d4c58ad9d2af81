"""Pictures of what BFD says of a peer, and of what is out of use for it: reading only."""
from __future__ import annotations

from collections.abc import Callable

from calicopy.core.core import Core
from calicopy.core.peering.bfd_words import diagnostic
from calicopy.core.peering.peer import Peer
from calicopy.core.views import BfdView
from calicopy.net import IPAddress


def bfd_view(core: Core, peer: Peer, clock: Callable[[float], float]) -> BfdView | None:
    """The peer's BFD session; None where it is not watched. `clock` turns monotonic seconds into wall-clock ones."""
    watch = core.bfd.watches.get(peer.key)
    if watch is None:
        return None
    standing = core.bfd.standing(peer.key, watch.out_at)
    state = watch.state
    return BfdView(
        effect=standing.effect,
        reason=standing.why,
        since=0.0 if standing.since is None else clock(standing.since),
        until=0.0 if standing.until is None else clock(standing.until),
        next_hops=watch.next_hops,
        state=state,
        state_since=0.0 if state is None else clock(state.changed_at),
        diagnostic=diagnostic(state.diagnostic) if state is not None and state.diagnostic else "",
        remote_diagnostic=diagnostic(state.remote_diagnostic) if state is not None and state.remote_diagnostic else "",
    )


def bfd_problem(core: Core, peer: Peer) -> str:
    """What is out of use for the peer's BFD, and why; empty when nothing is."""
    watch = core.bfd.watches.get(peer.key)
    if watch is None or not watch.out:
        return ""
    return f"out of use: {', '.join(map(str, watch.next_hops))}: {watch.out}"


def out_of_use(core: Core, next_hop: IPAddress | None, now: float | None) -> str:
    """Why BFD has this next hop out of use, and since when, as a sentence's part; empty when it has not."""
    for key, watch in core.bfd.watches.items():
        if watch.out and next_hop in watch.next_hops:
            name = core.peers[key].configured.name
            why = watch.out.removeprefix("BFD: ")
            ago = "" if now is None else f" {max(0, round(now - watch.out_at))} s ago"
            return f"out of use: BFD with {name} went down{ago}: {why}"
    return ""
