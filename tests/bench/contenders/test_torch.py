"""PyTorch gives the bundle's labels, and gets its settings back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from making import raw_flows

torch = pytest.importorskip("torch", reason="needs the extra train")
contender = pytest.importorskip("etcc_edge.bench.contenders.torch")


RAW = raw_flows(200)


@pytest.fixture
def three_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_pytorch_gives_the_bundles_labels(tiny_bundle: Bundle, threads: int) -> None:
    cascade = contender.Networks(tiny_bundle).cascade(threads, {"block": 64})
    native = open_cascade(tiny_bundle, Choice("native", "fp32", ""))
    assert np.array_equal(cascade.run(RAW).codes, native.run(RAW).codes)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_call_has_one_thread_and_pytorch_its_own_number_again_after_it(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    used = []
    forward = contender.TorchNetwork.forward

    def watched(network: object, scaled: object) -> object:
        used.append(torch.get_num_threads())
        return forward(network, scaled)

    monkeypatch.setattr(contender.TorchNetwork, "forward", watched)
    networks = contender.Networks(tiny_bundle)
    networks.cascade(threads, {"block": 64}).run(RAW)
    networks.engine(tiny_bundle.root).run(RAW)
    assert used
    assert set(used) == {1}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_settings_come_back_after_an_error_too(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    inductor = contender.inductor
    frozen = []

    class Breaks:
        """Stands in for a compiled network."""

        def __init__(self, network: object) -> None:
            pass

        def run(self, scaled: np.ndarray) -> np.ndarray:
            frozen.append(inductor.freezing)
            raise RuntimeError("no compiler")

    monkeypatch.setattr(contender, "_CompiledEngine", Breaks)
    before = inductor.freezing
    with pytest.raises(RuntimeError, match="no compiler"):
        contender.Networks(tiny_bundle, compiled=True).cascade(1, {"block": 64}).run(RAW)
    assert frozen == [True]
    assert (torch.get_num_threads(), inductor.freezing) == (3, before)
