"""`calicopy ipam`."""
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.errors import CliError
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, print_items, print_message, print_table, printable, word
from calicopy.cli.paint import Tone

if TYPE_CHECKING:
    from calicopy.v1.ipam_pb2 import Address, Block, Pool


@click.group()
def ipam() -> None:
    """Pools, blocks and addresses of pods."""


@ipam.command()
@click.option("--blocks", is_flag=True, help="Blocks of this node, and those reserved for other nodes.")
@click.option("--addresses", is_flag=True, help="Assigned addresses.")
@click.option("--ip", metavar="ADDRESS", help="Who has ADDRESS.")
@click.option("--handle", metavar="HANDLE", help="Addresses of HANDLE.")
@with_target
def show(target: Target, *, blocks: bool, addresses: bool, ip: str | None, handle: str | None) -> None:
    """Pools and how much of them is taken; or blocks, or addresses.

    \b
    Examples:
      calicopy ipam show
      calicopy ipam show --blocks
      calicopy ipam show --ip 10.244.0.5
      calicopy ipam show --addresses -o json
    """
    if sum((blocks, addresses or handle is not None, ip is not None)) > 1:
        raise click.UsageError("show either --blocks, --addresses (or --handle) or --ip")
    if blocks:
        _show_blocks(target)
    elif addresses or handle is not None or ip is not None:
        _show_addresses(target, ip=ip or "", handle=handle or "")
    else:
        _show_pools(target)


def _show_pools(target: Target) -> None:
    from calicopy.v1 import ipam_pb2, ipam_pb2_grpc

    with connect(target) as channel:
        stub = ipam_pb2_grpc.IpamServiceStub(channel)
        pools = call(stub.ListPools, ipam_pb2.ListPoolsRequest(), target).pools
    if target.output.structured:
        print_items(pools, target.output)
    else:
        print_table(pools, POOL_COLUMNS, target.output, empty="no pools in the cluster file")


def _show_blocks(target: Target) -> None:
    from calicopy.v1 import ipam_pb2, ipam_pb2_grpc

    with connect(target) as channel:
        stub = ipam_pb2_grpc.IpamServiceStub(channel)
        blocks = call(stub.ListBlocks, ipam_pb2.ListBlocksRequest(include_reserved=True), target).blocks
    if target.output.structured:
        print_items(blocks, target.output)
    else:
        print_table(blocks, BLOCK_COLUMNS, target.output, empty="no blocks yet")


def _show_addresses(target: Target, *, ip: str, handle: str) -> None:
    from calicopy.v1 import ipam_pb2, ipam_pb2_grpc

    with connect(target) as channel:
        stub = ipam_pb2_grpc.IpamServiceStub(channel)
        request = ipam_pb2.ListAddressesRequest(address=ip, handle=handle)
        found = call(stub.ListAddresses, request, target).addresses
    if target.output.structured:
        print_items(found, target.output)
    if ip and (not found or found[0].state == "outside-pools"):
        raise CliError(f"{ip} is in no pool of this cluster")
    if handle and not found:
        raise CliError(
            f"{printable(handle)} has no address on this node",
            details=["the handle of a workload is workload:NAME; `calicopy ipam show --addresses` lists all"],
        )
    if not target.output.structured:
        print_table(found, ADDRESS_COLUMNS, target.output, empty="no addresses are assigned")


@ipam.command()
@click.argument("handle")
@click.option("--pool", metavar="POOL", help="Only from this pool (its name or prefix).")
@click.option("--address", metavar="ADDRESS", help="This one, instead of the next free.")
@click.option("--family", type=click.Choice(["ipv4", "ipv6"]), help="Address family.  [default: ipv4]")
@with_target
def assign(target: Target, *, handle: str, pool: str | None, address: str | None, family: str | None) -> None:
    """Give HANDLE an address; the same again when it has one.

    \b
    Examples:
      calicopy ipam assign vm-17
      calicopy ipam assign vm-17 --address 10.244.0.9
    """
    from calicopy.v1 import ipam_pb2, ipam_pb2_grpc

    request = ipam_pb2.AssignAddressRequest(
        handle=handle,
        pool=pool or "",
        address=address or "",
        family=f"FAMILY_{family.upper()}" if family else None,
    )
    with connect(target, reading=False) as channel:
        assigned = call(ipam_pb2_grpc.IpamServiceStub(channel).AssignAddress, request, target).address
    if target.output.structured:
        print_message(assigned, target.output)
    else:
        click.echo(assigned.address)


