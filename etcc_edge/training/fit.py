"""Fits one network to labelled flows."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from etcc_edge.arrays import F32, I64
from etcc_edge.bundle.network import Network
from etcc_edge.training.networks import TorchNetwork
from etcc_edge.training.recipes import Recipe

_LOG_SPREAD = 0.3
"""How far temperatures lie from 1, in powers of ten. A few flows that are all right would ask for the least."""


@dataclass(frozen=True)
class Examples:
    scaled: F32  # [n, inputs]
    label: I64  # [n]
    target: F32 | None = None  # [n, classes], probabilities to learn instead of the labels
    weight: F32 | None = None  # [n], of each in the loss, 1 in the mean; None: all weigh the same

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Fitted:
    network: TorchNetwork
    temperature: float


@contextmanager
def reproducible() -> Iterator[None]:
    """PyTorch on one thread and with deterministic algorithms alone, afterwards as before. Networks this small lose
    more to waiting than they gain by threads."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@reproducible()
def fit(
    layers: Network,
    train: Examples,
    validation: Examples,
    classes: int,
    recipe: Recipe,
    kind: str,
    seed: int,
    after_epoch: Callable[[str], None] = lambda _: None,
    weights: Mapping[str, F32] | None = None,
) -> Fitted:
    """Trains by the recipe, the same from the same seed; from these ``weights`` (as `TorchNetwork.weights` gives
    them, for a recipe without level pace), else from random ones.

    The temperature makes confidences fit the validation flows (Guo et al., ICML 2017); it is 1 without any.
    ``after_epoch`` gets a line: the epoch, the seconds that are left, the mean loss of the training flows, the accuracy
    on validation flows.
    """
    torch.manual_seed(seed)  # weights and dropout
    network = TorchNetwork(layers, train.scaled.shape[1], recipe.level_pace)
    if weights is not None:
        network.parts.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    averaged = copy.deepcopy(network).eval().requires_grad_(False) if recipe.average else network
    optimizer = _optimizer(network, recipe, kind)
    steps_an_epoch = -(-len(train) // recipe.batch_size)
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=max(8, recipe.epochs * steps_an_epoch), pct_start=0.25
        )
        if recipe.schedule == "one-cycle"
        else None
    )
    loss_of = nn.CrossEntropyLoss(
        weight=_class_weights(train.label, classes, recipe.class_weight_power),
        label_smoothing=recipe.label_smoothing,
        reduction="mean" if train.weight is None else "none",
    )
    weight = None if train.weight is None else torch.from_numpy(train.weight)
    scaled = torch.from_numpy(train.scaled)
    target = torch.from_numpy(train.label if train.target is None else train.target)
    shuffle = torch.Generator().manual_seed(seed)
    step = 0
    start = time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        loss_sum = torch.zeros(())
        for rows in torch.split(torch.randperm(len(train), generator=shuffle), recipe.batch_size):
            optimizer.zero_grad(set_to_none=True)
            batch_loss = loss_of(network(scaled[rows]), target[rows])
            if weight is not None:
                batch_loss = (batch_loss * weight[rows]).mean()
            batch_loss.backward()
            loss_sum += batch_loss.detach() * len(rows)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            step += 1
            if recipe.average:
                # The average is short at first, so that it forgets the random start.
                keep = min(recipe.average, step / (step + 10))
                with torch.no_grad():
                    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - keep)
        left = (time.monotonic() - start) / epoch * (recipe.epochs - epoch)
        news = f"epoch {epoch}/{recipe.epochs}, {left:.0f} s left, loss {float(loss_sum) / len(train):.4f}"
        if len(validation):
            right = _logits(averaged, validation.scaled).argmax(1) == torch.from_numpy(validation.label)
            news += f", validation accuracy {float(right.float().mean()):.4f}"
        after_epoch(news)
    averaged.eval()
    calibrated = len(validation) and _calibrate(_logits(averaged, validation.scaled), validation.label)
    return Fitted(averaged, calibrated or 1.0)


def _optimizer(network: nn.Module, recipe: Recipe, kind: str) -> torch.optim.Optimizer:
    name = recipe.optimizer[kind]
    if name == "sgd":
        return torch.optim.SGD(network.parameters(), recipe.learning_rate)
    if name == "adam":
        return torch.optim.Adam(network.parameters())
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, recipe.learning_rate)


def _class_weights(label: I64, classes: int, power: float) -> torch.Tensor | None:
    if not power:
        return None
    share = np.bincount(label, minlength=classes) / len(label)
    weight = np.maximum(share, 1 / len(label)) ** -power
    return torch.tensor(weight / (weight * share).sum(), dtype=torch.float32)


def _logits(network: nn.Module, scaled: F32) -> torch.Tensor:
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(block) for block in torch.split(torch.from_numpy(scaled), 4096)])


def _calibrate(logits: torch.Tensor, label: I64) -> float:
    """The temperature in 0.1 … 10 with the lowest cross-entropy, held near 1 where flows are few."""
    exact, target = logits.double(), torch.from_numpy(label)

    def loss(log_temperature: float) -> float:
        misfit = nn.functional.cross_entropy(exact / 10**log_temperature, target, reduction="sum")
        return float(misfit) + (log_temperature / _LOG_SPREAD) ** 2 / 2

    minimum = minimize_scalar(loss, bounds=(-1, 1), method="bounded", options={"xatol": 1e-3})
    return round(float(10**minimum.x), 4)
