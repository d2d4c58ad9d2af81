"""What can happen to the mesh, and a series of it out of a seed.

Theory of operation: the series is made before anything runs and out of the seed alone, so the same seed always is the
same series. A happening is done, held for a while, and taken back; then the mesh has to settle. Each has its victims:
flows between others may never lose a packet, and with `lossless` the victims' neither.
"""
from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import labs
import mesh as meshes

CHANGES = {
    "encapsulation": ("none", "vxlan", "udp"),
    "hold_time_s": ("6", "9", "12"),
    "relax": ("off", "on"),
    "bfd_ms": ("100", "200"),
}
"""What a file may change, and to what."""
FOREIGN = "10.244.254.0/24"


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happens: its kind, to whom, for how many seconds, and what else it needs to know."""

    kind: str
    victims: tuple[str, ...]
    hold_s: float = 0.0
    what: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f" ({', '.join(self.what)})" if self.what else ""
        held = f" for {self.hold_s:.1f} s" if self.hold_s else ""
        return f"{self.kind} {'+'.join(self.victims)}{what}{held}"


@dataclass(slots=True)
class Doing:
    """A happening that is on. `wrong`: what it showed to be wrong by itself. `undo` takes it back."""

    mesh: meshes.Mesh
    one: Happening
    wrong: list[str] = field(default_factory=list)
    undo: list[Callable[[], object]] = field(default_factory=list)

    @property
    def node(self) -> str:
        """The first victim."""
        return self.one.victims[0]


def kill(doing: Doing) -> None:
    """kill -9 of processes; a supervisor is started again, as a service manager would."""
    killed = [pid for node in doing.one.victims for pid in doing.mesh.signal(node, *doing.one.what)]
    labs.wait_until(lambda: not any(map(meshes.runs, killed)), within=10, what="all that was killed is gone")
    for node in doing.one.victims:
        doing.mesh.ensure_supervisor(node)


def stop_agent(doing: Doing) -> None:
    """SIGSTOP, and SIGCONT."""
    pids = doing.mesh.signal(doing.node, "agent", number=signal.SIGSTOP)
    doing.undo.append(lambda: doing.mesh.signal(doing.node, "agent", number=signal.SIGCONT))
    assert pids, f"{doing.node} has no agent"


def cut(doing: Doing) -> None:
    """The switch forwards nothing of this node any more: no link goes down."""
    port = doing.mesh.port(doing.node)
    doing.mesh.run("sw", "bridge", "link", "set", "dev", port, "state", "0")
    doing.undo.append(lambda: doing.mesh.run("sw", "bridge", "link", "set", "dev", port, "state", "3"))


def unplug(doing: Doing) -> None:
    """The port goes down, and so does the node's carrier."""
    port = doing.mesh.port(doing.node)
    doing.mesh.run("sw", "ip", "link", "set", port, "down")
    doing.undo.append(lambda: doing.mesh.run("sw", "ip", "link", "set", port, "up"))


def flap(doing: Doing) -> None:
    """The node's own link goes down and up, three times."""
    for _ in range(3):
        for state in ("down", "up"):
            doing.mesh.run(doing.node, "ip", "link", "set", "eth1", state)
            time.sleep(0.15)  # what a flap is


def filtered(doing: Doing) -> None:
    """Packets are dropped at the ingress of a device: all or some, of the node (at the switch) or for it."""
    direction, share = doing.one.what
    place, device = ("sw", doing.mesh.port(doing.node)) if direction == "sent" else (doing.node, "eth1")
    match = "" if share == "all" else f"numgen random mod 100 < {share} "
    rules = (
        "add table netdev chaos; "
        f"add chain netdev chaos in {{ type filter hook ingress device {device} priority 0 ; }}; "
        f"add rule netdev chaos in {match}drop"
    )
    doing.mesh.run(place, "nft", rules)
    doing.undo.append(lambda: doing.mesh.run(place, "nft", "delete table netdev chaos"))


