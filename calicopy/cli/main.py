"""The root command. Its table names every command, so that help and completion load none of them."""
from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from calicopy.cli.errors import ExitCode
from calicopy.cli.options import root_options

COMMANDS: dict[str, tuple[str, str]] = {
    "status": ("calicopy.cli.status:status", "How this node is: health, peers, routes, addresses."),
    "peers": ("calicopy.cli.peers:peers", "BGP sessions."),
    "bfd": ("calicopy.cli.bfd:bfd", "BFD sessions: who is watched, and what is out of use."),
    "routes": ("calicopy.cli.routes:routes", "Routes and their paths, and what the kernel holds."),
    "explain": ("calicopy.cli.explain:explain", "Why an address or prefix goes where it goes, or nowhere."),
    "ipam": ("calicopy.cli.ipam:ipam", "Pools, blocks and addresses."),
    "workload": ("calicopy.cli.workload:workload", "Attach network namespaces to the network."),
    "watch": ("calicopy.cli.watch:watch", "Print every change as it happens."),
    "plan": ("calicopy.cli.plan:plan", "What a new cluster file would change."),
    "apply": ("calicopy.cli.apply:apply", "Change the configuration while the agent runs."),
    "config": ("calicopy.cli.config:config", "Check a cluster file; show, confirm and roll back what runs."),
    "drain": ("calicopy.cli.drain:drain", "Take this node out of service, without a loss."),
    "undrain": ("calicopy.cli.drain:undrain", "Bring it back into service."),
    "replay": ("calicopy.cli.replay:replay", "Play an agent's journal again, and say what came of it."),
    "version": ("calicopy.cli.version:version", "Versions of calicopy and what it runs on."),
    "completion": ("calicopy.cli.completion:completion", "Print the completion script of a shell."),
    "doctor": ("calicopy.cli.doctor:doctor", "Check this host, before the agent runs and while it does."),
    "systemd": ("calicopy.cli.systemd:systemd", "Install the systemd units."),
    "lab": ("calicopy.cli.lab:lab", "Run containerlab topologies in network namespaces."),
    "node": ("calicopy.cli.processes:node", "Run speaker, agent, udp and bfd, and restart each when it ends."),
    "agent": ("calicopy.cli.processes:agent", "Run the agent."),
    "speaker": ("calicopy.cli.processes:speaker", "Run ExaBGP for the agent."),
    "udp": ("calicopy.cli.processes:udp", "Forward packets of pools with encapsulation udp."),
    "bfd-process": ("calicopy.cli.processes:bfd_process", "Hold the BFD sessions that the agent asks for."),
}


class LazyGroup(click.Group):
    """Loads a command when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, loading nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 error or not found, 2 usage, 3 agent unreachable, 4 refused input, 5 unhealthy.",
)
@click.version_option(package_name="calicopy", message="calicopy %(version)s")
@root_options
def cli() -> None:
    """Pod routing for plain Linux hosts: blocks of addresses over BGP, no datastore.

    \b
    Examples:
      calicopy status
      calicopy peers -o json
      calicopy routes 10.244.0.5
      calicopy workload attach pod1 pod1
    """


def run(arguments: Sequence[str]) -> int:
    """Run `calicopy ARGUMENTS`; the exit code."""
    try:
        cli.main([*arguments], prog_name="calicopy")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ExitCode.ERROR if ended.code else ExitCode.OK)
    except Exception as error:
        if os.environ.get("CALICOPY_DEBUG"):
            raise
        name = type(error).__name__
        print(f"calicopy: internal error: {name}: {error} (CALICOPY_DEBUG=1 shows where)", file=sys.stderr)
        return int(ExitCode.ERROR)
    return int(ExitCode.OK)
