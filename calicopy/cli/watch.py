"""`calicopy watch`."""
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import connect
from calicopy.cli.errors import CliError
from calicopy.cli.options import Output, Target, with_target
from calicopy.cli.output import Plain, plain, printable, when, word
from calicopy.cli.paint import Tone, paint, tone_of
from calicopy.cli.peers import info

if TYPE_CHECKING:
    from calicopy.v1.watch_pb2 import Change, WatchResponse

TOPICS = ("status", "peers", "routes", "blocks", "workloads", "events")


@click.command()
@click.argument("topics", nargs=-1, type=click.Choice(TOPICS), metavar="[TOPIC]...")
@click.option("--changes-only", is_flag=True, help="Leave out what is there already.")
@click.option("--heartbeat", type=click.IntRange(1, 3600), metavar="SECONDS", help="Print a heartbeat so often.")
@with_target
def watch(target: Target, *, topics: tuple[str, ...], changes_only: bool, heartbeat: int | None) -> None:
    """Print what is there, then every change as it happens, until interrupted.

    TOPIC: status, peers, routes, blocks, workloads, events; all when none is given. With -o json, one object a line.

    \b
    Examples:
      calicopy watch
      calicopy watch peers --changes-only
      calicopy watch routes -o json | jq .change.route.prefix
    """
    from calicopy.v1 import watch_pb2, watch_pb2_grpc

    request = watch_pb2.WatchRequest(
        topics=[f"TOPIC_{topic.upper()}" for topic in topics], heartbeat_s=heartbeat or 0
    )
    with connect(target) as channel:
        synced = False
        try:
            for message in watch_pb2_grpc.WatchServiceStub(channel).Watch(request):
                kind = message.WhichOneof("body")
                synced = synced or kind == "sync"
                if (kind == "heartbeat" and heartbeat is None) or (changes_only and (not synced or kind == "sync")):
                    continue
                _print(message, target.output)
        except KeyboardInterrupt:
            click.get_current_context().exit(0)
    raise CliError("the agent ended the stream")


def _print(message: WatchResponse, output: Output) -> None:
    if output is Output.JSON:
        click.echo(json.dumps(_plain(message)))
    elif output is Output.YAML:
        import yaml

        click.echo("---\n" + yaml.safe_dump(_plain(message), sort_keys=False, width=120), nl=False)
    else:
        words = [printable(each) for each in _words(message) if each]
        line = " ".join(paint(each, tone_of(each)) for each in words)
        click.echo(f"{paint(when(message.at), Tone.ASIDE)}  {line}")


def _plain(message: WatchResponse) -> dict[str, Plain]:
    """Only the body that there is, and of a change only its object."""
    whole = plain(message)
    made: dict[str, Plain] = {"revision": message.revision, "at": whole["at"]}
    kind = message.WhichOneof("body")
    if kind == "change":
        subject = message.change.WhichOneof("object")
        change: dict[str, Plain] = {"kind": word(message.change, "kind")}
        if subject is not None:
            change[subject] = plain(getattr(message.change, subject))
        made["change"] = change
    elif kind is not None:
        made[kind] = whole[kind]
    return made


def _words(message: WatchResponse) -> Iterator[str]:
    match message.WhichOneof("body"):
        case "sync":
            yield "-- in sync: changes follow --"
        case "heartbeat":
            yield "-- heartbeat --"
        case "event":
            event = message.event
            yield f"{event.level:7}"
            yield f"{event.component} {event.object}".rstrip() + f": {event.message}"
        case "change":
            yield from _change_words(message.change)


def _change_words(change: Change) -> Iterator[str]:
    subject = change.WhichOneof("object") or "object"
    gone = word(change, "kind") == "deleted"
    yield f"{subject:8}"
    match subject:
        case "status":
            status = change.status
            yield status.node
            yield f"{word(status, 'health')},"
            yield f"{word(status.drain, 'phase')}," if status.HasField("drain") else ""
            yield f"{status.peers.established} of {status.peers.total} peers,"
            yield f"{status.fib.installed} of {status.fib.desired} routes"
        case "peer":
            yield change.peer.name
            yield "gone" if gone else word(change.peer, "state")
            yield "" if gone else info(change.peer)
        case "route":
            yield change.route.prefix
            yield "gone" if gone else _route_words(change)
        case "block":
            yield change.block.cidr
            yield "gone" if gone else f"{word(change.block, 'state')} {change.block.node}"
        case "workload":
            yield change.workload.name
            yield "gone" if gone else f"{', '.join(change.workload.addresses)} {change.workload.problem}".rstrip()


def _route_words(change: Change) -> str:
    route = change.route
    kernel = route.kernel
    if kernel.installed:
        return kernel.text
    why = kernel.reason.message or kernel.reason.code or "not wanted in the kernel"
    return f"not installed: {why}"
