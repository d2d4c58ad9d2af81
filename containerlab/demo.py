"""The tour of `make demo`: waits for the mesh lab, shows its peers and routes, and pings between pods.

Runs `calicopy` as a user would, and prints the commands that it runs. Exits with 1 when something is not as it should.
"""
from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

LAB = "containerlab/mesh/mesh.clab.yml"
NODES = ("n1", "n2", "n3")
CALICOPY = str(Path(sys.executable).with_name("calicopy"))
READY_S = 60.0
FROM_POD, TO_POD = ("n1", "web"), ("n3", "db")


def in_node(node: str, *words: str) -> list[str]:
    """The command line that runs `words` inside a node of the lab."""
    return [CALICOPY, "lab", "exec", "--lab", LAB, node, "--", *words]


def attempt(node: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it, whatever comes of it."""
    return subprocess.run(in_node(node, *words), capture_output=True, text=True, check=False)


def run(node: str, *words: str) -> str:
    """Run it; its output. Ends the demo with what it said when it fails."""
    done = attempt(node, *words)
    if done.returncode != 0:
        sys.exit(f"{node}: {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def show(node: str, *words: str) -> str:
    """Run it and show both the command and its output."""
    print(f"\n{node}# {' '.join(words)}", flush=True)
    output = run(node, *words)
    print(output.rstrip(), flush=True)
    return output


def wait_until_ready() -> None:
    """Until every node says that it is healthy."""
    deadline = time.monotonic() + READY_S
    print("waiting for the nodes", end="", flush=True)
    for node in NODES:
        while (status := attempt(node, "calicopy", "status", "--check")).returncode:
            if time.monotonic() > deadline:
                sys.exit(f"\n{node} is not healthy after {READY_S:.0f} s:\n{status.stdout}{status.stderr}")
            time.sleep(0.2)
        print(f" {node}", end="", flush=True)
    print()


def attach(node: str, pod: str) -> str:
    """A pod on a node: a network namespace with an address; its address."""
    if pod not in run(node, "ip", "netns", "list").split():
        run(node, "ip", "netns", "add", pod)
    shown = run(node, "calicopy", "workload", "attach", pod, pod, "-o", "json")
    address: str = json.loads(shown)["addresses"][0]
    print(f"{node}# ip netns add {pod}; calicopy workload attach {pod} {pod}   -> {address}", flush=True)
    return address


def main() -> None:
    """The tour."""
    wait_until_ready()
    show("n1", "calicopy", "status")
    show("n1", "calicopy", "routes")
    print("\nTwo pods on different nodes:")
    attach(*FROM_POD)
    target = attach(*TO_POD)
    show(FROM_POD[0], "ip", "netns", "exec", FROM_POD[1], "ping", "-c", "5", "-i", "0.2", target)
    print(f"""
The lab stays up. Try next:
  .venv/bin/calicopy lab list
  .venv/bin/calicopy lab exec n2 -- calicopy peers
  .venv/bin/calicopy lab exec n2 -- calicopy routes --installed
  .venv/bin/calicopy lab exec n2 -- calicopy watch
  .venv/bin/calicopy lab exec n1 -- ip netns exec {FROM_POD[1]} ping {target}
  make demo-down""")


if __name__ == "__main__":
    main()
