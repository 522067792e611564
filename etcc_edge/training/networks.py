"""Networks by name, and their PyTorch form."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from etcc_edge.bundle.network import Network, parse_network, shapes
from etcc_edge.errors import EtccError
from etcc_edge.labels import label_key

# The paper's networks as its Figures 4 and 5 can be read: stage 1, then one for each protocol. "classes"
# stands for the number of labels; a better reading of a figure is an edit of one line.
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


def network(table: Mapping[str, str], protocol: str, classes: int) -> Network:
    """The network for a protocol's applications, or for the protocols themselves where it is empty.

    A protocol that the table does not name gets the network of Non-VPN, the largest.
    """
    key = label_key(protocol)
    text = table.get(key, table["nonvpn"])
    return parse_network(text.replace("classes", str(classes)).split(", "))


class TorchNetwork(nn.Module):
    """A `Network` in PyTorch: scaled inputs float32 [n, inputs] to logits float32 [n, classes].

    A convolution along the inputs is a Conv2d of kernel (1, k), the form in which it is exported. Parameters
    are named by layer index, as in a bundle.
    """

    def __init__(self, layers: Network, inputs: int) -> None:
        super().__init__()
        self.layers = layers
        self.parts = nn.ModuleDict()
        for i, (layer, before, _) in enumerate(shapes(layers, inputs)):
            if layer.op == "conv":
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
        """Parameters by ``<layer index>.<name>``, float32."""
        named = self.parts.state_dict()
        return {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in named.items()}

    def exact(self, scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logits in float64, dropout off: what every export is measured against."""
        with torch.inference_mode():
            logits: npt.NDArray[np.float64] = copy.deepcopy(self).double().eval()(torch.from_numpy(scaled)).numpy()
        return logits
