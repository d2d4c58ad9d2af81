"""An explanation to its proto message."""
from __future__ import annotations

from calicopy.api.convert import kernel_route, path, reason
from calicopy.api.scalars import text
from calicopy.core.views import (
    ComparisonView,
    ExplainedPathView,
    ExplainView,
    HoldingView,
    HopView,
    KernelMatchView,
)
from calicopy.v1 import route_pb2


def explanation(view: ExplainView) -> route_pb2.Explanation:
    """The whole of it. An address is written without its length."""
    return route_pb2.Explanation(
        asked=str(view.asked.address if view.asked.is_host else view.asked),
        prefix=text(view.prefix),
        found=view.found,
        verdict=view.verdict,
        holding=holding(view.holding),
        paths=[explained_path(each) for each in view.paths],
        hops=[hop(each) for each in view.hops],
        kernel=kernel_route(view.kernel),
        match=kernel_match(view.match),
        announcements=[
            route_pb2.Announcement(peer=each.peer, announced=each.announced, reason=reason(each.reason))
            for each in view.announcements
        ],
        others=view.others,
    )


def holding(view: HoldingView) -> route_pb2.Holding:
    """To whom the addresses belong."""
    return route_pb2.Holding(
        pool=view.pool,
        pool_cidr=text(view.pool_cidr),
        encapsulation=view.encapsulation,
        mode=view.mode,
        block=text(view.block),
        node=view.node,
        state=view.state,
        handle=view.handle,
        conflicts=view.conflicts,
        why=view.why,
    )


def explained_path(view: ExplainedPathView) -> route_pb2.ExplainedPath:
    """A path and why it is what it is."""
    return route_pb2.ExplainedPath(
        path=path(view.path), why=view.why, comparison=comparison(view.comparison), changed=view.changed
    )


def comparison(view: ComparisonView | None) -> route_pb2.Comparison | None:
    """None stays an unset field: nothing was compared."""
    if view is None:
        return None
    return route_pb2.Comparison(
        step=view.step,
        source=view.source,
        value=view.value,
        other_value=view.other_value,
        other_peer=view.other_peer,
        message=view.message,
    )


def hop(view: HopView) -> route_pb2.Hop:
    """A next hop and what becomes of it."""
    return route_pb2.Hop(
        peer=view.peer,
        next_hop=text(view.next_hop),
        reachable=view.reachable,
        on_link=view.on_link,
        device=view.device,
        gateway=text(view.gateway),
        metric=view.metric,
        encapsulation=view.encapsulation,
        encapsulation_why=view.encapsulation_why,
        text=view.text,
        reason=reason(view.reason),
    )


def kernel_match(view: KernelMatchView | None) -> route_pb2.KernelMatch | None:
    """None stays an unset field: the kernel was not asked, or did not answer."""
    if view is None:
        return None
    return route_pb2.KernelMatch(
        address=str(view.address),
        prefix=text(view.prefix),
        protocol=view.protocol,
        metric=view.metric,
        table=view.table,
        ours=view.ours,
        text=view.text,
    )
