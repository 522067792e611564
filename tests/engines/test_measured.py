"""A saved recommendation changes the backend of ``auto`` and nothing else, on the machine and bundle it is for."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.precision import Precision
from etcc_edge.engines import choice, measured
from etcc_edge.engines.backends import Backend
from etcc_edge.engines.build import Outcome, keep_verdicts
from etcc_edge.engines.choice import Choice, choose
from etcc_edge.engines.measured import Recommendation, folder, read, save
from etcc_edge.errors import BackendError

MADE = Recommendation("2026-11-23", {"fp32": "slow", "int8": "slow"})


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """fast: fp32 only; slow: fp32 and int8; absent: never here."""

    def backend(name: str, why_not: str, *precisions: Precision) -> Backend:
        module = ModuleType(f"fake_{name}")
        module.why_not = lambda bundle, precision: why_not  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return Backend(name, module.__name__, "cpu", precisions, "fp32", f"a fake {name}")

    backends = {
        "fast": backend("fast", "", "fp32"),
        "slow": backend("slow", "", "fp32", "int8"),
        "absent": backend("absent", "it has no driver", "fp32"),
    }
    monkeypatch.setattr(choice, "BACKENDS", backends)


def test_auto_takes_what_the_bench_found_and_says_so(tiny_bundle: Bundle) -> None:
    assert choose(bundle=tiny_bundle).backend == "fast"
    save(tiny_bundle, MADE)
    assert choose(bundle=tiny_bundle) == Choice("slow", "fp32", "by the bench of 2026-11-23")


def test_what_is_asked_for_is_taken_whatever_was_saved(tiny_bundle: Bundle) -> None:
    save(tiny_bundle, MADE)
    assert choose("fast", bundle=tiny_bundle) == Choice("fast", "fp32", "as asked for")
    assert choose("auto", "int8", tiny_bundle).backend == "slow"


def test_the_precision_is_never_changed(tiny_bundle: Bundle) -> None:
    save(tiny_bundle, Recommendation("2026-11-23", {"int8": "slow"}))
    assert choose(bundle=tiny_bundle).backend == "fast"
    assert choose(bundle=tiny_bundle).precision == "fp32"


def test_it_is_for_its_bundle_alone(tiny_bundle: Bundle) -> None:
    save(tiny_bundle, MADE)
    name, array = next(iter(tiny_bundle.weights.items()))
    other = replace(tiny_bundle, weights={**tiny_bundle.weights, name: array + 1})
    assert other.digest() != tiny_bundle.digest()
    assert choose(bundle=other).reason == "the fastest that this machine has"
    assert choose(bundle=replace(tiny_bundle, name="renamed")).backend == "slow"


def test_it_is_for_its_machine_alone(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tiny_bundle, MADE)
    monkeypatch.setattr(measured, "cpu_name", lambda: "another")
    assert read(tiny_bundle) == (None, "")


def foreign(path: Path) -> None:
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"for": {**table["for"], "cpu": "another"}}))


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda path: path.write_text("{"), "is damaged"),
        (lambda path: path.write_text("[]"), "is damaged"),
        (lambda path: path.write_text("[" * 60_000), "is damaged"),
        (lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"backends": 3})), "is damaged"),
        (lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"made": 3})), "is damaged"),
        (lambda path: path.write_bytes(b"\xff" * 100), "is damaged"),
        (lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2})), "of another version"),
        (foreign, "is another machine's or bundle's"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ],
)
def test_a_damaged_or_foreign_file_is_ignored_with_one_note(tiny_bundle: Bundle, spoil, note: str) -> None:
    spoil(save(tiny_bundle, MADE))
    choice = choose(bundle=tiny_bundle)
    assert choice.backend == "fast"
    assert note in choice.reason
    assert choice.reason.endswith("so it is ignored")
    assert "\n" not in choice.reason


@pytest.mark.parametrize(
    ("backend", "note"),
    [("tpu", "names 'tpu', which is none"), ("absent", "says absent, but it has no driver")],
)
def test_a_backend_that_cannot_run_is_not_taken(tiny_bundle: Bundle, backend: str, note: str) -> None:
    save(tiny_bundle, Recommendation("2026-11-23", {"fp32": backend}))
    choice = choose(bundle=tiny_bundle)
    assert choice.backend == "fast"
    assert note in choice.reason


def test_on_a_gpu_auto_is_the_precision_that_passed(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = replace(choice.BACKENDS["slow"], device="gpu", preference=("fp16", "int8", "fp32"))
    monkeypatch.setattr(choice, "BACKENDS", {**choice.BACKENDS, "gpu": gpu})
    keep_verdicts(tiny_bundle, Outcome(taken={"gpu gpu": "int8", "slow cpu": "int8", "gpu sm86": "fp16"}))
    assert choose("gpu", bundle=tiny_bundle) == Choice("gpu", "int8", "as asked for; int8 passed build-engines")
    assert choose("gpu", "fp16", tiny_bundle).precision == "fp16"
    assert choose("slow", bundle=tiny_bundle).precision == "fp32"
    assert choose("gpu", bundle=replace(tiny_bundle, levels=("another", "application"))).precision == "fp32"


def test_where_nothing_passed_on_a_gpu_auto_takes_nothing_there(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "BACKENDS", {"gpu": choice.BACKENDS["slow"], "fast": choice.BACKENDS["fast"]})
    save(tiny_bundle, Recommendation("2026-11-23", {"fp32": "fast"}))
    keep_verdicts(tiny_bundle, Outcome(taken={"gpu gpu": None}))
    assert choose(bundle=tiny_bundle) == Choice("fast", "fp32", "by the bench of 2026-11-23")
    with pytest.raises(BackendError, match="gpu: build-engines let none of its precisions through"):
        choose("gpu", bundle=tiny_bundle)
    assert choose("gpu", "int8", tiny_bundle).precision == "int8"


def test_a_later_bench_replaces_the_earlier_and_leaves_nothing_else(tiny_bundle: Bundle) -> None:
    save(tiny_bundle, MADE)
    path = save(tiny_bundle, Recommendation("2027-01-01", {"fp32": "fast"}))
    assert list(folder().iterdir()) == [path]
    assert choose(bundle=tiny_bundle) == Choice("fast", "fp32", "by the bench of 2027-01-01")
