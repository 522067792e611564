"""What is measured: this package's backends at each precision, and the libraries that one might use instead."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.precision import Precision
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import RoutedCascade, open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.engine import Engine, OpenEngine
from etcc_edge.engines.result import Cascade

from ..timing.turns import Clock
from .trees import TREES, Models, TreesCascade

Setting = Mapping[str, Any]

BACKEND, BASELINE = "backend", "baseline"
REFERENCE = ("onnxruntime", "fp32")  # what speeds are ratios of
BLOCKS: Sequence[Setting] = tuple({"block": block} for block in (32, 128, 512, 2048))
EXTRA = "pip install 'etcc-edge[bench]'"


@dataclass(frozen=True)
class Contender:
    """``open`` gives the cascade on so many threads with one of ``choices``, of which the fastest is taken;
    ``settings`` says in words what else was set. With ``why_not`` it cannot run here. ``opener`` opens one network,
    where stages can be told apart."""

    name: str
    precision: Precision
    kind: str
    open: Callable[[int, Setting], Cascade]
    settings: str
    why_not: str = ""
    choices: Sequence[Setting] = field(default=BLOCKS)
    size: int | None = None  # bytes of the model
    opener: OpenEngine | None = None

    @property
    def key(self) -> str:
        return f"{self.name} {self.precision}"


def backends(bundle: Bundle) -> list[Contender]:
    """Every backend at every precision, those that this machine lacks with the reason."""
    made = []
    for name, backend in BACKENDS.items():
        for precision in backend.precisions:
            why_not = backend.why_not(bundle, precision)
            on_gpu = backend.device == "gpu"
            missing = [n.id for n in bundle.nodes() if name != "native" and (n.id, precision) not in bundle.onnx]
            lacks = f"the bundle holds no {precision} network for {missing[0]}" if missing else ""

            def open_it(threads: int, setting: Setting, name: str = name, precision: Precision = precision) -> Cascade:
                return open_cascade(bundle, Choice(name, precision, ""), block=setting["block"], threads=threads)

            made.append(
                Contender(
                    name,
                    precision,
                    BACKEND,
                    open_it,
                    "blocks of flows in several threads, one thread a network call",
                    why_not or ("" if on_gpu else lacks),
                    size=None if on_gpu else _size(bundle, name, precision),
                    opener=None if why_not or lacks else backend.opener(bundle, precision),
                )
            )
    return made


def _size(bundle: Bundle, backend: str, precision: str) -> int | None:
    """Bytes of what the backend reads: the weights for native, else the ONNX files of the precision."""
    if backend == "native":
        return sum(array.nbytes for array in bundle.weights.values())
    sizes = [len(model) for (_, own), model in bundle.onnx.items() if own == precision]
    return sum(sizes) or None


def baselines(bundle: Bundle, trees: Mapping[str, Models | str], *, compiled: bool) -> list[Contender]:
    """PyTorch eager and, if wanted, compiled; and by name the fitted models of `TREES`, or why there are
    none."""
    torch_missing = "" if importlib.util.find_spec("torch") else f"not measured: {EXTRA}"
    opener = None if torch_missing else _torch_opener(bundle, compiled=False)
    weights = sum(array.nbytes for array in bundle.weights.values())

    def torch(name: str, why_not: str, settings: str, *, compile: bool) -> Contender:
        open_engine = functools.cache(lambda: _torch_opener(bundle, compile))  # compiles each network once

        def open_it(threads: int, setting: Setting) -> Cascade:
            made: Cascade = RoutedCascade(bundle, open_engine(), block=setting["block"], threads=threads)
            return made

        return Contender(name, "fp32", BASELINE, open_it, settings, why_not, size=weights, opener=opener)

    said = "inference_mode, eval, blocks of flows in several threads, one thread a network call"
    made = [torch("pytorch eager", torch_missing, said, compile=False)]
    if compiled:
        no_compiler = "" if shutil.which("c++") or shutil.which("g++") else "torch.compile needs a C++ compiler"
        said = f"torch.compile by inductor with frozen weights, {said}"
        made.append(torch("pytorch compiled", torch_missing or no_compiler, said, compile=True))
    for name, models in trees.items():

        def open_trees(threads: int, setting: Setting, models: Models | str = models) -> Cascade:
            assert not isinstance(models, str)
            return TreesCascade(bundle, models, threads)

        settings = ", ".join(f"{key}={value}" for key, value in TREES[name][1].items())
        why_not = models if isinstance(models, str) else ""
        made.append(Contender(name, "fp32", BASELINE, open_trees, settings, why_not, choices=({},)))
    return made


def _torch_opener(bundle: Bundle, compiled: bool) -> OpenEngine:
    import torch

    from etcc_edge.training.networks import TorchNetwork

    torch.set_num_threads(1)
    made: dict[str, Engine] = {}

    def open_engine(node: Node) -> Engine:
        if node.id in made:
            return made[node.id]
        network = TorchNetwork(node.network, node.scaler.inputs)
        own = bundle.weights_of(node)
        network.parts.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in own.items()})
        network.eval()
        made[node.id] = _CompiledEngine(torch.compile(network)) if compiled else _TorchEngine(network)
        return made[node.id]

    return open_engine


class _TorchEngine:
    def __init__(self, network: Callable[[Any], Any]) -> None:
        import torch

        self._torch, self._network = torch, network

    def run(self, scaled: F32) -> F32:
        with self._torch.inference_mode():
            logits: F32 = self._network(self._torch.from_numpy(scaled)).numpy()
        return logits


class _CompiledEngine(_TorchEngine):
    """torch.compile's, set to freeze weights and to compile anew for every network; PyTorch keeps such settings by
    thread."""

    def __init__(self, network: Callable[[Any], Any]) -> None:
        super().__init__(network)
        self._set = threading.local()

    def run(self, scaled: F32) -> F32:
        if not hasattr(self._set, "done"):
            self._torch._dynamo.config.recompile_limit = 64
            self._torch._inductor.config.freezing = True
            self._set.done = True
        return super().run(scaled)


def tuned(contender: Contender, threads: int, raw: F32, clock: Clock) -> tuple[Cascade, Setting]:
    """The contender's cascade with the choice that labels the flows fastest, the better of two calls after a first."""
    best: tuple[float, Cascade, Setting] | None = None
    for setting in contender.choices:
        if setting.get("block", 0) > len(raw) and best:
            continue
        cascade = contender.open(threads, setting)
        seconds = []
        for _ in range(3 if len(contender.choices) > 1 else 0):
            start = clock()
            cascade.run(raw)
            seconds.append(clock() - start)
        if best is None or min(seconds[1:]) < best[0]:
            best = (min(seconds[1:], default=0.0), cascade, setting)
    assert best is not None
    return best[1:]
