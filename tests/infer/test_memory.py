"""Memory is that of a few batches, however long the file."""

from __future__ import annotations

import sys
from pathlib import Path

from etcc_edge.bench.timing.paired import run_process

FLOWS = Path(__file__).parents[1] / "data" / "generated-flows.csv"
MIB = 1 << 20


def peak(path: Path, megabytes: int) -> int:
    """Bytes that `infer` takes for a file of that length."""
    header, *rows = FLOWS.read_bytes().splitlines(keepends=True)
    block = b"".join(rows)
    path.write_bytes(header + block * (megabytes * MIB // len(block)))
    command = [sys.executable, "-c", "import sys; del sys.path[0]; from etcc_edge.cli import main; main()"]
    return run_process([*command, "infer", str(path), "--threads", "1", "--force"]).peak_bytes


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    assert peak(tmp_path / "long.csv", 60) - peak(tmp_path / "short.csv", 15) < 15 * MIB
