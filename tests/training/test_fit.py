"""Fitting learns what can be learnt, the same each time, at the temperature that fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from etcc_edge.bundle.network import parse_network
from etcc_edge.training.fit import Examples, fit
from etcc_edge.training.networks import PAPER, TorchNetwork, network
from etcc_edge.training.recipes import RECIPES

LAYERS = parse_network(["tent 8", "conv 8 2", "relu", "flatten", "dense 2"])


def examples(n: int, seed: int) -> Examples:
    """Two inputs; the label is whether just one of them lies in the middle."""
    scaled = np.random.default_rng(seed).random((n, 2)).astype(np.float32)
    middle = np.abs(scaled - 0.5) < 0.25
    return Examples(scaled, (middle[:, 0] ^ middle[:, 1]).astype(np.int64))


NONE = Examples(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
QUICK = replace(RECIPES["default"], epochs=12, batch_size=32, level_pace=8.0)


def accuracy(fitted_network: TorchNetwork, of: Examples) -> float:
    return float((fitted_network.exact(of.scaled.astype(np.float64)).argmax(1) == of.label).mean())


def settings() -> tuple[int, bool, bool]:
    """PyTorch's own, of the whole process."""
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


@pytest.fixture
def other_settings() -> Iterator[tuple[int, bool, bool]]:
    """Three threads, and a warning where an algorithm is not deterministic."""
    threads, deterministic, warn_only = settings()
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield settings()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def test_fitting_works_on_one_thread_and_leaves_pytorch_as_it_was(other_settings: tuple[int, bool, bool]) -> None:
    assert other_settings == (3, True, True)
    while_fitting: list[tuple[int, bool, bool]] = []
    few = replace(QUICK, epochs=1)
    fit(LAYERS, examples(64, 0), NONE, 2, few, "cnn", seed=0, after_epoch=lambda _: while_fitting.append(settings()))
    assert while_fitting == [(1, True, False)]
    assert settings() == other_settings


def test_a_fit_that_fails_leaves_pytorch_as_it_was(other_settings: tuple[int, bool, bool]) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(LAYERS, examples(64, 0), NONE, 2, QUICK, "cnn", seed=0, after_epoch=interrupt)
    assert settings() == other_settings


def test_every_epoch_says_its_loss_and_the_time_left() -> None:
    lines: list[str] = []
    fit(LAYERS, examples(64, 0), NONE, 2, replace(QUICK, epochs=2), "cnn", seed=0, after_epoch=lines.append)
    assert re.fullmatch(r"epoch 1/2, \d+ s left, loss \d+\.\d{4}", lines[0])
    assert re.fullmatch(r"epoch 2/2, 0 s left, loss \d+\.\d{4}", lines[1])
    fit(LAYERS, examples(64, 0), examples(64, 1), 2, QUICK, "cnn", seed=0, after_epoch=lines.append)
    assert re.fullmatch(r"epoch 1/12, \d+ s left, loss \d+\.\d{4}, validation accuracy 0\.\d{4}", lines[2])


def test_what_can_be_learnt_is_learnt() -> None:
    fitted = fit(LAYERS, examples(800, 0), examples(200, 1), 2, QUICK, "cnn", seed=0)
    assert accuracy(fitted.network, examples(500, 2)) > 0.9


def test_a_seed_gives_one_network() -> None:
    def weights(seed: int) -> list[float]:
        weights = fit(LAYERS, examples(100, 0), NONE, 2, replace(QUICK, epochs=1), "cnn", seed).network.weights()
        return np.concatenate([array.ravel() for array in weights.values()]).tolist()

    assert weights(0) == weights(0) != weights(1)


def test_the_temperature_fits_the_validation_flows() -> None:
    noisy = examples(2000, 1)
    noisy.label[::4] ^= 1
    fitted = fit(LAYERS, examples(60, 0), noisy, 2, replace(QUICK, epochs=10, learning_rate=0.05), "cnn", 3)
    logits = torch.from_numpy(fitted.network.exact(noisy.scaled.astype(np.float64)))

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / temperature, torch.from_numpy(noisy.label)))

    assert fitted.temperature != 1
    assert loss(fitted.temperature) <= min(loss(fitted.temperature * off) for off in (0.9, 1.1))


def test_a_few_flows_that_are_all_right_do_not_make_a_network_sure() -> None:
    temperature = fit(LAYERS, examples(300, 0), examples(6, 1), 2, QUICK, "cnn", 3).temperature
    assert 0.4 < temperature < 1


def test_class_weights_lift_a_rare_class() -> None:
    scaled = np.random.default_rng(0).random((400, 2)).astype(np.float32)
    rare = Examples(scaled, (np.arange(400) % 10 == 0).astype(np.int64))  # whatever the inputs

    def share(power: float) -> float:
        recipe = replace(QUICK, class_weight_power=power)
        network = fit(LAYERS, rare, NONE, 2, recipe, "cnn", seed=0).network
        return float(network.exact(scaled.astype(np.float64)).argmax(1).mean())

    assert share(0.0) < 0.1 < 0.25 < share(1.0)


def test_averaging_changes_what_is_kept() -> None:
    def kept(average: float) -> np.ndarray:
        recipe = replace(QUICK, epochs=2, average=average)
        return np.concatenate(
            [a.ravel() for a in fit(LAYERS, examples(64, 0), NONE, 2, recipe, "cnn", seed=0).network.weights().values()]
        )

    assert np.abs(kept(0.0) - kept(0.9)).max() > 1e-3


def test_without_validation_the_temperature_is_1() -> None:
    assert fit(LAYERS, examples(64, 0), NONE, 2, replace(QUICK, epochs=3), "cnn", seed=0).temperature == 1.0


def test_folded_weights_give_the_trained_networks_logits() -> None:
    fitted = fit(LAYERS, examples(200, 0), NONE, 2, replace(QUICK, epochs=2), "cnn", seed=0).network
    scaled = examples(50, 9).scaled
    trained = fitted(torch.from_numpy(scaled)).detach().numpy()
    assert fitted.exact(scaled.astype(np.float64)) == pytest.approx(trained, abs=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_the_paper_recipe_trains_both_kinds(kind: str) -> None:
    rng = np.random.default_rng(0)
    few = Examples(rng.random((40, 12)).astype(np.float32), rng.integers(0, 5, 40))
    layers = network(PAPER[kind], "Tor", 12, 5)
    none = Examples(np.zeros((0, 12), np.float32), np.zeros(0, np.int64))
    fitted = fit(layers, few, none, 5, replace(RECIPES["paper"], epochs=1), kind, seed=0)
    assert fitted.network.exact(few.scaled.astype(np.float64)).shape == (40, 5)


def test_the_averaged_weights_carry_no_history() -> None:
    # With one, each step would keep the memory of all earlier ones.
    fitted = fit(LAYERS, examples(64, 0), NONE, 2, replace(QUICK, epochs=1), "cnn", seed=0)
    assert all(parameter.is_leaf for parameter in fitted.network.parameters())
