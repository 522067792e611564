"""Writes a bundle's ONNX files anew: ``python -m etcc_edge.export BUNDLE FLOWS -o NEW_BUNDLE``."""

from __future__ import annotations

from pathlib import Path

import click

from etcc_edge.bundle import load_bundle, save_bundle
from etcc_edge.errors import EtccError


@click.command()
@click.argument("bundle")
@click.argument("flows")
@click.option("-o", "output", required=True, metavar="BUNDLE", help="The folder or zip file to write.")
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option("--force", is_flag=True, help="Replace an earlier bundle.")
def main(
    bundle: str, flows: str, output: str, protocol_column: str | None, application_column: str | None, force: bool
) -> None:
    """Write every ONNX file of BUNDLE anew, in every form, and measure the drift.

    FLOWS is the labelled file that the bundle was trained on: its training rows calibrate, its other rows test.

    \b
    Example:
      python -m etcc_edge.export my-bundle flows.csv -o my-bundle-int8
    """
    from etcc_edge.flows.truth import read_labelled

    from .forms import rows_by_hash, with_drift, with_forms

    try:
        old = load_bundle(bundle)
        labelled = read_labelled(
            flows, old.features, protocol_column=protocol_column, application_column=application_column
        )
        trained, test = rows_by_hash(old, labelled)
        if not len(trained):
            raise EtccError(f"{flows}: bundle {old.name} was trained on none of these flows; name its own file")
        if not len(test):
            raise EtccError(f"{flows}: bundle {old.name} was trained on all of these flows; none is left to test")
        bundle_with_forms = with_drift(with_forms(old, labelled, trained, trained[:0], test), labelled, test)
        save_bundle(bundle_with_forms, Path(output), force=force)
    except EtccError as error:
        raise click.ClickException(str(error)) from error
    for form, figures in bundle_with_forms.metrics["drift"].items():
        end = figures["end_to_end"]
        click.echo(f"{form}: agreement {100 * end['agreement']:.2f} %, accuracy {end['change_points']:+.2f} points")


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.export")
