"""Running an engine on a GPU, over a stand-in for the driver: pieces, buffers, order. No GPU is needed."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.engines.choice import choose
from etcc_edge.engines.gpu import cuda as cuda_room
from etcc_edge.engines.gpu import tensorrt, tensorrt_rtx
from etcc_edge.errors import BackendError

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


class Driver(types.ModuleType):
    """pycuda.driver: work is queued on streams in call order, and done when a stream is waited for."""

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, np.ndarray] = {}
        self.queue: list = []
        self.depth = 0
        driver = self

        class Stream:
            handle = 1

            def wait_for_event(self, event: object) -> None:
                assert event.recorded, "waits for what was never recorded"  # type: ignore[attr-defined]

            def synchronize(self) -> None:
                for work in driver.queue:
                    work()
                driver.queue.clear()

        class Event:
            recorded = False

            def record(self, stream: Stream) -> None:
                self.recorded = True

            def synchronize(self) -> None:
                Stream().synchronize()

            def time_since(self, start: Event) -> float:
                assert start.recorded
                assert self.recorded
                return 0.25

        self.Stream, self.Event = Stream, Event
        self.Error = type("Error", (Exception,), {})  # the base of pycuda's own

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.full(shape, np.nan, dtype)

    def mem_alloc(self, size: int) -> int:
        address = 1000 + len(self.memory)
        self.memory[address] = np.full(size // 4, np.nan, np.float32)
        return address

    def memcpy_htod_async(self, target: int, source: np.ndarray, stream: object) -> None:
        assert self.depth == 1, "no context is current"
        self.queue.append(lambda: self.memory[target].__setitem__(slice(source.size), source.ravel()))

    def memcpy_dtoh_async(self, target: np.ndarray, source: int, stream: object) -> None:
        self.queue.append(lambda: target.__setitem__(..., self.memory[source][: target.size].reshape(target.shape)))


class Primary:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def push(self) -> None:
        self._driver.depth += 1

    def pop(self) -> None:
        self._driver.depth -= 1


class Engine:
    """A deserialized engine: names and shapes of its tensors."""

    num_io_tensors = 2
    shapes: ClassVar = {"scaled": (-1, 4), "logits": (-1, 3)}

    def get_tensor_name(self, i: int) -> str:
        return list(self.shapes)[i]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "scaled" else "out"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]


class Context:
    def __init__(self, driver: Driver) -> None:
        self._driver, self._address, self.shapes, self.accepts = driver, {}, [], True

    def set_input_shape(self, name: str, shape: tuple[int, int]) -> bool:
        self.shapes.append(shape)
        return shape[0] <= 8

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._address[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        (flows, inputs), source, target = self.shapes[-1], self._address["scaled"], self._address["logits"]
        memory = self._driver.memory

        def compute() -> None:
            logits = memory[source][: flows * inputs].reshape(flows, inputs) @ MATRIX
            memory[target][: logits.size] = logits.ravel()

        self._driver.queue.append(compute)
        return self.accepts


TRT = types.SimpleNamespace(TensorIOMode=types.SimpleNamespace(INPUT="in", OUTPUT="out"))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver = Driver()
    package, primary = types.ModuleType("pycuda"), types.ModuleType("pycuda.autoprimaryctx")
    primary.context = Primary(driver)  # type: ignore[attr-defined]
    package.driver, package.autoprimaryctx = driver, primary  # type: ignore[attr-defined]
    for name, module in {"": package, ".driver": driver, ".autoprimaryctx": primary}.items():
        monkeypatch.setitem(sys.modules, f"pycuda{name}", module)
    yield driver
    assert driver.depth == 0, "a context was left current"


@pytest.mark.parametrize("flows", [1, 3, 8, 9, 16, 17, 40, 41])
def test_every_flow_gets_its_own_logits_whatever_the_pieces(driver: Driver, flows: int) -> None:
    context = Context(driver)
    engine = cuda_room.CudaEngine(TRT, context, Engine(), most=8)
    scaled = np.random.default_rng(0).random((flows, 4), np.float32)
    logits = engine.run(scaled)
    np.testing.assert_allclose(logits, scaled @ MATRIX, rtol=1e-6)
    assert logits.dtype == np.float32
    assert [shape[0] for shape in context.shapes] == [8] * (flows // 8) + [flows % 8] * (flows % 8 > 0)
    np.testing.assert_allclose(engine.run(scaled[:1]), scaled[:1] @ MATRIX, rtol=1e-6)


def test_threads_take_turns(driver: Driver) -> None:
    engine = cuda_room.CudaEngine(TRT, Context(driver), Engine(), most=8)
    batches = [np.random.default_rng(i).random((20, 4), np.float32) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for batch, logits in zip(batches, pool.map(engine.run, batches), strict=True):
            np.testing.assert_allclose(logits, batch @ MATRIX, rtol=1e-6)


def test_a_batch_that_is_not_taken_is_an_error(driver: Driver) -> None:
    context = Context(driver)
    context.accepts = False
    with pytest.raises(BackendError, match="did not take a batch of 2 flows"):
        cuda_room.CudaEngine(TRT, context, Engine(), most=8).run(np.zeros((2, 4), np.float32))


def test_a_shape_that_is_not_taken_is_an_error(driver: Driver) -> None:
    engine = cuda_room.CudaEngine(TRT, Context(driver), Engine(), most=16)
    with pytest.raises(BackendError, match="did not take a batch of 9 flows"):
        engine.run(np.zeros((9, 4), np.float32))


@pytest.mark.usefixtures("driver")
def test_without_an_execution_context_there_is_no_engine() -> None:
    with pytest.raises(BackendError, match="no execution context; the GPU may lack memory"):
        cuda_room.CudaEngine(TRT, None, Engine(), most=8)


def test_what_the_driver_refuses_is_an_error_of_one_line(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise driver.Error("cuMemAlloc failed: out of memory")

    engine = cuda_room.CudaEngine(TRT, Context(driver), Engine(), most=8)
    monkeypatch.setattr(driver, "memcpy_htod_async", refuse)
    with pytest.raises(BackendError, match="the GPU refused: cuMemAlloc failed: out of memory"):
        engine.run(np.zeros((2, 4), np.float32))
    monkeypatch.setattr(driver, "mem_alloc", refuse)
    with pytest.raises(BackendError, match="the GPU refused"):
        cuda_room.CudaEngine(TRT, Context(driver), Engine(), most=8)


def test_the_gpus_own_time_is_between_two_events(driver: Driver) -> None:
    engine = cuda_room.CudaEngine(TRT, Context(driver), Engine(), most=8)
    assert engine.milliseconds(np.zeros((8, 4), np.float32), turns=3) == [0.25] * 3
    with pytest.raises(ValueError, match="at most 8 flows"):
        engine.milliseconds(np.zeros((9, 4), np.float32))


class Fixed:
    def __init__(self, factor: float) -> None:
        self._factor = factor

    def run(self, scaled: np.ndarray) -> np.ndarray:
        return scaled @ MATRIX * np.float32(self._factor)


def test_an_engine_that_is_another_network_is_refused() -> None:
    cuda_room.check_itself("stage1", Fixed(1.001), Fixed(1), 4)
    for factor in (1.2, float("nan")):
        with pytest.raises(BackendError, match=r"stage1: the compiled engine differs .* not used"):
            cuda_room.check_itself("stage1", Fixed(factor), Fixed(1), 4)


def test_without_pycuda_or_gpu_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setattr(cuda_room.importlib.util, "find_spec", lambda _: object())
    assert cuda_room.why_no_gpu().startswith("there is no usable NVIDIA GPU")
    monkeypatch.setattr(cuda_room.importlib.util, "find_spec", lambda _: None)
    assert cuda_room.why_no_gpu() == "the package pycuda is not installed (pip install 'etcc-edge[gpu]')"


@pytest.mark.parametrize("backend", [tensorrt, tensorrt_rtx])
def test_a_backend_without_its_library_says_so(backend, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_room.importlib.util, "find_spec", lambda _: None)
    name = backend.__name__.rpartition(".")[2].replace("_", "-")
    with pytest.raises(BackendError, match=f"the package {name} is not installed"):
        backend.open_engine(tiny_bundle, tiny_bundle.root, "fp16")
    with pytest.raises(BackendError, match=f"{name}: the package {name} is not installed"):
        choose(name)
