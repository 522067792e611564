"""Networks as text: what is read, what is refused, what goes through them and what that costs."""

from __future__ import annotations

import pytest

from etcc_edge.bundle.network import Layer, Network, Shape, classes, cost, parse_network, shapes
from etcc_edge.errors import BundleError

PAPER_STAGE_1 = "conv 64 3, relu, max_pool 2, conv 128 3, relu, dropout 0.25, flatten, dense 4"


def network(text: str) -> Network:
    return parse_network(text.split(", "))


@pytest.mark.parametrize(
    ("line", "layer"),
    [
        ("tent 16", Layer("tent", size=16)),
        ("conv 64 3", Layer("conv", size=64, width=3)),
        ("relu", Layer("relu")),
        ("max_pool 2", Layer("max_pool", width=2)),
        ("flatten", Layer("flatten")),
        ("dense 65536", Layer("dense", size=65_536)),
        ("lstm 128", Layer("lstm", size=128)),
        ("dropout 0.25", Layer("dropout", rate=0.25)),
    ],
)
def test_a_layer_is_read_and_written_as_one_line(line: str, layer: Layer) -> None:
    assert parse_network([line]) == (layer,)
    assert str(layer) == line


def test_blanks_around_arguments_do_not_matter() -> None:
    assert parse_network(["  conv  64\t3 "]) == (Layer("conv", 64, 3),)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("gru 4", "unknown layer 'gru 4'"),
        ("Conv 4 3", "unknown layer"),
        ("conv 64", "does not have its 2 argument"),
        ("conv 64 3 1", "does not have its 2 argument"),
        ("conv 64 three", "does not have its 2 argument"),
        ("conv 64 3.0", "does not have its 2 argument"),
        ("relu 1", "does not have its 0 argument"),
        ("dense 0", "a size lies in 1 to 65536"),
        ("dense -3", "a size lies in 1 to 65536"),
        ("dense 65537", "a size lies in 1 to 65536"),
        ("max_pool 0", "a size lies in 1 to 65536"),
        ("dropout 0", "a dropout rate lies between 0 and 1"),
        ("dropout 1", "a dropout rate lies between 0 and 1"),
        ("dropout nan", "a dropout rate lies between 0 and 1"),
    ],
)
def test_a_line_that_is_no_layer_is_named(line: str, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint):
        parse_network([line])


@pytest.mark.parametrize("line", ["", "  "])
def test_an_empty_line_is_no_layer(line: str) -> None:
    with pytest.raises(BundleError):
        parse_network([line])


def test_each_layer_gives_the_shape_that_the_next_one_gets() -> None:
    layers = network("tent 8, conv 4 3, relu, max_pool 2, dropout 0.5, flatten, dense 6, relu, dense 2")
    after = [shape for _, _, shape in shapes(layers, 10)]
    before = [shape for _, shape, _ in shapes(layers, 10)]
    assert after == [
        Shape(9, 10),
        Shape(4, 8),
        Shape(4, 8),
        Shape(4, 4),
        Shape(4, 4),
        Shape(16, 0),
        Shape(6, 0),
        Shape(6, 0),
        Shape(2, 0),
    ]
    assert before == [Shape(1, 10), *after[:-1]]


def test_only_the_last_lstm_gives_one_state() -> None:
    stacked = network("lstm 8, dropout 0.5, lstm 4, dense 3")
    assert [shape for _, _, shape in shapes(stacked, 10)] == [
        Shape(8, 10),
        Shape(8, 10),
        Shape(4, 0),
        Shape(3, 0),
    ]


def test_pooling_drops_what_is_left_over() -> None:
    assert [after.positions for _, _, after in shapes(network("max_pool 3"), 11)] == [3]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("conv 4 6", r"layer 0 \(conv 4 6\) is wider than the 5 positions"),
        ("conv 4 3, conv 4 4", r"layer 1 \(conv 4 4\) is wider than the 3 positions"),
        ("max_pool 6", r"layer 0 \(max_pool 6\) is wider than the 5 positions"),
        ("dense 4", r"layer 0 \(dense 4\) needs a flat vector; put flatten before it"),
        ("flatten, conv 4 1", "layer 1 .* needs inputs in order"),
        ("flatten, max_pool 1", "layer 1 .* needs inputs in order"),
        ("flatten, flatten", "layer 1 .* needs inputs in order"),
        ("flatten, tent 4", "layer 1 .* needs inputs in order"),
        ("lstm 4, flatten", "layer 1 .* needs inputs in order"),
        ("lstm 4, flatten, lstm 4", "layer 2 .* needs inputs in order"),
        ("conv 4 1, tent 4", "layer 1 .* needs one channel"),
    ],
)
def test_layers_that_do_not_fit_together_are_named(text: str, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint):
        list(shapes(network(text), 5))


@pytest.mark.parametrize(("text", "expected"), [("flatten, dense 3", 3), ("lstm 7", 7), ("conv 2 1, flatten", 10)])
def test_the_width_of_the_logits_is_that_of_the_last_vector(text: str, expected: int) -> None:
    assert classes(network(text), 5) == expected


@pytest.mark.parametrize("text", ["conv 3 2", "tent 3, relu"])
def test_a_network_ends_in_a_vector(text: str) -> None:
    with pytest.raises(BundleError, match="does not end in dense or lstm"):
        classes(network(text), 5)


def test_an_empty_network_has_no_logits() -> None:
    with pytest.raises(BundleError):
        classes((), 5)


def test_the_papers_stage_1_costs_what_its_figure_adds_up_to() -> None:
    # 3·64·39 + 3·64·128·17 + 17·128·4
    assert cost(network(PAPER_STAGE_1), 41).multiply_adds == 433_984
    assert cost(network(PAPER_STAGE_1), 41).parameters == (3 + 1) * 64 + (3 * 64 + 1) * 128 + (17 * 128 + 1) * 4


@pytest.mark.parametrize(
    ("text", "multiply_adds", "parameters"),
    [
        ("conv 4 3, flatten", 3 * 4 * 8, 16),
        # A look-up and an interpolation a tap, however many tent channels there are.
        ("tent 16, conv 4 3, flatten", 2 * 3 * 4 * 8, (17 * 3 + 1) * 4),
        ("tent 64, conv 4 3, flatten", 2 * 3 * 4 * 8, (65 * 3 + 1) * 4),
        # Only straight over tents.
        ("tent 16, relu, conv 4 3, flatten", 17 * 3 * 4 * 8, (17 * 3 + 1) * 4),
        ("lstm 5", 4 * 5 * (1 + 5) * 10, 4 * 5 * (1 + 5 + 2)),
        ("flatten, dropout 0.5, dense 3, relu", 30, 33),
    ],
)
def test_cost_counts_multiply_adds_and_parameters(text: str, multiply_adds: int, parameters: int) -> None:
    assert (cost(network(text), 10).multiply_adds, cost(network(text), 10).parameters) == (multiply_adds, parameters)


def test_cost_counts_what_every_layer_gives() -> None:
    assert cost(network("tent 16, conv 4 3, flatten, dense 3"), 10).activations == 17 * 10 + 4 * 8 + 4 * 8 + 3
