"""Networks by name, and their PyTorch form."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import count

import numpy as np
import torch
from torch import nn

from etcc_edge.arrays import F32, F64
from etcc_edge.bundle.network import Network, parse_network, shapes
from etcc_edge.errors import BundleError, EtccError
from etcc_edge.flows.labels import label_key

# The paper's networks as its Figures 4 and 5 can be read: stage 1, then one for each protocol. "classes"
# and "inputs" stand for their numbers; a better reading of a figure is an edit of one line.
PAPER: Mapping[str, Mapping[str, str]] = {
    "cnn": {
        "": "conv 64 3, relu, max_pool 2, conv 128 3, relu, dropout 0.25, flatten, dense classes",
        "tor": "conv 32 3, relu, dropout 0.25, conv 64 3, relu, dropout 0.25, flatten, "
        "dense 64, relu, dropout 0.5, dense classes",
        "nontor": "conv 64 3, relu, dropout 0.25, flatten, dense classes",
        "vpn": "conv 64 3, relu, flatten, dense classes",
        "nonvpn": "conv 32 3, relu, dropout 0.25, conv 64 3, relu, dropout 0.25, flatten, "
        "dense 256, relu, dropout 0.5, dense classes",
    },
    "lstm": {
        "": "lstm 128, dropout 0.25, lstm 256, dropout 0.5, dense classes",
        "tor": "lstm 32, lstm 64, dense 64, relu, dropout 0.5, dense classes",
        "nontor": "lstm 32, lstm 128, dropout 0.5, dense classes",
        "vpn": "lstm 128, lstm 64, dropout 0.5, dense classes",
        "nonvpn": "lstm 128, lstm 128, dense 128, relu, dropout 0.5, dense classes",
    },
}


def network(table: Mapping[str, str], protocol: str, inputs: int, classes: int) -> Network:
    """The network for a protocol's applications, or for the protocols themselves where it is empty.

    A protocol that the table does not name gets the table's last network.
    """
    text = table.get(label_key(protocol)) or [*table.values()][-1]
    return parse_network(text.replace("inputs", str(inputs)).replace("classes", str(classes)).split(", "))


def least_inputs(table: Mapping[str, str]) -> int:
    """The fewest inputs that every network of a table can take."""
    return next(n for n in count(1) if all(_fits(table, protocol, n) for protocol in table))


def _fits(table: Mapping[str, str], protocol: str, inputs: int) -> bool:
    try:
        deque(shapes(network(table, protocol, inputs, 2), inputs), maxlen=0)
    except BundleError:
        return False
    return True


class Conv(nn.Conv2d):
    """A convolution along the inputs."""

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [out, in, 1, k] and bias [out], as a bundle stores them."""
        assert self.bias is not None
        return self.weight, self.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight, bias = self.folded()
        if weight.shape[3] < input.shape[3]:
            return nn.functional.conv2d(input, weight, bias)
        # A kernel as wide as its input is a matrix, which PyTorch multiplies many times faster.
        return nn.functional.linear(input.flatten(1), weight.flatten(1), bias)[:, :, None, None]


class TentConv(Conv):
    """A convolution over tent channels, whose weight at tent t is a feature's contribution at the bin edge t.

    It is trained as the sum of two parts: ``slopes``, summed over the bins, which move the contribution above a
    bin for good, and free ``levels``, ``pace`` times as strong, which move it at one edge alone and so separate
    narrow ranges of a feature.
    """

    def __init__(self, tents: int, channels: int, width: int, pace: float) -> None:
        super().__init__(tents, channels, (1, width))
        self.slopes = self.weight
        self.pace = pace
        self.levels = nn.Parameter(0.03 * torch.randn(channels, tents, 1, width))

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        # The tents of an input add up to 1, so each input's mean contribution can go to the bias: small weights
        # round less.
        weight = self.slopes.cumsum(1) + self.pace * self.levels
        mean = weight.mean(1, keepdim=True)
        assert self.bias is not None
        return weight - mean, self.bias + mean.sum((1, 2, 3))


class TorchNetwork(nn.Module):
    """A `Network` in PyTorch: scaled inputs float32 [n, inputs] to logits float32 [n, classes].

    A convolution along the inputs is a Conv2d of kernel (1, k), the form in which it is exported. Parameters
    are named by layer index, as in a bundle.
    """

    def __init__(self, layers: Network, inputs: int, level_pace: float = 0.0) -> None:
        super().__init__()
        self.layers = layers
        self.parts = nn.ModuleDict()
        for i, (layer, before, _) in enumerate(shapes(layers, inputs)):
            if layer.op == "conv" and level_pace and i and layers[i - 1].op == "tent":
                self.parts[str(i)] = TentConv(before.channels, layer.size, layer.width, level_pace)
            elif layer.op == "conv":
                self.parts[str(i)] = Conv(before.channels, layer.size, (1, layer.width))
            elif layer.op == "dense":
                self.parts[str(i)] = nn.Linear(before.channels, layer.size)
            elif layer.op == "lstm":
                self.parts[str(i)] = nn.LSTM(before.channels, layer.size, batch_first=True)
            elif layer.op == "dropout":
                self.parts[str(i)] = nn.Dropout(layer.rate)

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        x = scaled[:, None, None, :]  # [n, channel, 1, position]
        for i, layer in enumerate(self.layers):
            if layer.op in ("conv", "dense", "dropout"):
                x = self.parts[str(i)](x)
            elif layer.op == "tent":
                edges = torch.arange(layer.size + 1, dtype=x.dtype)[None, :, None, None]
                x = torch.relu(1 - torch.abs(x * layer.size - edges))
            elif layer.op == "relu":
                x = torch.relu(x)
            elif layer.op == "max_pool":
                x = nn.functional.max_pool2d(x, (1, layer.width))
            elif layer.op == "flatten":
                x = x.flatten(1)
            elif layer.op == "lstm":
                sequence, _ = self.parts[str(i)](x.squeeze(2).transpose(1, 2))
                again = any(later.op == "lstm" for later in self.layers[i + 1 :])
                x = sequence.transpose(1, 2)[:, :, None, :] if again else sequence[:, -1]
            else:
                raise EtccError(f"layer {layer} has no PyTorch form")
        return x

    def weights(self) -> dict[str, F32]:
        """Parameters by ``<layer index>.<name>``, float32, as a bundle stores them."""
        named = self.parts.state_dict()
        for index, part in self.parts.items():
            if isinstance(part, TentConv):
                del named[f"{index}.levels"], named[f"{index}.slopes"]
                named[f"{index}.weight"], named[f"{index}.bias"] = part.folded()
        return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in named.items()}

    def exact(self, scaled: F64) -> F64:
        """Logits in float64 of the weights that a bundle stores, dropout off: the measure of every export."""
        plain = TorchNetwork(self.layers, scaled.shape[1])
        plain.parts.load_state_dict({name: torch.from_numpy(array) for name, array in self.weights().items()})
        with torch.inference_mode():
            logits: F64 = plain.double().eval()(torch.from_numpy(scaled)).numpy()
        return logits
