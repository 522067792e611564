"""What is measured: this package's backends at each precision, and the libraries that one might use instead."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from etcc_edge.arrays import F32
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.precision import Precision
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.engine import OpenEngine
from etcc_edge.engines.result import Cascade

from ..figures import Setting
from ..timing.turns import Clock
from .trees import TREES, Models, TreesCascade

BACKEND, BASELINE = "backend", "baseline"
REFERENCE = ("onnxruntime", "fp32")  # what speeds are ratios of
REFERENCE_KEY = " ".join(REFERENCE)
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
    return [_backend(bundle, name, precision) for name, backend in BACKENDS.items() for precision in backend.precisions]


def _backend(bundle: Bundle, name: str, precision: Precision) -> Contender:
    backend = BACKENDS[name]
    absent = [node.id for node in bundle.nodes() if name != "native" and (node.id, precision) not in bundle.onnx]
    lack = f"the bundle holds no {precision} network for {absent[0]}" if absent else ""
    why_not = backend.why_not(bundle, precision)

    def open_it(threads: int, setting: Setting) -> Cascade:
        return open_cascade(bundle, Choice(name, precision, ""), block=setting["block"], threads=threads)

    return Contender(
        name,
        precision,
        BACKEND,
        open_it,
        "blocks of flows in several threads, one thread a network call",
        why_not or ("" if on_gpu(name) else lack),
        size=None if on_gpu(name) else _size(bundle, name, precision),
        opener=None if why_not or lack else backend.opener(bundle, precision),
    )


def on_gpu(backend: str) -> bool:
    """Whether a backend runs on a GPU."""
    return BACKENDS[backend].device == "gpu"


def _size(bundle: Bundle, backend: str, precision: str) -> int | None:
    """Bytes of what the backend reads: the weights for native, else the ONNX files of the precision."""
    if backend == "native":
        return sum(array.nbytes for array in bundle.weights.values())
    sizes = [len(model) for (_, form), model in bundle.onnx.items() if form == precision]
    return sum(sizes) or None


def baselines(bundle: Bundle, trees: Mapping[str, Models | str], *, compiled: bool) -> list[Contender]:
    """PyTorch eager and, if wanted, compiled; and by name the fitted models of `TREES`, or why there are none."""
    contenders = [_pytorch(bundle, compiled=False)]
    if compiled:
        contenders.append(_pytorch(bundle, compiled=True))
    return contenders + [_trees(bundle, name, models) for name, models in trees.items()]


def _pytorch(bundle: Bundle, compiled: bool) -> Contender:
    settings = "inference_mode, eval, blocks of flows in several threads, one thread a network call"
    why_not = "" if importlib.util.find_spec("torch") else f"not measured: {EXTRA}"
    if compiled:
        settings = f"torch.compile by inductor with frozen weights, {settings}"
        if not (shutil.which("c++") or shutil.which("g++")):
            why_not = why_not or "torch.compile needs a C++ compiler"
    name, size = "pytorch compiled" if compiled else "pytorch eager", _size(bundle, "native", "fp32")
    if why_not:
        return Contender(name, "fp32", BASELINE, _not_there, settings, why_not, size=size)
    from .torch import Networks

    networks = Networks(bundle, compiled)
    return Contender(name, "fp32", BASELINE, networks.cascade, settings, size=size, opener=Networks(bundle).engine)


def _trees(bundle: Bundle, name: str, models: Models | str) -> Contender:
    settings = ", ".join(f"{key}={value}" for key, value in TREES[name][1].items())
    if isinstance(models, str):
        return Contender(name, "fp32", BASELINE, _not_there, settings, models, choices=({},))
    return Contender(
        name,
        "fp32",
        BASELINE,
        lambda threads, setting: TreesCascade(bundle, models, threads),
        settings,
        choices=({},),
    )


def _not_there(threads: int, setting: Setting) -> Cascade:
    raise AssertionError("a contender that cannot run here was opened")


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
