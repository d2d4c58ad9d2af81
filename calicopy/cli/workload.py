"""`calicopy workload`."""
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, age, print_items, print_message, print_plain, print_table, printable
from calicopy.cli.paint import Tone

if TYPE_CHECKING:
    from calicopy.v1.workload_pb2 import Workload


@click.group()
def workload() -> None:
    """Network namespaces with addresses of this node."""


@workload.command()
@click.argument("netns")
@click.argument("name")
@click.option("--interface", metavar="NAME", help="The interface inside the namespace.  [default: eth0]")
@click.option(
    "--family",
    "families",
    type=click.Choice(["ipv4", "ipv6"]),
    multiple=True,
    help="An address of this family alone (twice: of both).  [default: each that a pool of this node has]",
)
@click.option(
    "--address", "addresses", metavar="ADDRESS", multiple=True,
    help="This address, instead of the next free of its family; may be given once for each family.",
)  # fmt: skip
@click.option(
    "--pool", "pools", metavar="POOL", multiple=True,
    help="An address of this pool (its name or prefix); may be given once for each family.",
)  # fmt: skip
@with_target
def attach(
    target: Target,
    *,
    netns: str,
    name: str,
    interface: str | None,
    families: tuple[str, ...],
    addresses: tuple[str, ...],
    pools: tuple[str, ...],
) -> None:
    """Give the namespace NETNS an interface and its addresses, under NAME; the same again changes nothing.

    It gets one address of each family that a pool of this node has, IPv4, IPv6 or both.
    NETNS is a name as in `ip netns`, or a path such as /proc/1234/ns/net, as the agent sees it.

    \b
    Examples:
      ip netns add pod1 && calicopy workload attach pod1 pod1
      calicopy workload attach /proc/1234/ns/net web --address 10.244.0.9
      calicopy workload attach pod2 pod2 --family ipv6
    """
    from calicopy.v1 import workload_pb2, workload_pb2_grpc

    request = workload_pb2.AttachRequest(
        netns=netns,
        name=name,
        interface=interface or "",
        families=[f"FAMILY_{family.upper()}" for family in families],
        addresses=addresses,
        pools=pools,
    )
    with connect(target, reading=False) as channel:
        answer = call(workload_pb2_grpc.WorkloadServiceStub(channel).Attach, request, target)
    made = answer.workload
    if target.output.structured:
        print_message(made, target.output)
        return
    done = "attached" if answer.created else "was attached before"
    place = f"{made.interface} ({made.host_interface})"
    click.echo(printable(f"{made.name} {done}: {', '.join(made.addresses)} on {place}"))


@workload.command()
@click.argument("name")
@with_target
def detach(target: Target, *, name: str) -> None:
    """Take the interface and the addresses of NAME away; no error when there is none.

    \b
    Example:
      calicopy workload detach pod1
    """
    from calicopy.v1 import workload_pb2, workload_pb2_grpc

    with connect(target, reading=False) as channel:
        stub = workload_pb2_grpc.WorkloadServiceStub(channel)
        detached = call(stub.Detach, workload_pb2.DetachRequest(name=name), target).detached
    if target.output.structured:
        print_plain({"name": name, "detached": detached}, target.output)
    else:
        click.echo(printable(f"{name} detached" if detached else f"{name} was not attached"))


@workload.command(name="list")
@with_target
def list_(target: Target) -> None:
    """Attached namespaces.

    \b
    Examples:
      calicopy workload list
      calicopy workload list -o wide
    """
    from calicopy.v1 import workload_pb2, workload_pb2_grpc

    with connect(target) as channel:
        stub = workload_pb2_grpc.WorkloadServiceStub(channel)
        found = call(stub.ListWorkloads, workload_pb2.ListWorkloadsRequest(), target).workloads
    if target.output.structured:
        print_items(found, target.output)
    else:
        print_table(found, COLUMNS, target.output, empty="no workloads are attached")


COLUMNS: list[Column[Workload]] = [
    Column("NAME", lambda workload: workload.name),
    Column("ADDRESSES", lambda workload: ", ".join(workload.addresses)),
    Column("NETNS", lambda workload: workload.netns),
    Column("INTERFACE", lambda workload: workload.interface),
    Column("HOST-INTERFACE", lambda workload: workload.host_interface),
    Column("MAC", lambda workload: workload.mac, wide=True),
    Column("MTU", lambda workload: workload.mtu, wide=True),
    Column("SINCE", lambda workload: age(workload.attached_at)),
    Column("PROBLEM", lambda workload: workload.problem, tone=Tone.BAD),
]
