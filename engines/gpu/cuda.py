"""Running a TensorRT engine, classic or RTX, through pycuda on this machine's first GPU.

Only names that TensorRT 8.5 to 11 and TensorRT-RTX 1.x share are used. It is written for GPUs that tests do not
have; they run it over a stand-in for the driver.
"""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.errors import BackendError

from ..engine import Engine

# A compiled engine may differ from its ONNX file in ONNX Runtime by this share of the logits' spread.
SELF_TEST_TOLERANCE = 0.05


def why_no_gpu() -> str:
    """Empty where pycuda sees a GPU."""
    if importlib.util.find_spec("pycuda") is None:
        return "the package pycuda is not installed (pip install 'etcc-edge[gpu]')"
    try:
        import pycuda.driver as cuda

        cuda.init()
        if cuda.Device.count() == 0:
            return "there is no NVIDIA GPU"
    except Exception as error:  # without a driver pycuda raises ImportError, with a broken one its own
        return f"there is no usable NVIDIA GPU ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return ""


@dataclass(frozen=True)
class Gpu:
    name: str
    capability: int  # 75 for sm_75
    driver: str


def first_gpu() -> Gpu:
    """Raises BackendError where there is none."""
    if reason := why_no_gpu():
        raise BackendError(reason)
    import pycuda.driver as cuda

    device = cuda.Device(0)
    major, minor = device.compute_capability()
    return Gpu(device.name(), 10 * major + minor, str(cuda.get_driver_version()))


class CudaEngine:
    """A deserialized engine between pinned buffers.

    Flows go in pieces of at most ``most``. Two sets of buffers take turns, so that one piece is copied while the
    other is computed. `run` may be called from several threads; they take turns. ``kept``: what must live as long.
    Raises BackendError where the GPU or TensorRT refuses, for lack of memory say.
    """

    def __init__(self, trt: Any, context: Any, engine: Any, most: int, kept: Sequence[Any] = ()) -> None:
        import pycuda.autoprimaryctx as primary
        import pycuda.driver as cuda

        if context is None:
            raise BackendError("TensorRT made no execution context; the GPU may lack memory")
        self._cuda, self._primary, self._context, self._most = cuda, primary.context, context, most
        self._kept = (engine, *kept)
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        (self._input,) = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        (self._output,) = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self._inputs = int(engine.get_tensor_shape(self._input)[1])
        self._classes = int(engine.get_tensor_shape(self._output)[1])
        self._lock = threading.Lock()
        with self._current():
            self._compute = cuda.Stream()
            self._slots = [_Slot(cuda, most, self._inputs, self._classes) for _ in range(2)]

    def run(self, scaled: F32) -> F32:
        logits = np.empty((len(scaled), self._classes), np.float32)
        pieces = [slice(at, min(at + self._most, len(scaled))) for at in range(0, len(scaled), self._most)]
        with self._lock, self._current():
            for i, piece in enumerate(pieces):
                if i >= 2:
                    self._collect(self._slots[i % 2], pieces[i - 2], logits)
                self._start(self._slots[i % 2], scaled[piece])
            for i in range(max(0, len(pieces) - 2), len(pieces)):
                self._collect(self._slots[i % 2], pieces[i], logits)
        return logits

    def milliseconds(self, scaled: F32, turns: int = 50) -> list[float]:
        """The GPU's time for a batch that it holds already, by CUDA events, turn by turn. Raises ValueError for
        more flows than fit one piece."""
        if len(scaled) > self._most:
            raise ValueError(f"{len(scaled)} flows; at most {self._most} flows are timed at once")
        self.run(scaled)  # leaves them in the first buffers, and warms up
        start, stop = self._cuda.Event(), self._cuda.Event()
        times = []
        with self._lock, self._current():
            for _ in range(turns):
                start.record(self._compute)
                self._context.execute_async_v3(self._compute.handle)
                stop.record(self._compute)
                stop.synchronize()
                times.append(float(stop.time_since(start)))
        return times

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """This GPU's context for this thread."""
        self._primary.push()
        try:
            yield
        except self._cuda.Error as error:
            raise BackendError(f"the GPU refused: {error}") from error
        finally:
            self._primary.pop()

    def _start(self, slot: _Slot, scaled: F32) -> None:
        flows = len(scaled)
        slot.host_in[:flows] = scaled
        self._cuda.memcpy_htod_async(slot.device_in, slot.host_in[:flows], slot.copies)
        slot.arrived.record(slot.copies)
        self._compute.wait_for_event(slot.arrived)
        context = self._context
        if not (
            context.set_input_shape(self._input, (flows, self._inputs))
            and context.set_tensor_address(self._input, int(slot.device_in))
            and context.set_tensor_address(self._output, int(slot.device_out))
            and context.execute_async_v3(self._compute.handle)
        ):
            raise BackendError(f"the GPU did not take a batch of {flows} flows; TensorRT gave no reason")
        slot.computed.record(self._compute)
        slot.copies.wait_for_event(slot.computed)
        self._cuda.memcpy_dtoh_async(slot.host_out[:flows], slot.device_out, slot.copies)

    def _collect(self, slot: _Slot, piece: slice, logits: F32) -> None:
        slot.copies.synchronize()
        logits[piece] = slot.host_out[: piece.stop - piece.start]


class _Slot:
    """One piece's buffers, and the stream that fills and empties them."""

    def __init__(self, cuda: Any, most: int, inputs: int, classes: int) -> None:
        self.host_in: F32 = cuda.pagelocked_empty((most, inputs), np.float32)
        self.host_out: F32 = cuda.pagelocked_empty((most, classes), np.float32)
        self.device_in = cuda.mem_alloc(self.host_in.nbytes)
        self.device_out = cuda.mem_alloc(self.host_out.nbytes)
        self.copies, self.arrived, self.computed = cuda.Stream(), cuda.Event(), cuda.Event()


def check_itself(name: str, engine: Engine, reference: Engine, inputs: int) -> None:
    """Raises BackendError where an engine is not the network that ONNX Runtime runs from the same file."""
    scaled = np.random.default_rng(0).random((64, inputs), np.float32)
    ours, theirs = engine.run(scaled).astype(np.float64), reference.run(scaled).astype(np.float64)
    difference = np.sqrt(np.mean((ours - theirs) ** 2)) / max(float(theirs.std()), 1e-9)
    if not difference <= SELF_TEST_TOLERANCE:
        raise BackendError(
            f"{name}: the compiled engine differs from its ONNX file by {difference:.2g} of the logits' spread, more "
            f"than {SELF_TEST_TOLERANCE:g}; it is not used"
        )
