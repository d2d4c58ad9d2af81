"""Routes of other programs that the kernel prefers to ours are said."""
from __future__ import annotations

import pytest
from corescript import N2, N3, Script, node, snapshot

from calicopy.core import events as ev
from calicopy.core.show import kernel_view, problems
from calicopy.fib import ForeignRoute
from calicopy.net import Family, Prefix

OURS, THEIRS, OTHERS, NOBODYS = "10.244.0.0/26", "10.244.1.0/26", "10.244.2.64/26", "10.244.3.0/26"


@pytest.fixture
def script() -> Script:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3)
    return script.hear(N2, THEIRS).hear(N3, OTHERS).end_of_rib(N2, N3)


def read(script: Script, **metrics: int) -> None:
    names = {"theirs": THEIRS, "others": OTHERS, "nobodys": NOBODYS}
    routes = {Prefix.parse(names[name]).packed: ForeignRoute(4, metric) for name, metric in metrics.items()}
    script.tell(ev.ForeignRoutesRead({Family.IPV4: routes, Family.IPV6: {}}))


def said(script: Script) -> list[tuple[str, str, str]]:
    found = [one for one in problems(script.core) if one.reason.code == "shadowed"]
    return [(one.component, one.object, one.reason.message) for one in found]


def test_a_route_of_ours_behind_a_foreign_one_is_a_problem_until_that_is_gone(script: Script) -> None:
    read(script, theirs=0)
    text = f"{THEIRS}: a route of protocol static with metric 0 goes before ours (1 prefix)"
    assert said(script) == [("fib", THEIRS, text)]
    read(script)
    assert said(script) == []


def test_many_are_one_problem_that_names_the_first(script: Script) -> None:
    read(script, others=0, theirs=20, nobodys=0)
    text = f"{THEIRS}: a route of protocol static with metric 20 goes before ours (2 prefixes)"
    assert said(script) == [("fib", THEIRS, text)]


def test_a_foreign_route_where_nothing_of_ours_is_wanted_is_no_problem(script: Script) -> None:
    read(script, nobodys=0)
    assert said(script) == []


def test_the_prefix_says_it_too_and_counts_as_installed(script: Script) -> None:
    read(script, theirs=7)
    view = kernel_view(script.core, Prefix.parse(THEIRS))
    assert view is not None
    assert view.installed
    assert view.reason is not None
    assert view.reason.code == "shadowed"
    assert view.reason.message == "a route of protocol static with metric 7 goes before ours"
