"""Captures cut into flows, as CICFlowMeter does."""

from etcc_edge.meter.capture import PROFILES, MeteredCapture

__all__ = ["PROFILES", "MeteredCapture"]
