"""Is Tor found that was not in training, and what else is called Tor? ``python -m etcc_edge.bench.studies.tor DATA``.

Needs the ``train`` extra, and the folders ``cicdarknet2020-part``, ``-more`` and ``-tor``, ``vnat-part`` and ``meter``
in DATA. First stages are trained on the features without ports, as for ``no-ports``. One JSON line a question.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from etcc_edge.arrays import F32, Bools
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.features import preset
from etcc_edge.flows.open import open_flows
from etcc_edge.flows.size import packets
from etcc_edge.flows.truth import LabelledFlows, joined, read_labelled
from etcc_edge.meter import CaptureSource
from etcc_edge.training.plan import Plan, parts_of
from etcc_edge.training.stage import FittedStage, fit_stage, stages_of, taught_protocols

PLAN = Plan("measured", split="session", validation="session", test_share=0.1)
TCP, MANY = 6, 100  # packets


def first_stage(flows: LabelledFlows, seed: int) -> FittedStage:
    """Trained on the flows; a tenth of their sessions is left aside."""
    plan = replace(PLAN, seed=seed)
    parts = parts_of(flows, plan)
    protocols, _ = taught_protocols(flows, parts.train)
    stage = stages_of(flows, protocols, parts, plan)[0][0]
    return fit_stage(flows, stage, parts, plan, lambda _: None)


def called_tor(fitted: FittedStage, raw: F32) -> Bools:
    """bool [n] of raw features float32 [n, f]."""
    logits = OnnxRuntimeEngine(fitted.onnx).run(fitted.node.scaler.transform(raw))
    called: Bools = logits.argmax(axis=1) == fitted.node.labels.index("Tor")
    return called


def of_captures(folder: Path, names: tuple[str, ...]) -> F32:
    """The flows of all captures in a folder that are not named after Tor."""
    batches = [np.zeros((0, len(names)), np.float32)]
    for path in sorted(folder.rglob("*.pcap*")):
        if re.search("(?<![a-z])tor(?![a-z])", path.stem.lower()):
            continue
        try:
            with CaptureSource(path) as source:
                batches += [batch.features for batch in source.batches(list(names))]
        except FlowsError:  # empty, foreign or damaged
            continue
    return np.concatenate(batches)


def alarms(fitted: FittedStage, raw: F32, names: tuple[str, ...]) -> dict[str, Any]:
    """Of TCP flows of many packets that are not Tor."""
    size = packets(raw, names)
    assert size is not None
    rows = (raw[:, names.index("ip_protocol")] == TCP) & (np.nan_to_num(size) >= MANY)
    called = called_tor(fitted, raw[rows])
    return {"flows": int(rows.sum()), "called Tor": float(called.mean()) if rows.any() else None}


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1))
def main(data: Path, seeds: int) -> None:
    """Tor from elsewhere, and false alarms."""

    def read(name: str, features: Any) -> LabelledFlows:
        groups = data / name / "flows.captures.txt"
        return read_labelled(
            data / name / "flows.csv", features, groups=groups if groups.is_file() else None, to_split=True
        )

    try:
        with open_flows(data / "cicdarknet2020-tor" / "flows.csv") as file:
            columns = file.reading.columns  # fewer than the others have
        names = tuple(name for name in preset("no-ports", list(columns)) if name in columns)
        tor, part, more, vnat = (
            read(name, names)
            for name in ("cicdarknet2020-tor", "cicdarknet2020-part", "cicdarknet2020-more", "vnat-part")
        )
        tor = replace(tor, capture=np.char.add("Tor ", tor.application))  # the file names no sessions
        campus = joined([part, more])
        others = campus.take(np.flatnonzero(campus.protocol != "Tor"))
        for seed in range(seeds):
            for application in np.unique(tor.application).tolist():
                own = tor.application == application
                fitted = first_stage(joined([others, tor.take(np.flatnonzero(~own))]), seed)
                found = called_tor(fitted, tor.features[own])
                line = {"seed": seed, "left out": application, "flows": len(found), "called Tor": float(found.mean())}
                click.echo(json.dumps(line))
            fitted = first_stage(joined([part.take(np.flatnonzero(part.protocol != "Tor")), tor]), seed)
            laboratory = part.features[(part.protocol == "Tor") & (part.service == "")]
            line = {"seed": seed, "other laboratory": "cicdarknet2020-part", "flows": len(laboratory)}
            click.echo(json.dumps({**line, "called Tor": float(called_tor(fitted, laboratory).mean())}))
            for name, raw in {
                "cicdarknet2020-more": more.features,
                "vnat-part": vnat.features,
                "captures": of_captures(data / "meter", names),
            }.items():
                click.echo(json.dumps({"seed": seed, "false alarms": name, **alarms(fitted, raw, names)}))
    except EtccError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
