"""Bundles: everything that labels flows, in one folder or zip file. The format is in FORMAT.md."""

from etcc_edge.bundle.model import Bundle, FlowDefinition, Node, Scaler, TrainedFlows
from etcc_edge.bundle.store import load_bundle, save_bundle, shipped_bundles

__all__ = [
    "Bundle",
    "FlowDefinition",
    "Node",
    "Scaler",
    "TrainedFlows",
    "load_bundle",
    "save_bundle",
    "shipped_bundles",
]
