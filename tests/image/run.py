"""Three containers of the node image, one pod on each, and every pod pings every other: `make image-test`.

The containers are what containerlab makes of its nodes: not privileged (NET_ADMIN and SYS_ADMIN only, /proc/sys
read-only), a default route over an eth0 that is not the fabric, and addresses that come after the agent has started.
The wires are veth pairs to bridges in a namespace of ours, so the engine needs no network of its own. Everything is
removed at the end.

    python -m tests.image.run [--ground]     with --ground: without agents; shows what the engine and the image allow
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tools.engine import Engine, EngineError, engine
from tools.image import IMAGE, build

CLUSTER = Path(__file__).resolve().parent / "cluster.yaml"
NODES = {"n1": "192.0.2.1", "n2": "192.0.2.2", "n3": "192.0.2.3"}
MANAGEMENT = {"n1": "172.20.20.11", "n2": "172.20.20.12", "n3": "172.20.20.13"}
GATEWAY = "172.20.20.1"
PREFIX = f"calicopy-image-{os.getpid()}"
SWITCH = PREFIX
POD = "pod"
CONVERGENCE_TIMEOUT_S = 60.0


class FailedError(Exception):
    """The image does not do what it should."""


def main() -> int:
    """Build, wire, attach, ping; 0 when no ping was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ground", action="store_true", help="without agents")
    ground = parser.parse_args().ground
    try:
        with engine() as docker:
            build(docker)
            with lab(docker, command=("sleep", "600") if ground else ()) as exec_in:
                check_ground(exec_in)
                if not ground:
                    check_agents(exec_in)
    except (EngineError, FailedError) as error:
        print(f"image-test: FAILED: {error}", file=sys.stderr)
        return 1
    print("image-test: passed")
    return 0


Exec = Callable[..., str]
"""`exec_in("n1", "ip", "link")`: run a command in a node's container; its output, or FailedError."""


@contextmanager
def lab(docker: Engine, *, command: tuple[str, ...]) -> Iterator[Exec]:
    """The containers, wired; when the block fails, their logs are printed; at its end they are gone."""

    def exec_in(node: str, *arguments: str) -> str:
        try:
            return docker.docker("exec", container(node), *arguments, timeout_s=60)
        except EngineError as error:
            raise FailedError(str(error)) from error

    with ExitStack() as cleanup:
        print(f"==> {len(NODES)} containers of {IMAGE}", flush=True)
        for node in NODES:
            cleanup.callback(docker.docker, "rm", "--force", "--volumes", container(node))
            docker.docker("run", "--detach", *container_options(node), IMAGE, *command)
        cleanup.callback(subprocess.run, ["ip", "netns", "delete", SWITCH], check=False)
        make_switch()
        for node in NODES:
            wire(docker, node)
            exec_in(node, "ip", "address", "add", f"{MANAGEMENT[node]}/24", "dev", "eth0")
            exec_in(node, "ip", "route", "replace", "default", "via", GATEWAY)
            exec_in(node, "ip", "address", "add", f"{NODES[node]}/24", "dev", "eth1")
        try:
            yield exec_in
        except FailedError:
            for node in NODES:
                print(f"--- log of {node}\n{logs(docker, node)}", file=sys.stderr)
            raise


def container(node: str) -> str:
    """The name of a node's container."""
    return f"{PREFIX}-{node}"


def container_options(node: str) -> list[str]:
    """What containerlab asks for when a topology says `privileged: false`."""
    options = ["--name", container(node), "--hostname", node, "--network", "none"]
    options += ["--cap-add", "NET_ADMIN", "--cap-add", "SYS_ADMIN"]
    options += ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "net.ipv4.nexthop_compat_mode=0"]
    options += ["--volume", f"{CLUSTER}:/etc/calicopy/cluster.yaml:ro"]
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    if apparmor.exists() and apparmor.read_text().strip() == "Y":
        options += ["--security-opt", "apparmor=unconfined"]  # its profile for containers forbids `ip netns add`
    return options


def make_switch() -> None:
    """A namespace with two bridges: the fabric, and the management network with its gateway."""
    ip("netns", "add", SWITCH)
    for bridge in ("fabric", "mgmt"):
        ip("-n", SWITCH, "link", "add", bridge, "type", "bridge")
        ip("-n", SWITCH, "link", "set", bridge, "up")
    ip("-n", SWITCH, "address", "add", f"{GATEWAY}/24", "dev", "mgmt")


