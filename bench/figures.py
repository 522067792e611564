"""The figures of a bench, as its JSON report has them; bench/README.md says what each key holds.

Times are µs (`_us`), milliseconds (`_ms`) or seconds, sizes bytes, shares and accuracies fractions. None is what was
not measured. In the JSON, a key whose field has a default is left out where the field has it; `report/plain.py` turns
these classes into JSON's types and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1

Interval = tuple[float, float]  # low and high
Setting = Mapping[str, int]  # what was chosen by trial, by name


def _beside(*names: str) -> Any:
    """A field that stands in the JSON, None or not, wherever all of these do."""
    return field(default=None, metadata={"beside": names})


@dataclass(kw_only=True)
class Failure:
    error: str


# --- speeds --------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TurnFigures:
    """Of a contender that took turns. Latencies are over all calls of the steady turns, None where there are too few
    for a percentile; ``flows_per_s`` is the median of the turns, ``spread`` their interquartile range over it."""

    calls: int
    turns: int
    discarded_turns: int
    p50_us: float | None
    p90_us: float | None
    p95_us: float | None
    p99_us: float | None
    max_us: float
    flows_per_s: float
    flows_per_s_interval: Interval
    flows_per_s_range: Interval
    flows_per_cpu_s: float | None
    flows_per_cpu_s_range: Interval | None
    spread: float
    steady: bool
    noisy: bool
    speed_up: float | None = None
    speed_up_interval: Interval | None = None


@dataclass(kw_only=True)
class ServerFigures:
    """At the highest rate that held, ``flows_per_s``; the interval goes to the lowest that did not."""

    calls: int
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    max_us: float
    flows_per_s: float
    flows_per_s_interval: Interval


@dataclass(kw_only=True)
class ProcessFigures:
    """Of whole processes, from start to exit."""

    calls: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    flows_per_s: float
    flows_per_s_interval: Interval
    flows_per_s_range: Interval
    flows_per_cpu_s: float
    flows_per_cpu_s_range: Interval
    spread: float
    speed_up: float | None = None
    speed_up_interval: Interval | None = None


def _figures_type(row: Mapping[str, Any]) -> type | None:
    """The class of a measurement's figures; None for an error alone."""
    if "error" in row and "calls" not in row:
        return None
    return {"server": ServerFigures, "process": ProcessFigures}.get(row["scenario"], TurnFigures)


@dataclass(kw_only=True)
class Measurement:
    """One contender in one scenario. ``batch``: flows a call; None for servers and processes. With an ``error`` the
    figures are of the turns before it, or None. In the JSON they stand among the measurement's own keys."""

    contender: str
    precision: str
    kind: str
    scenario: str
    threads: int
    batch: int | None
    figures: TurnFigures | ServerFigures | ProcessFigures | None = field(metadata={"inline": _figures_type})
    error: str = ""

    @property
    def key(self) -> str:
        return f"{self.contender} {self.precision}"


@dataclass(kw_only=True)
class GpuLatency:
    """Of one network and batch size: a whole call with its copies, and the GPU alone by CUDA events."""

    call_ms_p50: float
    call_ms_p95: float
    call_ms_p99: float
    gpu_ms_p50: float | None = None
    gpu_ms_p95: float | None = None
    gpu_ms_p99: float | None = None
    flows_per_s: float


@dataclass(kw_only=True)
class StageFigures:
    """Of labelling a file in one thread; the first two by stage."""

    us_a_flow: dict[str, float]
    share: dict[str, float]
    flows_per_s: float
    flows_per_s_interval: Interval
    spread: float


# --- accuracy ------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class NetworkDrift:
    """Of one network, on the flows that are its own; none may be."""

    flows: int | None = None
    agreement: float | None = None
    accuracy: float | None = _beside("agreement", "largest_logit_change")
    reference_accuracy: float | None = _beside("agreement", "largest_logit_change")
    change_points: float | None = _beside("agreement")
    largest_logit_change: float | None = None


