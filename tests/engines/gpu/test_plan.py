"""The whole table of library version × compute capability × precision."""

from __future__ import annotations

import itertools

import pytest

from etcc_edge.bundle.precision import PRECISIONS, Precision
from etcc_edge.engines.gpu.plan import RTX_TARGETS, TENSORRT, TENSORRT_RTX, EnginePlan, engine_plan

CAPABILITIES = (61, 70, 75, 80, 86, 89, 90, 100, 120)

# Which precisions each version builds for the capabilities above: f fp32, h fp16, i int8, - none.
TABLE = {
    (TENSORRT, (8, 4)): "-    -    -    -    -    -    -    -    -",
    (TENSORRT, (8, 5)): "fi   fhi  fhi  fhi  fhi  fhi  fhi  -    -",
    (TENSORRT, (8, 6)): "fi   fhi  fhi  fhi  fhi  fhi  fhi  -    -",
    (TENSORRT, (9, 2)): "-    -    -    -    -    -    -    -    -",
    (TENSORRT, (10, 0)): "-   fhi  fhi  fhi  fhi  fhi  fhi  -    -",
    (TENSORRT, (10, 4)): "-   fhi  fhi  fhi  fhi  fhi  fhi  -    -",
    (TENSORRT, (10, 5)): "-   -    fhi  fhi  fhi  fhi  fhi  -    -",
    (TENSORRT, (10, 8)): "-   -    fhi  fhi  fhi  fhi  fhi  fhi  fhi",
    (TENSORRT, (11, 0)): "-   -    fhi  fhi  fhi  fhi  fhi  fhi  fhi",
    (TENSORRT, (11, 3)): "-   -    fhi  fhi  fhi  fhi  fhi  fhi  fhi",
    (TENSORRT_RTX, (0, 9)): "-  -  -    -    -    -    -    -    -",
    (TENSORRT_RTX, (1, 0)): "-  -  hi   fhi  fhi  fhi  -    -    fhi",
    (TENSORRT_RTX, (1, 7)): "-  -  hi   fhi  fhi  fhi  -    -    fhi",
}
CELLS = [
    (library, version, capability, cell)
    for (library, version), row in TABLE.items()
    for capability, cell in zip(CAPABILITIES, row.split(), strict=True)
]
LETTERS = dict(zip("fhi", PRECISIONS, strict=True))


@pytest.mark.parametrize(("library", "version", "capability", "cell"), CELLS)
def test_what_is_built_for_which_gpu(library: str, version: tuple[int, int], capability: int, cell: str) -> None:
    built = {
        letter
        for letter, precision in LETTERS.items()
        if engine_plan(library, version, capability, precision).supported
    }
    assert built == set(cell.replace("-", ""))


def every_plan() -> list[tuple[str, tuple[int, int], int, Precision, EnginePlan]]:
    return [
        (library, version, capability, precision, engine_plan(library, version, capability, precision))
        for (library, version), capability, precision in itertools.product(TABLE, CAPABILITIES, PRECISIONS)
    ]


def test_a_refusal_is_one_line_and_says_nothing_else() -> None:
    for *_, plan in every_plan():
        if not plan.supported:
            assert plan == EnginePlan(refusal=plan.refusal)
            assert "\n" not in plan.refusal


def test_types_come_from_flags_before_10_and_from_the_file_after() -> None:
    for library, version, _, precision, plan in every_plan():
        if not plan.supported:
            continue
        if library == TENSORRT and version < (10, 0):
            assert plan.network_flags == ("EXPLICIT_BATCH",)
            assert plan.builder_flags == {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}[precision]
            assert plan.form == {"fp32": "fp32", "fp16": "fp16", "int8": "int8-trt"}[precision]
        else:
            assert plan.builder_flags == ()
            assert plan.form == {"fp32": "fp32", "fp16": "fp16", "int8": "int8-trt-fp16"}[precision]
            strongly = library == TENSORRT and version < (11, 0)
            assert plan.network_flags == (("STRONGLY_TYPED",) if strongly else ())


def test_fp32_is_never_tf32() -> None:
    for _, _, capability, precision, plan in every_plan():
        if plan.supported:
            assert plan.cleared_flags == (("TF32",) if precision == "fp32" and capability >= 80 else ())


def test_tesla_p100_has_fp16_and_no_int8() -> None:
    assert [engine_plan(TENSORRT, (8, 6), 60, precision).supported for precision in PRECISIONS] == [True, True, False]


def test_rtx_names_its_targets() -> None:
    refusal = engine_plan(TENSORRT_RTX, (1, 7), 90, "fp16").refusal
    assert all(f"sm_{target}" in refusal for target in RTX_TARGETS)


@pytest.mark.parametrize(("library", "precision"), [("tensorflow", "fp32"), (TENSORRT, "bf16")])
def test_what_is_unknown_is_a_mistake_of_the_caller(library: str, precision: str) -> None:
    with pytest.raises(ValueError, match="no plan for"):
        engine_plan(library, (8, 6), 75, precision)
