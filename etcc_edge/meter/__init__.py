"""Captures cut into flows, as CICFlowMeter does."""

from etcc_edge.meter.capture import PROFILES, MeteredCapture
from etcc_edge.meter.source import CaptureBatch, CaptureSource

__all__ = ["PROFILES", "CaptureBatch", "CaptureSource", "MeteredCapture"]
