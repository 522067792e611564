"""A bundle's networks in PyTorch, eager and compiled. PyTorch's settings are as before after every call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
import torch._inductor.config as inductor

from etcc_edge.arrays import F32
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.engines.cascade import RoutedCascade
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.result import Cascade
from etcc_edge.training.networks import TorchNetwork

from ..figures import Setting

_RECOMPILE_LIMIT = 64  # all networks share one function, which is compiled for every network and size of blocks

Answer = TypeVar("Answer", covariant=True)


class Networks:
    """The networks of a bundle, each made (and compiled) once, however many cascades are opened."""

    def __init__(self, bundle: Bundle, compiled: bool = False) -> None:
        self._bundle, self._compiled = bundle, compiled
        self._engines: dict[str, Engine] = {}

    def cascade(self, threads: int, setting: Setting) -> Cascade:
        """Over blocks of ``setting["block"]`` flows in so many threads."""
        cascade = _OneThread(RoutedCascade(self._bundle, self._engine, block=setting["block"], threads=threads))
        return _Frozen(cascade) if self._compiled else cascade

    def engine(self, node: Node) -> Engine:
        """One network, for calls from one thread at a time."""
        return _OneThread(self._engine(node))

    def _engine(self, node: Node) -> Engine:
        if node.id not in self._engines:
            network = TorchNetwork(node.network, node.scaler.inputs)
            weights = self._bundle.weights_of(node)
            network.parts.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
            network.eval()
            self._engines[node.id] = _CompiledEngine(network) if self._compiled else _TorchEngine(network)
        return self._engines[node.id]


class _Runs(Protocol[Answer]):
    def run(self, rows: F32, /) -> Answer: ...


class _OneThread(Generic[Answer]):
    """An engine or a cascade that is run with one thread a network call, which PyTorch keeps for the whole process."""

    def __init__(self, inner: _Runs[Answer]) -> None:
        self._inner = inner

    def run(self, rows: F32, /) -> Answer:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._inner.run(rows)
        finally:
            torch.set_num_threads(threads)


class _Frozen(Generic[Answer]):
    """A cascade that is run with weights frozen in what is compiled meanwhile, which PyTorch keeps for each thread."""

    def __init__(self, inner: _Runs[Answer]) -> None:
        self._inner = inner

    def run(self, rows: F32, /) -> Answer:
        freezing = inductor.freezing
        inductor.freezing = True
        try:
            return self._inner.run(rows)
        finally:
            inductor.freezing = freezing


class _TorchEngine:
    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._network = network

    def run(self, scaled: F32) -> F32:
        with torch.inference_mode():
            logits: F32 = self._network(torch.from_numpy(scaled)).numpy()
        return logits


class _CompiledEngine(_TorchEngine):
    """Compiled at the first call of each size of blocks, in whichever of a cascade's threads that is."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__(torch.compile(network, recompile_limit=_RECOMPILE_LIMIT))  # type: ignore[call-overload]
        self._thread = threading.local()

    def run(self, scaled: F32) -> F32:
        if not hasattr(self._thread, "frozen"):
            inductor.freezing = self._thread.frozen = True
        return super().run(scaled)
