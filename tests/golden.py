"""Writes the files that tests/test_golden.py compares with: ``python tests/golden.py``, on any machine."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

from etcc_edge.bundle import load_bundle, shipped_bundles
from etcc_edge.flows.features import dialect_named
from etcc_edge.infer.file import label_file

DATA = Path(__file__).parent / "data"
# ISCXFlowMeter's features as CICFlowMeter's columns, whose idle times are no durations.
_OF_ISCX = {name: keys[0] for name, keys in dialect_named("iscx2016-time").columns.items()}
_OF_CIC = {name: keys[0] for name, keys in dialect_named("cicdarknet2020").columns.items()}


def write_iscx_flows() -> None:
    """The generated flows with the names of the ISCX 2016 files; idle times, which they lack, from the longest gap."""
    with (DATA / "generated-flows.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    place = {key.strip().casefold(): i for i, key in reversed(list(enumerate(rows[0])))}
    with (DATA / "generated-flows-iscx.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*_OF_ISCX.values(), "protocol", "application"])
        for row in rows[1:]:
            gap = row[place["flow iat max"]]
            cells = [
                row[place[_OF_CIC[name]]] if name in _OF_CIC else "0" if name == "idle_std" else gap
                for name in _OF_ISCX
            ]
            out.writerow([*cells, *row[-2:]])


def main() -> None:
    digests = {name: load_bundle(name).digest() for name in shipped_bundles()}
    (DATA / "golden" / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")
    os.environ["ETCC_EDGE_INSTRUCTION_SET"] = "portable"
    write_iscx_flows()
    for bundle, flows in (("default", ""), ("no-ports", ""), ("iscx-tor-vpn-15s", "-iscx"), ("wire", "")):
        # The unsure labels too: they come of the networks' weights as the others do.
        target = DATA / "golden" / f"{bundle}.labels.csv"
        label_file(
            DATA / f"generated-flows{flows}.csv",
            target,
            bundle=bundle,
            backend="native",
            columns="labels",
            min_confidence=0,
        )


if __name__ == "__main__":
    main()
