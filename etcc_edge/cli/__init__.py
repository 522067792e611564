"""The command ``etcc-edge``: one module a command, imported only when it runs."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import click

from etcc_edge.errors import EtccError
from etcc_edge.version import __version__

# Command to the module of its name, with the line that the list of commands shows.
_COMMANDS = {
    "infer": "Label every flow of a flows file.",
    "meter": "Cut a packet capture into flows, as CICFlowMeter does.",
    "check": "Whether a flows file can be labelled or trained on.",
    "evaluate": "How well a bundle labels flows whose labels are known.",
    "train": "Train a bundle on labelled flows.",
    "select-features": "Choose the features to train with.",
    "build-engines": "Build engines at every precision and measure their drift.",
    "bench": "How fast each backend is here, and what it costs in accuracy.",
    "info": "What a bundle is, and which backends this machine has.",
    "sample": "Write generated flows in CICFlowMeter's form.",
}


class _LazyGroup(click.Group):
    """Loads a command's module when it is called; the list of commands needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"etcc_edge.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EtccError as error:
            raise click.ClickException(str(error)) from error
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "etcc-edge"
            click.echo(f"Error: {error.format_message()} (see {where} --help)", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # Whoever read our output has enough; the interpreter's own flush at exit would complain.
            _forget_output()
            ctx.exit(0)
        except OSError as error:
            _forget_output()
            raise click.ClickException(f"cannot read or write: {error.strerror or error}") from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(128 + signal.SIGINT)


def _forget_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="etcc-edge")
def main() -> None:
    """Name the encryption protocol and the application of encrypted flows.

    \b
    Example:
      etcc-edge infer flows.csv
    """