@dataclass(kw_only=True)
class Move:
    """How many flows got another label than from the reference."""

    from_: str
    to: str
    flows: int


@dataclass(kw_only=True)
class DriftFigures:
    """What a contender gets right and how that differs from the reference. ``source`` says whether it was measured or
    recorded at training; an empty ``verdict`` passes."""

    source: str
    flows: int | None = None
    agreement: float | None = None
    accuracy: float | None
    reference_accuracy: float | None = _beside("moves")
    change_points: float | None = _beside("agreement")
    networks: dict[str, NetworkDrift] | None = None  # by node id
    recall_change_points: dict[str, dict[str, float]] | None = None  # by level and label
    moves: list[Move] | None = None
    verdict: str | None = None


# --- a contender ---------------------------------------------------------------------------------------------

MEASURED, FAILED, NOT_AVAILABLE = "measured", "failed", "not available"


@dataclass(kw_only=True)
class ContenderFigures:
    """What is known of a contender beside its measurements. ``reason`` says why its status is not `MEASURED`."""

    name: str
    precision: str
    kind: str
    status: str
    reason: str
    settings: str
    chosen: dict[str, Setting]  # by number of threads
    model_bytes: int | None
    drift: DriftFigures | None
    gpu: dict[str, dict[str, GpuLatency]] | None = None  # by node id and batch
    flows_per_joule: float | None = _beside("energy")
    energy: str | None = None
    stages: StageFigures | Failure | None = None


# --- the machine, and what was measured on ---------------------------------------------------------------------


@dataclass(kw_only=True)
class Environment:
    cpu: str
    flags: list[str]
    instruction_sets: list[str]
    cpus: int
    virtual: bool
    governor: str | None
    memory_bytes: int
    system: str
    gpu_driver: str | None
    python: str
    libraries: dict[str, str]
    commit: str | None


@dataclass(kw_only=True)
class Peak:
    """The machine's: fp32 multiply-adds in registers, and bytes read and written, each on all ``threads``."""

    threads: int
    instruction_set: str
    multiply_adds_per_s: float
    bytes_per_s: float


@dataclass(kw_only=True)
class PeakShares:
    """How near a contender comes to the peaks, and what it needs for a flow at least."""

    multiply_adds_a_flow: float
    bytes_a_flow: float
    multiply_add_share: float
    memory_share: float


@dataclass(kw_only=True)
class Roofline:
    peak: Peak
    contenders: dict[str, PeakShares]


@dataclass(kw_only=True)
class Settings:
    seed: int
    seconds_a_cell: float
    server_bound_ms: float
    max_drift_points: float


@dataclass(kw_only=True)
class BundleUsed:
    name: str
    hash: str
    features: int


@dataclass(kw_only=True)
class FlowsUsed:
    source: str
    file: str | None
    dialect: str
    flows: int
    unseen: int
    labelled: bool
    trees_fitted_on: str | None
    protocol_mix: dict[str, float] | None = None
    in_a_process: int | None = None


# --- conclusions -----------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Recommended:
    """``backends``: by precision, what `auto` takes; ``refused``: by contender, why it was kept out."""

    backend: str
    precision: str
    backends: dict[str, str]
    refused: dict[str, str]


@dataclass(kw_only=True)
class NoneRecommended:
    error: str
    refused: dict[str, str]


@dataclass(kw_only=True)
class Noise:
    others_cpu_share: float | None
    noisy_rows: int
    rows: int
    noisy: bool


@dataclass(kw_only=True)
class Report:
    """All of a bench. It grows while the bench runs; ``complete`` once it came to its end."""

    schema: int
    complete: bool
    made: str
    command: str
    left_out: list[str]
    settings: Settings
    environment: Environment
    bundle: BundleUsed
    flows: FlowsUsed
    contenders: dict[str, ContenderFigures]
    measurements: list[Measurement]
    start_up_seconds: dict[str, float | None] | None = None
    roofline: Roofline | None = None
    recommendation: Recommended | NoneRecommended | None = None
    noise: Noise | None = None