def address(doing: Doing) -> None:
    """The node's address goes, or is moved to another prefix length, and comes back."""
    own = doing.mesh.addresses[doing.node]
    doing.mesh.run(doing.node, "ip", "address", "del", f"{own}/24", "dev", "eth1")
    if doing.one.what == ("changed",):
        doing.mesh.run(doing.node, "ip", "address", "add", "192.0.2.200/24", "dev", "eth1")

    def back() -> None:
        if doing.one.what == ("changed",):
            doing.mesh.run(doing.node, "ip", "address", "del", "192.0.2.200/24", "dev", "eth1")
        doing.mesh.run(doing.node, "ip", "address", "add", f"{own}/24", "dev", "eth1")

    doing.undo.append(back)


def apply(doing: Doing) -> None:
    """All nodes take another file, in turn."""
    key, value = doing.one.what
    before = doing.mesh.wanted
    match key:
        case "encapsulation":
            wanted = replace(before, encapsulation=value)
        case "hold_time_s":
            wanted = replace(before, hold_time_s=int(value))
        case "bfd_ms":
            wanted = replace(before, bfd_ms=int(value))
        case _:
            wanted = replace(before, relax=value == "on")
    doing.wrong += doing.mesh.apply(wanted)


def apply_invalid(doing: Doing) -> None:
    """A file that is refused."""
    text = doing.mesh.wanted.text(doing.mesh.addresses).replace("hold_time_s: ", "hold_time_s: soon #")
    (doing.mesh.lab.topology.parent / doing.node / "bad.yaml").write_text(text)
    done = doing.mesh.cli(doing.node, "apply", "-f", "/etc/calicopy/bad.yaml", check=False)
    if done.returncode != 4:
        doing.wrong.append(f"{doing.node}: apply of an invalid file ended with {done.returncode}: {done.stderr[-300:]}")


def drain(doing: Doing) -> None:
    """Out of service, and back."""
    doing.mesh.cli(doing.node, "drain", "--force", "--wait", "1s")
    doing.undo.append(lambda: doing.mesh.cli(doing.node, "undrain"))


def workload(doing: Doing) -> None:
    """Pods come and go."""
    names = [f"extra{number}" for number in range(3)]
    for name in names:
        doing.mesh.run(doing.node, "ip", "netns", "add", name)
        doing.mesh.cli(doing.node, "workload", "attach", name, name)

    def away() -> None:
        for name in names:
            doing.mesh.cli(doing.node, "workload", "detach", name)
            doing.mesh.run(doing.node, "ip", "netns", "del", name)

    doing.undo.append(away)


def foreign(doing: Doing) -> None:
    """Another program has a route in our pool, and takes it back."""
    words = ("route", "add", FOREIGN, "via", "203.0.113.2", "proto", "98", "metric", "7")
    doing.mesh.run(doing.node, "ip", *words)
    shown = ("ip", "route", "show", "proto", "98")
    before = doing.mesh.run(doing.node, *shown).stdout

    def away() -> None:
        if doing.mesh.run(doing.node, *shown).stdout != before:
            doing.wrong.append(f"{doing.node}: a route of another program was touched")
        doing.mesh.run(doing.node, "ip", "route", "del", FOREIGN, "proto", "98", "metric", "7")

    doing.undo.append(away)


def by_hand(doing: Doing) -> None:
    """Somebody deletes what is ours: routes, or nexthop objects (and their routes with them)."""
    if doing.one.what == ("routes",):
        doing.mesh.run(doing.node, "ip", "route", "flush", "proto", "117")
    else:
        doing.mesh.run(doing.node, "ip", "nexthop", "flush", "protocol", "117")


def restart(doing: Doing) -> None:
    """All processes of a node end as asked, and are started again."""
    mesh, node = doing.mesh, doing.node
    mesh.signal(node, "supervisor", number=signal.SIGTERM)
    labs.wait_until(lambda: not mesh.processes(node), within=40, what=f"the processes of {node} end")
    doing.undo.append(lambda: mesh.start(node))


