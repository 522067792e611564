"""``etcc-edge sample``"""

from __future__ import annotations

import click

from etcc_edge.cli.terminal import FILE, check_form, check_is_new
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.writer import open_output


@click.command()
@click.option("-n", "--flows", default=1000, show_default=True, type=click.IntRange(0), help="Data rows.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=FILE, help="CSV (.gz compresses), or - for standard output."
)
@click.option("--force", is_flag=True, help="Write over an existing file.")
def command(flows: int, seed: int, output: str, force: bool) -> None:
    """Write generated flows in CICFlowMeter's form, with both labels.

    They are drawn from rough per-class sizes, not recorded: good for trying the pipeline and its speed, never for
    its accuracy.

    \b
    Example:
      etcc-edge sample -n 1000 --seed 1 -o generated.csv
    """
    check_form(output)
    check_is_new(output, force=force)
    with open_output(output) as out:
        for block in sample_rows(flows, seed):
            out.write(block.encode())
