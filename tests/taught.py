"""The real flows that shipped bundles were trained on, read and parted as their training did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from etcc_edge.bundle import Bundle
from etcc_edge.flows.truth import LabelledFlows, read_labelled_files
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import Split, split

_CAMPUS = ("cicdarknet2020-part", "cicdarknet2020-more")
# By bundle: the preset of features and the folders. `wire` learnt from a corpus that is not kept.
_TAUGHT_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "default": ("paper", _CAMPUS),
    "no-ports": ("no-ports", (*_CAMPUS, "cicdarknet2020-tor")),
    "iscx-tor-vpn-15s": ("time", ("iscx-tor-vpn-15s",)),
}


def taught_flows(bundle: Bundle, real_flows: Path) -> LabelledFlows:
    """With the bundle's features."""
    preset, folders = _TAUGHT_BY[bundle.name]
    groups = [real_flows / folder / "flows.captures.txt" for folder in folders]
    flows = read_labelled_files(
        [real_flows / folder / "flows.csv" for folder in folders],
        preset,
        groups=[file for file in groups if file.is_file()],
        to_split=True,
    )
    columns = [flows.feature_names.index(name) for name in bundle.features]
    raw = np.ascontiguousarray(flows.features[:, columns])
    return replace(flows, features=raw, feature_names=bundle.features)


def parts_of(bundle: Bundle, flows: LabelledFlows) -> Split:
    record = bundle.training["split"]
    share = RECIPES[bundle.training["recipe"]].validation_share
    return split(flows, record["kind"], record["seed"], share, record["validation_kind"], record["test_share"])
