"""Whether work may be given to the node, and why not: what `/readyz`, the health service and `status` say.

Theory of operation: the verdict follows from what is wrong now (`calicopy.core.show.problems`) and nothing else. What
is wrong with this node makes it not ready: no speaker, no address, routes that the kernel refused, a disk that takes
nothing, no forwarding, out of service. What is wrong between it and others may be the others' fault, and a dead node
must not take all others out of service with it; so that counts when most of it is wrong at once, which points here:

- sessions with nodes (mesh, clients and other reflectors), when more than half of them are down;
- sessions with reflectors, and those with configured peers, when none is up: any of them is enough;
- tunnel addresses of nodes, when more than half do not answer.

All else is `degraded`: told, and no reason. A session that a limit stopped is not one that should be up. One that is
down under graceful restart counts as if it were up, as long as its routes are kept: packets go on, and where they do
not, the tunnel address says so. One whose next hops BFD has out of use counts as down, whatever BGP says.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from calicopy.core.core import Core
from calicopy.core.peering.peer import Peer
from calicopy.core.views import ProblemView, ReadinessView, ReasonView

MEANT = frozenset({"drained", "draining", "change-under-way", "startup-differs"})
"""Codes of what an operator should see, but has brought about: the node is well all the same."""
SESSION_DOWN = frozenset({"down", "bfd-down"})
TUNNEL_SILENT = "tunnel-silent"
BLOCKING = frozenset({
    "drained", "draining", "detached", "dump-failed", "no-address", "link-down", "routes-failed", "store-failed",
    "tunnel-failed",
})  # fmt: skip
"""Codes of what makes a node not ready by itself."""
FORWARDING = frozenset({"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"})
"""Settings of the host without which no pod reaches anything. Of others (`not-set`) less depends, or what they break
shows otherwise."""
SHOWN_NAMES = 5


def is_told(problem: ProblemView) -> bool:
    """Whether it is wrong at all: not what an operator brought about, nor what only has to be waited for."""
    return problem.reason.code not in MEANT and not problem.reason.code.startswith("waiting")


def readiness(core: Core, problems: Sequence[ProblemView]) -> ReadinessView:
    """The verdict. `problems`: all that is wrong now."""
    down = frozenset(_decisive_sessions(core))
    silent = len({node for node, _ in core.host.probes.silent()})
    cut_off = 2 * silent > core.host.probes.asked_nodes
    reasons, degraded = [*_starting(core)], []
    for problem in problems:
        code = problem.reason.code
        decisive = (
            code in BLOCKING
            or (code == "not-set" and problem.object in FORWARDING)
            or (code in SESSION_DOWN and problem.object in down)
            or (code == TUNNEL_SILENT and cut_off)
        )
        if decisive:
            reasons.append(problem)
        elif is_told(problem):
            degraded.append(problem)
    return ReadinessView(tuple(reasons), tuple(degraded))


def _starting(core: Core) -> Iterator[ProblemView]:
    """Until everything was known once, and the kernel held it. Later, what is not written yet is being written."""
    if core.sweeping and core.gate.is_open:
        return
    late = sorted(peer.configured.name for peer in core.peers.values() if not peer.in_sync and not peer.stopped)
    text = "starting: the kernel does not hold all that it should yet"
    if late:
        more = ", ..." if len(late) > SHOWN_NAMES else ""
        text = f"starting: not all routes are here yet, from {', '.join(late[:SHOWN_NAMES])}{more}"
    yield ProblemView("fib", "", ReasonView("not-in-sync", text))


def is_serving(core: Core, peer: Peer) -> bool:
    """Whether packets go by what the session brought: it is up, or that is kept (RFC 4724), and BFD lets them."""
    return (peer.is_up or peer.stale_until is not None) and not core.bfd.is_out(peer.key)


def _decisive_sessions(core: Core) -> Iterator[str]:
    """Names of the peers whose sessions being down makes this node not ready."""
    reflectors = {node.name for node in core.node.nodes if node.cluster_id is not None}
    we_reflect = core.node.name in reflectors
    groups: dict[str, list[Peer]] = {"nodes": [], "reflectors": [], "configured": []}
    for peer in core.peers.values():
        session = peer.configured
        if peer.stopped or peer.lingering_since is not None:
            continue
        if session.node is None:
            groups["configured"].append(peer)
        elif session.node in reflectors and not session.mesh and not we_reflect:
            groups["reflectors"].append(peer)
        else:
            groups["nodes"].append(peer)
    for kind, peers in groups.items():
        lost = [peer.configured.name for peer in peers if not is_serving(core, peer)]
        if 2 * len(lost) > len(peers) if kind == "nodes" else len(lost) == len(peers):
            yield from lost
