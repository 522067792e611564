"""What a check of a flows file gives, and the same under the keys of its JSON.

Counts are of flows, or of cells within the flows that can be read; accuracies and shares are fractions. What does not
apply is None. A field's name is its key in `check --json`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from etcc_edge.flows.batch import ReadCounts


@dataclass
class BundleFit:
    """A shipped bundle and a file."""

    fits: bool
    picked: bool  # `infer` takes it by itself
    view: str  # where its flows were captured, one of `VIEWS`; empty: not stated
    timeout_s: float  # of the flows that it was trained on
    outside_range: int  # readable flows with a feature beyond the range that it was trained on; 0 where it does not fit
    why_not: str  # empty where it fits


@dataclass
class RowCounts(ReadCounts):
    """What the reader counted, and the rows that the other figures are about."""

    readable: int = 0


@dataclass(frozen=True)
class FeatureValues:
    """One feature's, in its canonical unit."""

    unit: str
    missing: int  # empty or NaN
    infinite: int  # or beyond float32
    negative: int
    constant: bool  # one value, or none
    min: float | None  # of the finite ones
    max: float | None


@dataclass(frozen=True)
class Repeated:
    """Flows that have an equal elsewhere in the file."""

    flows: int
    share: float
    distinct: int  # flows that would be left with one of each


@dataclass(frozen=True)
class Repeats:
    bytes: Repeated  # equal as they are written
    features: Repeated  # equal in every feature but the ports


@dataclass(frozen=True)
class LabelCounts:
    flows: int  # that have every label
    flows_without: int
    by_level: dict[str, dict[str, int]]  # flows by label; JSON has its levels beside the counts


@dataclass(frozen=True)
class AbsoluteTimes:
    """A column that holds times of the clock instead of durations."""

    flows: int
    feature: str | None  # that it would be


@dataclass(frozen=True)
class Conflicts:
    """Flows whose equal in every feature but the ports has another label."""

    flows: int
    share: float
    best_accuracy: float | None  # that these features then allow


@dataclass(frozen=True)
class DateAccuracy:
    """How often a label is guessed right, learned on one half of the flows and scored on the other, both ways."""

    day: float  # by the most frequent label of the flow's day
    most_frequent: float  # by the most frequent label of all


@dataclass(frozen=True)
class DateLeakage:
    days: int  # that the flows are of
    flows: int  # with a date
    accuracy: dict[str, DateAccuracy]  # by level, and ``both``; empty for fewer than two such flows


@dataclass(frozen=True)
class SplitLeakage:
    """Test flows of a split that have a twin among its training flows, ports aside: equal in every feature, or near,
    when each feature is rounded to three significant digits."""

    kind: str
    seed: int
    train: int
    test: int
    twins: int
    twins_share: float  # of the test flows
    near_twins: int
    near_twins_share: float


@dataclass(frozen=True)
class Leakage:
    """What gives a flow's labels away."""

    identifiers: list[str]  # columns that name the capture
    absolute_times: dict[str, AbsoluteTimes]  # by column
    conflicts: dict[str, Conflicts]  # by level, and ``both`` where there are two
    date: DateLeakage | None  # None without a column of timestamps
    split: SplitLeakage | None = None  # None until a split was counted


@dataclass(frozen=True)
class Check:
    """A flows file or a capture."""

    file: str
    dialect: str
    meter: str
    time_unit: str
    notes: list[str]  # of how it is read
    columns: dict[str, str]  # by feature
    other_columns: list[str]
    features_missing: list[str]  # that the dialect has
    bundles: dict[str, BundleFit]  # by name
    rows: RowCounts
    capture: dict[str, Any] | None  # how it was cut, and what the meter met; None for a file
    damage: str  # what ended a capture early
    relations: list[str]  # between numbers, that every row was checked for
    contradiction: str  # why the file is not what it seems; empty where few rows break a relation, or none
    failure: str  # why `infer` would fail on the file with no option; empty where it would not
    values: dict[str, FeatureValues]  # by feature
    repeats: Repeats
    label_columns: dict[str, str]  # by level
    labels: LabelCounts | None  # this and the next: None without labels
    leakage: Leakage | None

    def with_split(self, split: SplitLeakage) -> Check:
        """The same with the leakage of a split of its flows. Raises ValueError without labels."""
        if self.leakage is None:
            raise ValueError(f"{self.file}: flows without labels are not split")
        return replace(self, leakage=replace(self.leakage, split=split))


def to_json(check: Check) -> dict[str, Any]:
    """The fields as keys, in what JSON has."""
    keys = asdict(check)
    if check.labels is not None:
        keys["labels"] |= keys["labels"].pop("by_level")
    return keys