def wire(docker: Engine, node: str) -> None:
    """Give the node's container eth0, on the management network, and eth1, on the fabric."""
    pid = docker.docker("inspect", "--format", "{{.State.Pid}}", container(node))
    if pid == "0":
        raise FailedError(f"the container of {node} has ended:\n{logs(docker, node)}")
    for device, bridge in (("eth0", "mgmt"), ("eth1", "fabric")):
        port = f"{node}-{bridge}"
        ip("-n", SWITCH, "link", "add", port, "type", "veth", "peer", "name", device, "netns", pid)
        ip("-n", SWITCH, "link", "set", port, "master", bridge, "up")
        in_container = ["nsenter", "--target", pid, "--net"]
        subprocess.run([*in_container, "ip", "link", "set", device, "up"], check=True)


def check_ground(exec_in: Exec) -> None:
    """What stands before calicopy does anything: tools, namespaces, the fabric, a default route elsewhere."""
    for node in NODES:
        for tool in ("bird", "tcpdump", "nft", "ps", "ping"):
            exec_in(node, "sh", "-c", f"command -v {tool}")
        exec_in(node, "/opt/calicopy/bin/python", "-c", "import calicopy, exabgp, grpc, pydantic, pyroute2, yaml")
        exec_in(node, "unshare", "--net", "true")
        exec_in(node, "ip", "netns", "add", POD)
        if "dev eth0" not in exec_in(node, "ip", "route", "show", "default"):
            raise FailedError(f"{node}: the default route is expected on eth0")
    for one, other in itertools.permutations(NODES, 2):
        exec_in(one, "ping", "-c", "1", "-W", "5", NODES[other])
    print("    tools, namespaces and the fabric work", flush=True)


def check_agents(exec_in: Exec) -> None:
    """Sessions come up, a pod is attached on each node, and no ping between pods is lost."""
    print(f"    {exec_in('n1', 'calicopy', 'version')}", flush=True)
    for node in NODES:
        states = poll(partial(established, exec_in, node), what=f"{node}: all peers Established")
        print(f"    {node}: {states}", flush=True)
    pods = {node: attach(exec_in, node) for node in NODES}
    for one, other in itertools.permutations(NODES, 2):
        ping = ["ip", "netns", "exec", POD, "ping", "-W", "2"]
        first = partial(exec_in, one, *ping, "-c", "1", pods[other])
        poll(first, what=f"the pod of {one} reaches that of {other}")
        output = exec_in(one, *ping, "-c", "5", "-i", "0.2", pods[other])
        loss = re.search(r"[\d.]+% packet loss", output)
        if loss is None or loss[0] != "0% packet loss":
            raise FailedError(f"ping from the pod of {one} to that of {other}:\n{output}")
        print(f"    {one} {pods[one]} > {other} {pods[other]}: {loss[0]}", flush=True)


def established(exec_in: Exec, node: str) -> str:
    """The node's peers in a line; FailedError while one is not Established."""
    peers = json.loads(exec_in(node, "calicopy", "peers", "-o", "json"))["items"]
    states = ", ".join(f"{peer['address']} {peer['state']}" for peer in peers)
    if len(peers) != len(NODES) - 1 or any(peer["state"].lower() != "established" for peer in peers):
        raise FailedError(states or "no peers")
    return states


def attach(exec_in: Exec, node: str) -> str:
    """Attach the node's pod; its address."""
    attached = json.loads(exec_in(node, "calicopy", "workload", "attach", POD, f"pod-{node}", "-o", "json"))
    return str(attached["addresses"][0]).partition("/")[0]


def poll(attempt: Callable[[], str], *, what: str) -> str:
    """The attempt's result once it succeeds; FailedError with its last failure when the time is over."""
    deadline = time.monotonic() + CONVERGENCE_TIMEOUT_S
    while True:
        try:
            return attempt()
        except FailedError as error:
            if time.monotonic() > deadline:
                raise FailedError(f"{what}: not within {CONVERGENCE_TIMEOUT_S:g} s: {error}") from error
            time.sleep(0.2)


def logs(docker: Engine, node: str) -> str:
    """The end of what the node's container has printed (docker gives its stderr apart)."""
    command = ["docker", "logs", "--tail", "60", container(node)]
    done = subprocess.run(
        command, env=docker.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def ip(*arguments: str) -> None:
    """Run `ip`; CalledProcessError when it refuses."""
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
