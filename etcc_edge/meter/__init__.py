"""Captures cut into flows, as CICFlowMeter does."""

from etcc_edge.meter.capture import MeteredCapture
from etcc_edge.meter.profiles import PROFILES, Profile

__all__ = ["PROFILES", "MeteredCapture", "Profile"]
