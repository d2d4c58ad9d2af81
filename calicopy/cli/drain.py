"""`calicopy drain` and `calicopy undrain`."""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect, is_lost
from calicopy.cli.errors import CliError, ExitCode
from calicopy.cli.options import Duration, Target, with_target
from calicopy.cli.output import print_message, print_plain, printable
from calicopy.cli.paint import Tone, paint

if TYPE_CHECKING:
    from calicopy.v1.node_pb2 import DrainResponse

_TONES = {"no-alternative": Tone.CHANGING, "store-failed": Tone.BAD, "drained": Tone.GOOD, "undrained": Tone.BAD}


@click.command()
@click.option("--force", is_flag=True, help="Although addresses are in use: who has one is cut off.")
@click.option("--wait", type=Duration(), default="10s", show_default=True, metavar="DURATION",
              help="How long to wait for other paths of shared prefixes at most.")
@with_target
def drain(target: Target, *, force: bool, wait: int) -> None:
    """Take this node out of service: others turn to what else they have, then everything is withdrawn.

    First all is announced with GRACEFUL_SHUTDOWN (65535:0, RFC 8326) and LOCAL_PREF 0; when each shared prefix has
    another path, or after --wait, it is withdrawn. The kernel keeps its routes. The node stays drained over restarts,
    until `calicopy undrain`. Refused (exit code 4) while addresses are in use, unless --force. An interrupted command
    does not interrupt the drain.

    \b
    Examples:
      calicopy drain
      calicopy drain --force --wait 30s
      calicopy drain -o json | jq .drain.without_alternative
    """
    from calicopy.v1 import node_pb2, node_pb2_grpc

    patient = replace(target, timeout_s=target.timeout_s + wait)
    last: DrainResponse | None = None
    with connect(target, reading=False) as channel:
        import grpc

        request = node_pb2.DrainRequest(force=force, wait_s=wait)
        try:
            for step in call(node_pb2_grpc.NodeServiceStub(channel).Drain, request, patient):
                last = step
                if not target.output.structured:
                    click.echo(paint(printable(f"{step.step}: {step.message}"), _TONES.get(step.step, Tone.PLAIN)))
        except KeyboardInterrupt:
            raise CliError("the drain goes on: `calicopy status` shows it, `calicopy undrain` takes it back") from None
        except grpc.RpcError as error:
            if last is None or not is_lost(error):
                raise
            raise CliError(
                "the connection to the agent broke: the drain goes on, also when the agent is started again",
                code=ExitCode.UNREACHABLE,
                details=("`calicopy status` shows it, `calicopy undrain` takes it back",),
            ) from error
    if last is None or not last.last:
        raise CliError("the agent ended the stream before the drain was over: it goes on when the agent does")
    if target.output.structured:
        print_message(last, target.output)
    if last.step != "drained":
        raise CliError(f"the node is not drained: {last.message}")


@click.command()
@with_target
def undrain(target: Target) -> None:
    """Bring this node back into service: it announces everything as before. Also ends a drain that is under way.

    \b
    Example:
      calicopy undrain
    """
    from calicopy.v1 import node_pb2, node_pb2_grpc

    with connect(target, reading=False) as channel:
        answer = call(node_pb2_grpc.NodeServiceStub(channel).Undrain, node_pb2.UndrainRequest(), target)
    if target.output.structured:
        print_plain({"was_drained": answer.was_drained}, target.output)
    else:
        click.echo("in service again" if answer.was_drained else "the node was not drained")
