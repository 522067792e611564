"""``etcc-edge completion``"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_ETCC_EDGE_COMPLETE"  # click's own name for it


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, files and the names of bundles.

    \b
    Examples:
      etcc-edge completion bash > /etc/bash_completion.d/etcc-edge
      etcc-edge completion fish > ~/.config/fish/completions/etcc-edge.fish
    """
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(ctx.find_root().command, {}, "etcc-edge", _VARIABLE).source())
