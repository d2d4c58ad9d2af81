"""What the event log says when others change what is ours, or the host refuses something."""
from __future__ import annotations

from dataclasses import replace

from corescript import N1, N2, N3, Script, node, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.host_log import DRIFT_PACE_S
from calicopy.core.show import problems
from calicopy.net import Encapsulation, Family, Prefix
from calicopy.net.interface import InterfaceFacts

OURS, THEIRS, OTHERS = "10.244.0.0/26", "10.244.1.0/26", "10.99.0.0/24"


def lines(script: Script) -> list[str]:
    """What was logged since the last call, of the host alone."""
    logged = [command.line for command in script.done if isinstance(command, do.Log)]
    script.done.clear()
    return [f"{line.level} {line.component} {line.object}: {line.message}" for line in logged
            if line.component not in ("peer", "speaker", "ipam")]  # fmt: skip


def running() -> Script:
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3).hear(N2, THEIRS).end_of_rib(N2).end_of_rib(N3)
    assert script.routes == {OURS, THEIRS}
    lines(script)
    return script


def gone(script: Script, *prefixes: str) -> Script:
    return script.tell(ev.RoutesChanged({Family.IPV4: {Prefix.parse(one).packed: None for one in prefixes}}))


def test_a_route_that_somebody_deletes_is_named_counted_and_written_again() -> None:
    script = gone(running(), THEIRS)
    assert lines(script) == [
        "warning kernel : somebody else, or the kernel, changed or deleted what is ours, and it is written again: "
        + THEIRS
    ]
    assert script.routes == {OURS, THEIRS}
    assert script.core.counters["fib.drift_seen"] == 1


def test_routes_of_others_at_our_metric_are_no_drift() -> None:
    script = gone(running(), OTHERS)
    assert lines(script) == []
    assert script.core.counters["fib.drift_seen"] == 0


def test_of_many_routes_three_are_named() -> None:
    script = running().hear(N2, "10.244.1.64/26", "10.244.1.128/26", "10.244.1.192/26")
    (line,) = lines(gone(script, THEIRS, "10.244.1.64/26", "10.244.1.128/26", "10.244.1.192/26"))
    assert line.endswith(f": {THEIRS}, 10.244.1.64/26, 10.244.1.128/26 and 1 more")


def test_who_deletes_again_and_again_fills_no_log_and_all_of_it_is_counted() -> None:
    script = running()
    for _ in range(50):
        gone(script, THEIRS)
    assert len(lines(script)) == 1
    (line,) = lines(script.wait(DRIFT_PACE_S))
    assert line.endswith(f": {THEIRS} (49 times)")
    assert script.core.counters["fib.drift_seen"] == 50
    assert lines(gone(script.wait(DRIFT_PACE_S), OURS)), "what comes after a pause is told at once"


def test_trouble_of_the_host_is_told_when_it_begins_and_when_it_is_over() -> None:
    script = running()
    for _ in range(2):
        script.tell(ev.HostChecked("sysctl", {"net.ipv4.ip_forward": "is 0"}))
    assert lines(script) == ["warning sysctl net.ipv4.ip_forward: is 0"]
    script.tell(ev.HostChecked("sysctl", {}))
    assert lines(script) == ["info sysctl net.ipv4.ip_forward: no more: is 0"]


def test_a_loopback_interface_that_is_down_is_told_with_what_to_do() -> None:
    script = running()
    links = script.core.host.interfaces
    loopback = InterfaceFacts(1, "lo", up=False, carrier=False, mtu=65536, loopback=True)
    script.tell(ev.InterfacesChanged((*links, loopback)))
    text = "is down, so that no next hop that is gone can be taken out of use; set it up: `ip link set lo up`"
    assert lines(script) == [f"warning loopback lo: {text}"]
    assert [(one.component, one.object) for one in problems(script.core)] == [("loopback", "lo")]
    script.tell(ev.InterfacesChanged((*links, replace(loopback, up=True, carrier=True))))
    assert lines(script) == [f"info loopback lo: no more: {text}"]


def test_a_table_that_was_written_again_is_told() -> None:
    script = running().tell(ev.HostChecked("nft", {}, {"inet calicopy": "it is written again"}))
    assert lines(script) == ["warning nft inet calicopy: it is written again"]


def test_a_tunnel_device_that_another_one_follows_is_told() -> None:
    script = running()
    script.tell(ev.TunnelSet(Encapsulation.VXLAN, 7), ev.TunnelSet(Encapsulation.VXLAN, 7))
    lines(script)
    script.tell(ev.TunnelSet(Encapsulation.VXLAN, 8))
    assert lines(script) == ["warning tunnel calivx0: the device was gone, and is made anew"]


def test_a_link_of_the_nodes_address_that_is_down_is_a_problem_before_any_session_notices() -> None:
    script = running()
    (link,) = script.core.host.interfaces
    for changed, state in ((replace(link, carrier=False), "has no carrier"), (replace(link, up=False), "is down")):
        script.tell(ev.InterfacesChanged((changed,)))
        (found,) = [one for one in problems(script.core) if one.reason.code == "link-down"]
        assert (found.object, found.reason.message) == ("eth0", f"the interface of this node's address {N1} {state}")
    script.tell(ev.InterfacesChanged((link,)))
    assert "link-down" not in {one.reason.code for one in problems(script.core)}
