"""The command ``etcc-edge``: one module a command, imported only when it runs."""

from __future__ import annotations

import importlib
import io
import os
import re
import signal
import sys
from typing import Any, NoReturn

INTERRUPTED = 128 + signal.SIGINT
_WRONG_USAGE = 2
try:
    import click

    from etcc_edge.cli.terminal import OUTPUT_LOST, note, silence
    from etcc_edge.errors import EtccError, UnknownBundle
    from etcc_edge.version import __version__
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)

# By task: command to the module of its name, with the line that the list of commands shows.
_TASKS = {
    "Label": {
        "infer": "Label every flow of a flows file or a capture.",
        "live": "Label the flows of an interface's packets until told to stop.",
        "watch": "Label the flows that other programs write to a file or a folder.",
        "meter": "Cut a packet capture into flows, as CICFlowMeter does.",
    },
    "Trust": {
        "check": "Whether a flows file can be labelled or trained on.",
        "evaluate": "How well a bundle labels flows whose labels are known.",
        "info": "What a bundle is, and which backends this machine has.",
        "doctor": "What this machine lacks, and what to do about it.",
    },
    "Your own network": {
        "train": "Train a bundle on labelled flows.",
        "adapt": "Teach a bundle your own labelled flows.",
        "select-features": "Choose the features to train with.",
    },
    "Speed": {
        "build-engines": "Build engines at every precision and measure their drift.",
        "bench": "How fast each backend is here, and what it costs in accuracy.",
    },
    "Help": {
        "sample": "Write generated flows in CICFlowMeter's form.",
        "completion": "Print what makes a shell complete commands, options and bundles.",
    },
}
_COMMANDS = [command for commands in _TASKS.values() for command in commands]


class _LazyGroup(click.Group):
    """Loads a command's module when it is called; the list of commands needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return _COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"etcc_edge.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for task, commands in _TASKS.items():
            with formatter.section(task):
                formatter.write_dl(list(commands.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        _open_standard_streams()
        try:
            return super().main(*args, **extra)
        finally:
            # What cannot be written would turn the exit status into 120.
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except OSError:
                    silence(stream)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
        except EtccError as error:
            _fail(ctx, str(error), _WRONG_USAGE if isinstance(error, UnknownBundle) else 1)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "etcc-edge"
            # A list of choices has a line for each.
            message = re.sub(r"\s*\n\s*", " ", error.format_message())
            _fail(ctx, f"{message} (see {where} --help)", error.exit_code)
        except BrokenPipeError:
            # Whoever read our output has enough.
            silence(sys.stdout)
            ctx.exit(0)
        except OSError as error:
            _fail(ctx, f"cannot read or write: {error.strerror or error}")
        except KeyboardInterrupt:
            note("interrupted")
            ctx.exit(INTERRUPTED)
        except BaseException as error:  # a panic of a Rust library is no Exception
            if not _is_lack_of_memory(error):
                raise
            _fail(ctx, "not enough memory or threads; raise the limit (ulimit -v, -u), or take fewer --threads")
        if ctx.meta.get(OUTPUT_LOST):
            ctx.exit(1)
        return result


def _fail(ctx: click.Context, message: str, status: int = 1) -> NoReturn:
    note(f"Error: {message}")
    ctx.exit(status)


# Of a thread that was not started, a library that was not mapped, and an object that was not made.
_LACK_OF_MEMORY = re.compile(
    "can't start new thread|temporarily unavailable|failed to map segment|cannot allocate memory|"
    "pyobject pointer is null",
    re.IGNORECASE,
)


def _is_lack_of_memory(error: BaseException) -> bool:
    """Also where it has no exception of its own, and where a library made another of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or _LACK_OF_MEMORY.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _open_standard_streams() -> None:
    """A closed one becomes a file that fails where it is used, so that no file of ours gets its number. A character
    that a stream's encoding lacks is escaped."""
    # Opened for the opposite of what it is for.
    streams = {"stdin": ("r", os.O_WRONLY), "stdout": ("w", os.O_RDONLY), "stderr": ("w", os.O_RDONLY)}
    for name, (mode, opposite) in streams.items():
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, opposite), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="etcc-edge")
def main() -> None:
    """Name the encryption protocol and the application of encrypted flows.

    \b
    Example:
      etcc-edge infer flows.csv
    """
