from collections.abc import Sequence
from typing import TypedDict, overload

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

MAX_ROW_BYTES: int
MAX_ROWS: int

class UnreadableRow(ValueError): ...

class RowsDict(TypedDict):
    features: F32
    spans: I64
    texts: I64
    status: npt.NDArray[np.uint8]
    cells: I32
    bad_feature: I32
    line: I64
    missing: int
    blank_lines: int
    repeated_headers: int
    lines: int
    consumed: int

class RowParser:
    def __init__(
        self,
        width: int,
        numbers: Sequence[tuple[int, float]],
        texts: Sequence[int],
        header: bytes,
        comment: str = "",
        instruction_set: str = "",
    ) -> None: ...
    def parse(self, bytes: bytes, last: bool, first_line: int = 1) -> RowsDict: ...

def find_lines(bytes: bytes) -> tuple[int, int, bool]: ...

class Scaler:
    def __init__(self, sources: I64, starts: I64, x: F32, y: F32, missing: F32) -> None: ...
    def transform(self, raw: F32, rows: I64 | None = None) -> F32: ...
    def outside(self, raw: F32) -> npt.NDArray[np.bool_]: ...

# Operation, size, width, and the weight and bias flattened, empty where there are none.
Layer = tuple[str, int, int, F32, F32]
# Scaler, layers, temperature; by label its code and its child's place in the list, or -1.
CascadeNode = tuple[Scaler, Sequence[Layer], float, Sequence[int], Sequence[int]]

class Network:
    int8_layers: int
    def __init__(self, inputs: int, layers: Sequence[Layer], instruction_set: str = "", int8: bool = False) -> None: ...
    def run(self, scaled: F32) -> F32: ...

class Cascade:
    def __init__(
        self,
        nodes: Sequence[CascadeNode],
        levels: int,
        features: int,
        block: int,
        threads: int,
        instruction_set: str = "",
        int8: bool = False,
    ) -> None: ...
    def run(self, raw: F32, codes: I32, confidence: F32, energy: F32) -> None: ...

def instruction_sets() -> list[str]: ...
def has_int8(instruction_set: str = "") -> bool: ...
def spin(rounds: int, instruction_set: str = "") -> int: ...
def decide(logits: F32, temperature: float = 1.0) -> tuple[I32, F32, F32]: ...
def partition(label: I32, groups: int) -> tuple[I64, I64]: ...
@overload
def scatter(values: F32, rows: I64, out: F32) -> None: ...
@overload
def scatter(values: I32, rows: I64, out: I32) -> None: ...
def format_rows(
    bytes: bytes,
    spans: I64,
    cells: I32,
    codes: I32,
    confidence: F32,
    known: npt.NDArray[np.int8],
    names: Sequence[Sequence[str]],
    width: int,
    keep_columns: bool,
    line_end: str,
) -> npt.NDArray[np.uint8]: ...
