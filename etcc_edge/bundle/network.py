"""Networks as data: a tuple of layers, written one a line as ``conv 64 3``.

A network maps scaled inputs, float32 [n, inputs] in [0, 1], to logits, float32 [n, classes]. Its input counts
as one channel over as many positions until ``flatten``.

==================== =======================================================================================
``tent T``           T + 1 channels, channel t is max(0, 1 - |T·u - t|): a piecewise-linear encoding over equal
                     bins (Gorishniy et al., NeurIPS 2022) of which at most two channels are not 0, so that a
                     convolution over it is a table look-up with one interpolation
``conv C K``         C channels, kernel K along the inputs, no padding, bias
``relu``
``max_pool K``       window and stride K, what is left over at the end is dropped
``flatten``          channel after channel
``dense N``          bias
``lstm N``           over the inputs in order; another ``lstm`` gets the sequence, else the last state
``dropout P``        in training only
==================== =======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from etcc_edge.errors import BundleError

_ARGUMENTS = {
    "tent": (int,),
    "conv": (int, int),
    "relu": (),
    "max_pool": (int,),
    "flatten": (),
    "dense": (int,),
    "lstm": (int,),
    "dropout": (float,),
}
_LARGEST = 65_536


@dataclass(frozen=True)
class Layer:
    op: str
    size: int = 0  # channels, units or tent bins
    width: int = 0  # kernel or pooling window
    rate: float = 0.0  # dropout

    def __str__(self) -> str:
        return " ".join([self.op, *(str(value) for value in (self.size, self.width, self.rate) if value)])


Network = tuple[Layer, ...]


def parse_network(lines: Iterable[str]) -> Network:
    """Layers from their text form. Raises BundleError for an unknown layer or a wrong argument."""
    return tuple(_parse_layer(line) for line in lines)


def _parse_layer(line: str) -> Layer:
    op, *arguments = line.split() or [""]
    kinds = _ARGUMENTS.get(op)
    if kinds is None:
        raise BundleError(f"unknown layer {line!r}; a newer etcc-edge may know it")
    try:
        values = [kind(argument) for kind, argument in zip(kinds, arguments, strict=True)]
    except ValueError:
        raise BundleError(f"layer {line!r} does not have its {len(kinds)} argument(s)") from None
    if op == "dropout":
        if not 0 < values[0] < 1:
            raise BundleError(f"layer {line!r}: a dropout rate lies between 0 and 1")
        return Layer(op, rate=values[0])
    if any(not 1 <= value <= _LARGEST for value in values):
        raise BundleError(f"layer {line!r}: a size lies in 1 to {_LARGEST}")
    if op == "max_pool":
        return Layer(op, width=int(values[0]))
    sizes = [int(value) for value in values] + [0, 0]
    return Layer(op, size=sizes[0], width=sizes[1])


@dataclass(frozen=True)
class Shape:
    """Per flow, between two layers: channels × positions, or a vector (``positions`` 0) of ``channels``."""

    channels: int
    positions: int

    @property
    def values(self) -> int:
        return self.channels * max(self.positions, 1)


def shapes(network: Network, inputs: int) -> Iterator[tuple[Layer, Shape, Shape]]:
    """Each layer with the shape that goes in and the one that comes out.

    Raises BundleError where a layer does not fit what comes before it.
    """
    shape = Shape(1, inputs)
    for i, layer in enumerate(network):
        before = shape
        vector = before.positions == 0
        if vector != (layer.op == "dense") and layer.op in ("tent", "conv", "max_pool", "flatten", "lstm", "dense"):
            needs = "a flat vector; put flatten before it" if layer.op == "dense" else "inputs in order"
            raise BundleError(f"layer {i} ({layer}) needs {needs}")
        if layer.op == "tent":
            if before.channels != 1:
                raise BundleError(f"layer {i} ({layer}) needs one channel")
            shape = Shape(layer.size + 1, before.positions)
        elif layer.op == "conv":
            shape = Shape(layer.size, before.positions - layer.width + 1)
        elif layer.op == "max_pool":
            shape = Shape(before.channels, before.positions // layer.width)
        elif layer.op == "flatten":
            shape = Shape(before.values, 0)
        elif layer.op == "dense":
            shape = Shape(layer.size, 0)
        elif layer.op == "lstm":
            followed = any(later.op == "lstm" for later in network[i + 1 :])
            shape = Shape(layer.size, before.positions if followed else 0)
        if not vector and layer.op in ("conv", "max_pool") and shape.positions < 1:
            raise BundleError(f"layer {i} ({layer}) is wider than the {before.positions} positions it gets")
        yield layer, before, shape


def classes(network: Network, inputs: int) -> int:
    """Width of the logits. Raises BundleError where the network does not end in a flat vector."""
    last = [Shape(1, inputs), *(after for _, _, after in shapes(network, inputs))][-1]
    if last.positions:
        raise BundleError("the network does not end in dense or lstm")
    return last.channels


def parameter_shapes(network: Network, inputs: int) -> dict[str, tuple[int, ...]]:
    """Shape of each weight by ``<layer index>.<name>``, as PyTorch names and shapes them."""
    found: dict[str, tuple[int, ...]] = {}
    for i, (layer, before, _) in enumerate(shapes(network, inputs)):
        if layer.op == "conv":
            found |= {f"{i}.weight": (layer.size, before.channels, 1, layer.width), f"{i}.bias": (layer.size,)}
        elif layer.op == "dense":
            found |= {f"{i}.weight": (layer.size, before.channels), f"{i}.bias": (layer.size,)}
        elif layer.op == "lstm":
            gates = 4 * layer.size
            found |= {f"{i}.weight_ih_l0": (gates, before.channels), f"{i}.weight_hh_l0": (gates, layer.size)}
            found |= {f"{i}.bias_ih_l0": (gates,), f"{i}.bias_hh_l0": (gates,)}
    return found


@dataclass(frozen=True)
class Cost:
    multiply_adds: int  # a flow
    parameters: int
    activations: int  # values a flow that layers give, all together


def cost(network: Network, inputs: int) -> Cost:
    """What a network costs. A convolution straight over tent channels counts as native code does it: a
    table look-up with one interpolation, two multiply-adds a kernel tap and output."""
    multiply_adds = activations = 0
    previous = ""
    for layer, before, after in shapes(network, inputs):
        activations += after.values
        if layer.op == "conv":
            taps = layer.width * layer.size * after.positions
            multiply_adds += taps * (2 if previous == "tent" else before.channels)
        elif layer.op == "dense":
            multiply_adds += layer.size * before.channels
        elif layer.op == "lstm":
            multiply_adds += 4 * layer.size * (before.channels + layer.size) * before.positions
        previous = layer.op
    parameters = sum(math.prod(shape) for shape in parameter_shapes(network, inputs).values())
    return Cost(multiply_adds, parameters, activations)
