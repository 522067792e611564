"""How networks are trained: recipes as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from etcc_edge.training.networks import PAPER


@dataclass(frozen=True)
class Teacher:
    """Gradient-boosted trees that a network learns from beside the labels."""

    rounds: int  # of boosting
    flows: int  # mixed flows that it labels, rounded down to whole copies of the training flows
    swap_rate: float  # share of a mixed flow's features that another flow of its label gives


@dataclass(frozen=True)
class Recipe:
    """Everything that fits one network, apart from its data and the seed."""

    networks: Mapping[str, Mapping[str, str]]  # by kind (cnn, lstm), then by protocol key
    scaling: str  # min-max or quantile
    optimizer: Mapping[str, str]  # by kind: sgd, adam or adamw
    learning_rate: float
    schedule: str  # constant or one-cycle
    epochs: int
    batch_size: int
    validation_share: float  # of the rows that do not test; 0: temperatures are 1
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    average: float = 0.0  # decay of the moving average of weights that is kept; 0: the last weights
    class_weight_power: float = 0.0  # a class with share p of the flows weighs p ** -power
    session_power: float = 0.5  # n flows of a label in a session weigh n ** power together
    level_pace: float = 0.0  # of `TentConv`; 0: plain weights
    teacher: Teacher | None = None
    segments: Mapping[str, int] = field(default_factory=dict)  # inputs for a feature of that name; 0: none
    derived: tuple[str, ...] = ()  # further inputs of two features each; those whose features the flows have are used


# Packets, bytes and their quotient; forward over backward, a direction's longest gap over the flow's, and the spread of
# gaps. Trees gain 5 points of both labels by them (docs/train.md). Differences of nearly equal values would hold
# rounding.
_TIME_DERIVED = (
    "flow_duration * flow_packets_per_s",
    "flow_duration * flow_bytes_per_s",
    "flow_bytes_per_s / flow_packets_per_s",
    "fwd_iat_mean / bwd_iat_mean",
    "fwd_iat_max / bwd_iat_max",
    "fwd_iat_max / flow_iat_max",
    "bwd_iat_max / flow_iat_max",
    "flow_iat_std / flow_iat_mean",
)

# Forward beside backward, and how much a flow's sizes and gaps differ: nothing that grows with it.
_WIRE_DERIVED = (
    "fwd_packet_length_mean / bwd_packet_length_mean",
    "fwd_packet_length_max - bwd_packet_length_max",
    "fwd_packet_length_max - fwd_packet_length_min",
    "bwd_packet_length_max - bwd_packet_length_min",
    "packet_length_max - packet_length_mean",
    "fwd_packet_length_std / fwd_packet_length_mean",
    "bwd_packet_length_std / bwd_packet_length_mean",
    "fwd_packets_per_s / bwd_packets_per_s",
    "flow_bytes_per_s / flow_packets_per_s",
    "flow_iat_std / flow_iat_mean",
    "fwd_iat_mean / bwd_iat_mean",
)

# One convolution as wide as its inputs: over tent channels it costs a look-up an input, and on these flows
# narrower kernels, more of them and deeper stacks were no better.
_WIDE = "tent 32, conv 80 inputs, relu, flatten, dropout 0.2, dense 64, relu, dense classes"
_WIDER = "tent 32, conv 176 inputs, relu, flatten, dense 192, relu, dense 96, relu, dense classes"

RECIPES: Mapping[str, Recipe] = {
    # Section 4.2 of the paper. It gives no learning rates; these are the usual ones of its optimizers.
    "paper": Recipe(
        networks=PAPER,
        scaling="min-max",
        optimizer={"cnn": "sgd", "lstm": "adam"},
        learning_rate=0.01,
        schedule="constant",
        epochs=15,
        batch_size=32,
        validation_share=0.0,
    ),
    "default": Recipe(
        networks={"cnn": {"": _WIDE}},
        scaling="quantile",
        optimizer={"cnn": "adamw"},
        learning_rate=3e-3,
        schedule="one-cycle",
        epochs=10,
        batch_size=256,
        validation_share=0.12,
        weight_decay=0.1,
        average=0.995,
        level_pace=3.0,
        teacher=Teacher(rounds=120, flows=120_000, swap_rate=0.15),
        segments={"src_port": 0},
    ),
    # For tunnels seen from outside. Ports name services by rule alone: a tunnel may have any.
    "wire": Recipe(
        networks={"cnn": {"": _WIDE}},
        scaling="quantile",
        optimizer={"cnn": "adamw"},
        learning_rate=3e-3,
        schedule="one-cycle",
        epochs=12,
        batch_size=512,
        validation_share=0.12,
        weight_decay=0.1,
        label_smoothing=0.1,
        average=0.995,
        level_pace=8.0,
        class_weight_power=0.25,
        session_power=0.0,
        segments={"src_port": 0, "dst_port": 0},
        derived=_WIRE_DERIVED,
    ),
    # For ISCX time features, which few flows teach well enough: more of everything, and derived inputs.
    "distilled": Recipe(
        networks={"cnn": {"": _WIDER}},
        scaling="quantile",
        optimizer={"cnn": "adamw"},
        learning_rate=3e-3,
        schedule="one-cycle",
        epochs=16,
        batch_size=256,
        validation_share=0.06,
        weight_decay=0.1,
        average=0.995,
        level_pace=3.0,
        teacher=Teacher(rounds=300, flows=400_000, swap_rate=0.15),
        derived=_TIME_DERIVED,
    ),
}

# How a network that is trained already learns an owner's flows; it keeps its layers and its scaler.
ADAPTING = Recipe(
    networks={},
    scaling="",
    optimizer={"cnn": "adamw"},
    learning_rate=3e-3,
    schedule="one-cycle",
    epochs=15,
    batch_size=128,
    validation_share=0.0,
    weight_decay=0.01,
    label_smoothing=0.05,
    average=0.99,
)
