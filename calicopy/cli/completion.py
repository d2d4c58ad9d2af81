"""`calicopy completion`."""
from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      source <(calicopy completion bash)
      calicopy completion zsh > ~/.zfunc/_calicopy
      calicopy completion fish > ~/.config/fish/completions/calicopy.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "calicopy", "_CALICOPY_COMPLETE").source())