@ipam.command()
@click.argument("handle", required=False)
@click.option("--sequence", type=click.IntRange(min=0), help="Only if HANDLE's address has this sequence number.")
@click.option("--block", metavar="CIDR", help="Instead of an address: a block that is reserved or empty.")
@with_target
def release(target: Target, *, handle: str | None, sequence: int | None, block: str | None) -> None:
    """Free the address of HANDLE; or, with --block, forget that a block is reserved for another node.

    A block of this node is given up when none of its addresses is in use.

    \b
    Examples:
      calicopy ipam release vm-17
      calicopy ipam release --block 10.244.3.0/26
    """
    if (handle is None) == (block is None):
        raise click.UsageError("name either a HANDLE or a block with --block")
    if block is not None:
        if sequence is not None:
            raise click.UsageError("--sequence is for the address of a HANDLE, not for a block")
        _release_block(target, block)
    elif handle is not None:
        _release_handle(target, handle, sequence)


def _release_block(target: Target, cidr: str) -> None:
    from calicopy.v1 import ipam_pb2, ipam_pb2_grpc

    with connect(target, reading=False) as channel:
        stub = ipam_pb2_grpc.IpamServiceStub(channel)
        block = call(stub.ReleaseBlock, ipam_pb2.ReleaseBlockRequest(cidr=cidr), target).block
    if target.output.structured:
        print_message(block, target.output)
    else:
        click.echo(printable(f"released {block.cidr}, which was {word(block, 'state')} for {block.node}"))


def _release_handle(target: Target, handle: str, sequence: int | None) -> None:
    from calicopy.v1 import ipam_pb2, ipam_pb2_grpc

    with connect(target, reading=False) as channel:
        request = ipam_pb2.ReleaseAddressRequest(handle=handle, sequence=sequence)
        released = call(ipam_pb2_grpc.IpamServiceStub(channel).ReleaseAddress, request, target).released
    if target.output.structured:
        print_items(released, target.output)
    else:
        for address in released:
            click.echo(f"released {address.address}")
        if not released:
            click.echo(f"{printable(handle)} has no address")


def _conflict(row: Block | Address) -> str:
    return row.conflict.message or row.conflict.code


def _encapsulation(pool: Pool) -> str:
    return pool.encapsulation if pool.encapsulation == "none" else f"{pool.encapsulation} {pool.mode}"


POOL_COLUMNS: list[Column[Pool]] = [
    Column("POOL", lambda pool: pool.name),
    Column("CIDR", lambda pool: pool.cidr),
    Column("BLOCK-SIZE", lambda pool: f"/{pool.block_size}"),
    Column("ENCAPSULATION", _encapsulation),
    Column("NAT", lambda pool: pool.nat_outgoing),
    Column("SELECTED", lambda pool: pool.selected),
    Column("BLOCKS", lambda pool: pool.total_blocks),
    Column("OWN", lambda pool: pool.own_blocks),
    Column("RESERVED", lambda pool: pool.reserved_blocks),
]
BLOCK_COLUMNS: list[Column[Block]] = [
    Column("BLOCK", lambda block: block.cidr),
    Column("POOL", lambda block: block.pool),
    Column("NODE", lambda block: block.node),
    Column("STATE", lambda block: word(block, "state")),
    Column("PINNED", lambda block: block.pinned),
    Column("SIZE", lambda block: block.size),
    Column("ASSIGNED", lambda block: block.assigned),
    Column("CONFLICT", _conflict, tone=Tone.BAD),
]
ADDRESS_COLUMNS: list[Column[Address]] = [
    Column("ADDRESS", lambda address: address.address),
    Column("STATE", lambda address: address.state),
    Column("HANDLE", lambda address: address.handle),
    Column("NODE", lambda address: address.node),
    Column("BLOCK", lambda address: address.block),
    Column("POOL", lambda address: address.pool),
    Column("SEQUENCE", lambda address: address.sequence, wide=True),
    Column("CONFLICT", _conflict, tone=Tone.BAD),
]
