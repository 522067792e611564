"""Networks by name, and their PyTorch form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from etcc_edge.bundle.network import Network, parse_network, shapes
from etcc_edge.errors import EtccError
from etcc_edge.labels import label_key

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


class HingeConv(nn.Conv2d):
    """A convolution over hinge channels, trained by slopes and by levels at once.

    The weight of hinge channel t is the slope of a piecewise-linear function over bin t; ``levels`` are that
    function's values at the bins' edges, ``pace`` times as strong. Both fold into one weight. A step along a
    slope moves the function above the bin for good, a step along a level only beside its edge, which is what
    separates narrow ranges of a feature; either alone trains worse.
    """

    def __init__(self, hinges: int, channels: int, width: int, pace: float) -> None:
        super().__init__(hinges, channels, (1, width))
        self.pace = pace
        self.levels = nn.Parameter(0.03 * torch.randn(channels, hinges + 1, 1, width))

    def folded(self) -> torch.Tensor:
        return self.weight + self.pace * (self.levels[:, 1:] - self.levels[:, :-1])

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.folded()
        if weight.shape[3] < input.shape[3]:
            return nn.functional.conv2d(input, weight, self.bias)
        # A kernel as wide as its input is a matrix, which PyTorch multiplies many times faster.
        return nn.functional.linear(input.flatten(1), weight.flatten(1), self.bias)[:, :, None, None]


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
            if layer.op == "conv" and level_pace and i and layers[i - 1].op == "hinge":
                self.parts[str(i)] = HingeConv(before.channels, layer.size, layer.width, level_pace)
            elif layer.op == "conv":
                self.parts[str(i)] = nn.Conv2d(before.channels, layer.size, (1, layer.width))
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
            elif layer.op == "hinge":
                steps = torch.arange(layer.size, dtype=x.dtype)[None, :, None, None]
                x = torch.clamp(x * layer.size - steps, 0, 1)
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

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Parameters by ``<layer index>.<name>``, float32, as a bundle stores them."""
        named = self.parts.state_dict()
        for index, part in self.parts.items():
            if isinstance(part, HingeConv):
                del named[f"{index}.levels"]
                named[f"{index}.weight"] = part.folded()
        return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in named.items()}

    def exact(self, scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logits in float64 of the weights that a bundle stores, dropout off: the measure of every export."""
        plain = TorchNetwork(self.layers, scaled.shape[1])
        plain.parts.load_state_dict({name: torch.from_numpy(array) for name, array in self.weights().items()})
        with torch.inference_mode():
            logits: npt.NDArray[np.float64] = plain.double().eval()(torch.from_numpy(scaled)).numpy()
        return logits
