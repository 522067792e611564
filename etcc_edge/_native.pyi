from collections.abc import Sequence
from typing import Any, TypedDict

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
    fault: I32
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
        features: int | None = None,
        relations: Sequence[tuple[str, Sequence[int]]] = [],
    ) -> None: ...
    def parse(self, bytes: bytes, last: bool, first_line: int = 1) -> RowsDict: ...

def read_columns(
    columns: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.uint8] | None, int, npt.NDArray[np.uint8] | None, float]],
    relations: Sequence[tuple[str, Sequence[int]]],
    features: F32,
    status: npt.NDArray[np.uint8],
    fault: I32,
) -> int: ...
def parse_cells(data: npt.NDArray[np.uint8], ends: I64) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]: ...
def gather_cells(bytes: bytes, texts: I64, place: int) -> tuple[npt.NDArray[np.uint8], I64]: ...
def find_lines(bytes: bytes) -> tuple[int, int, bool]: ...

class Scaler:
    def __init__(
        self, sources: I64, starts: I64, x: F32, y: F32, missing: F32, operations: I64, second: I64
    ) -> None: ...
    def transform(self, raw: F32, rows: I64 | None = None) -> F32: ...
    def outside(self, raw: F32) -> npt.NDArray[np.bool_]: ...

class Layer:
    """A layer as `etcc_edge.bundle.network` defines it; weights of any shape, PyTorch's order, none where it has none.

    A network copies them."""

    def __init__(
        self, op: str, size: int = 0, width: int = 0, weight: F32 | None = None, bias: F32 | None = None
    ) -> None: ...

class Network:
    def __init__(self, inputs: int, layers: Sequence[Layer], instruction_set: str = "", int8: bool = False) -> None: ...
    @property
    def int8_layers(self) -> int: ...
    def run(self, scaled: F32) -> F32: ...

class Node:
    """A network of a cascade; for each of its labels the code at its level, and the child's place among the nodes or
    -1."""

    def __init__(
        self, scaler: Scaler, layers: Sequence[Layer], temperature: float, codes: Sequence[int], children: Sequence[int]
    ) -> None: ...

class Cascade:
    def __init__(
        self,
        nodes: Sequence[Node],
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
def format_rows(
    bytes: bytes,
    spans: I64,
    cells: I32,
    codes: I32,
    confidence: F32,
    known: npt.NDArray[np.int8],
    chosen: I64,
    names: Sequence[Sequence[str]],
    width: int,
    keep_columns: bool,
    line_end: str,
) -> npt.NDArray[np.uint8]: ...

class Flows:
    """Flows that have ended, and early looks at open ones. ``zone``: seconds to add to UTC, and with ``changes`` the
    second number of a pair from the first on, µs since 1970. ``columns``: places in `meter_columns`."""

    def __len__(self) -> int: ...
    @property
    def early(self) -> npt.NDArray[np.bool_]:
        """Which are early looks; the flow itself follows when it has ended."""

    @property
    def lone(self) -> npt.NDArray[np.bool_]:
        """Which have one packet."""

    @property
    def of_ip6(self) -> int: ...
    def part(self, begin: int, end: int) -> Flows: ...
    def totals(self) -> I64:
        """int64 [n, 4]: start and end in microseconds since 1970, packets, bytes of payload."""

    def text(self, zone: int, changes: Sequence[tuple[int, int]] = []) -> npt.NDArray[np.uint8]: ...
    def numbers(self, columns: Sequence[int]) -> F32:
        """float32 [n, columns], as a reader of the text gets them; NaN: not finite."""

    def cells(self, columns: Sequence[int]) -> tuple[bytes, I64]:
        """A line of the columns' text for each flow, and where each cell begins and ends in it, int64 [n, columns,
        2]."""

class Ring:
    """The memory that the kernel shares with a packet socket (TPACKET_V3). Keep the socket open, and close it later.
    ``link``: LINKTYPE_ number of its frames. Raises RuntimeError where it cannot be mapped."""

    def __init__(self, socket: int, block_bytes: int, blocks: int, link: int) -> None: ...

class Meter:
    """A capture's bytes in, flows out. All times in microseconds.

    ``strict``: as the Java meter. ``lone``: flows of one packet are given too. ``after_packets``, ``after_time``: an
    early look at each open flow of two packets or more, once it has so many, or once so much time has passed since its
    first packet by the packets' clock, whichever comes first; 0: none. ``threads``: each flow belongs to one of them,
    and so does its share of ``max_flows``; the flows and their order are the same unless some are evicted.
    """

    def __init__(
        self,
        profile: str,
        timeout: int,
        strict: bool,
        max_flows: int,
        seed: int,
        lone: bool = False,
        after_packets: int = 0,
        after_time: int = 0,
        threads: int = 1,
    ) -> None: ...
    def feed(self, bytes: bytes) -> None: ...
    def expire(self, now: int) -> None:
        """Time has passed, with or without packets: ends the flows whose time is over, and takes early looks."""

    def capture(self, ring: Ring, milliseconds: int, now: int, step_before: int, step: int) -> None:
        """Takes the frames that wait in a ring; where there are none, waits ``milliseconds`` at most. ``now``: the time
        since 1970 as if the clock had never been set; ``step_before`` and ``step``: by how much it had been set, at the
        last call and now. All in microseconds."""

    def finish(self) -> None: ...
    @property
    def ended(self) -> int: ...
    def take(self, clock_step: int = 0) -> Flows:
        """The flows that ended since the last call, with microseconds added to their times."""

    @property
    def open(self) -> int: ...
    @property
    def problem(self) -> str: ...
    @property
    def packets(self) -> int: ...
    @property
    def skipped(self) -> dict[str, int]: ...
    @property
    def lone(self) -> int: ...
    @property
    def evicted(self) -> int: ...

def meter_profiles() -> list[str]: ...
def meter_columns(profile: str) -> list[str]: ...
def meter_timeout(profile: str) -> int:
    """Microseconds from a flow's first packet, unless another is asked for."""

def meter_is_proven(profile: str) -> bool:
    """Whether its rows were compared with what its program prints."""

def meter_header(profile: str) -> str: ...
