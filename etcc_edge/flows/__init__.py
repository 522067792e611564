"""Flows in and out: canonical features, header dialects, the reader, the writer, generated sample flows."""

from etcc_edge.flows.features import PRESETS, features, preset
from etcc_edge.flows.reader import FlowBatch, FlowFile

__all__ = ["PRESETS", "FlowBatch", "FlowFile", "features", "preset"]