def power_off(doing: Doing) -> None:
    """Nothing of the node gets out any more, all its processes die, and what memory held is lost; then it boots."""
    mesh, node = doing.mesh, doing.node
    cut(doing)
    labs.wait_until(lambda: not mesh.signal(node), within=10, what=f"the processes of {node} die")
    forget = (
        "rm -rf /run/calicopy; ip route flush proto 117; ip nexthop flush protocol 117; ip nexthop flush protocol 118; "
        "for one in calicopy calicopy_workloads; do nft delete table inet $one 2>/dev/null; done; "
        "for one in calivx0 caliudp0; do ip link del $one 2>/dev/null; done; true"
    )
    mesh.run(node, "sh", "-c", forget)
    doing.undo.append(lambda: mesh.start(node))


DO: dict[str, Callable[[Doing], None]] = {
    "kill": kill, "kill-many": kill, "stop-agent": stop_agent, "cut": cut, "unplug": unplug, "flap": flap,
    "one-way": filtered, "loss": filtered, "address": address, "apply": apply, "apply-invalid": apply_invalid,
    "drain": drain, "workload": workload, "foreign": foreign, "by-hand": by_hand, "restart": restart,
    "power-off": power_off,
}  # fmt: skip
WEIGHTS = {"kill": 5, "kill-many": 3, "stop-agent": 2, "power-off": 2, "apply": 2, "cut": 2}
GONE = frozenset({"drain", "power-off", "cut", "unplug", "one-way", "loss", "flap", "address"})
"""What may have the routes of the victims withdrawn: packets for their pods may go by the default route then."""
PROCESSES = ("agent", "speaker", "bridge", "supervisor", "udp", "bfd")


def withdraws(one: Happening) -> bool:
    """Whether the victims' routes may be withdrawn. A BFD process has to be back within 0.3 s, for which the supervisor
    is there: where both are killed at once nobody does it in time.
    """
    return one.kind in GONE or {"bfd", "supervisor"} <= set(one.what)


def lossless(one: Happening, encapsulation: str) -> bool:
    """Whether no packet may be lost. A forwarder of encapsulation udp is the data path."""
    if withdraws(one):
        return False
    match one.kind:
        case "kill" | "kill-many":
            return "udp" not in one.what or encapsulation != "udp"
        case "stop-agent" | "apply-invalid" | "workload" | "foreign" | "apply":
            return True
        case "restart":
            return encapsulation != "udp"
        case _:
            return False


def series(seed: int, events: int, nodes: list[str]) -> Iterator[Happening]:
    """So many happenings, the same ones for a seed always."""
    chance = random.Random(seed)
    kinds = list(DO)
    weights = [WEIGHTS.get(kind, 1) for kind in kinds]
    for _ in range(events):
        kind = chance.choices(kinds, weights)[0]
        victim = (chance.choice(nodes),)
        hold_s = round(chance.uniform(0.5, 6.0), 1)
        what: tuple[str, ...] = ()
        match kind:
            case "kill":
                what, hold_s = (chance.choice(PROCESSES),), 0.0
            case "kill-many":
                what = tuple(chance.sample(PROCESSES, chance.randint(2, 4)))
                victim, hold_s = tuple(chance.sample(nodes, chance.randint(1, len(nodes)))), 0.0
            case "one-way":
                what = (chance.choice(("sent", "received")), "all")
            case "loss":
                what = (chance.choice(("sent", "received")), str(chance.choice((5, 20, 40))))
            case "address":
                what = (chance.choice(("removed", "changed")),)
            case "apply":
                key = chance.choice(("encapsulation", "encapsulation", "hold_time_s", "relax", "bfd_ms"))
                what, victim, hold_s = (key, chance.choice(CHANGES[key])), tuple(nodes), 0.0
            case "by-hand":
                what, hold_s = (chance.choice(("routes", "objects")),), 0.0
            case "apply-invalid" | "flap":
                hold_s = 0.0
            case "power-off":
                hold_s += 4.0
        yield Happening(kind, victim, hold_s, what)


def happen(mesh: meshes.Mesh, one: Happening) -> list[str]:
    """Do it, hold it, and take it back, also when somebody interrupts; what it showed to be wrong by itself."""
    doing = Doing(mesh, one)
    try:
        DO[one.kind](doing)
        time.sleep(one.hold_s)  # what the happening is
    finally:
        errors = []
        for undo in reversed(doing.undo):
            try:
                undo()
            except AssertionError as error:
                errors.append(str(error))
    return doing.wrong + errors


