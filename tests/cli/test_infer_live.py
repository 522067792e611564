"""A live input is labelled as it comes: when it pauses, what was read is written."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
MAIN = "import sys; from etcc_edge.cli import main; main(sys.argv[1:], prog_name='etcc-edge')"
LONG = 20.0  # seconds, for a busy machine


class Live:
    """A running ``infer - -o -``."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-c", MAIN, "infer", "-", "-o", "-", *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def lines(self, count: int) -> list[bytes]:
        """So many lines of what it writes, as soon as they come."""
        assert self.process.stdout is not None
        out, until = b"", time.monotonic() + LONG
        while out.count(b"\n") < count:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            assert ready, f"{len(out.splitlines())} of {count} lines came within {LONG} s"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, f"it ended after {len(out.splitlines())} of {count} lines"
            out += data
        return out.splitlines()


@pytest.fixture(params=["1", "3"])
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    process = Live("--threads", request.param)
    yield process
    process.process.kill()
    process.process.wait()


def test_rows_are_labelled_while_the_input_stays_open(live: Live) -> None:
    header, *rows = GENERATED.read_bytes().splitlines(keepends=True)
    live.write(header + b"".join(rows[:3]))
    first = live.lines(4)
    assert [line.rsplit(b",", 4)[0] for line in first[1:]] == [row.rstrip() for row in rows[:3]]
    assert all(line.rsplit(b",", 4)[1] for line in first[1:])
    live.write(rows[3] + rows[4][:20])
    assert live.lines(1)[0].startswith(rows[3].rstrip() + b",")
    live.write(rows[4][20:])
    assert live.lines(1)[0].startswith(rows[4].rstrip() + b",")
    live.write(b"".join(rows[5:]))
    live.process.stdin.close()
    assert len(live.lines(195)) == 195
    assert live.process.wait(LONG) == 0


def test_a_header_alone_waits_for_a_row(live: Live) -> None:
    header, row, *_ = GENERATED.read_bytes().splitlines(keepends=True)
    live.write(header)
    time.sleep(0.5)
    live.write(row)
    assert len(live.lines(2)) == 2


def test_rows_that_do_not_tell_the_unit_of_times_wait_for_one_that_does(live: Live) -> None:
    header, *rows = GENERATED.read_bytes().splitlines(keepends=True)
    place = header.split(b",").index(b"Flow Duration")
    in_seconds = []
    for row in rows[:3]:
        cells = row.split(b",")
        cells[place] = b"%.6f" % (int(cells[place]) / 1e6) if in_seconds else b"0"
        in_seconds.append(b",".join(cells))
    live.write(header + in_seconds[0])
    time.sleep(0.5)
    live.write(b"".join(in_seconds[1:]))
    assert all(line.rsplit(b",", 4)[1] for line in live.lines(4)[2:])


def test_after_many_rows_the_unit_is_assumed_and_that_is_told_at_once(live: Live) -> None:
    header, row, *_ = GENERATED.read_bytes().splitlines(keepends=True)
    cells = row.split(b",")
    cells[header.split(b",").index(b"Flow Duration")] = b"0"
    live.write(header + b",".join(cells) * 1000)  # more rows are not waited for
    live.lines(1001)
    assert live.process.stderr is not None
    told = live.process.stderr.readline() + live.process.stderr.readline()
    assert b"microseconds are assumed" in told


def test_rows_that_keep_coming_one_by_one_do_not_wait_for_each_other(live: Live) -> None:
    header, *rows = GENERATED.read_bytes().splitlines(keepends=True)
    live.write(header + rows[0])
    live.lines(2)
    for row in rows[1:40]:  # the input is never silent for long
        live.write(row)
        time.sleep(0.05)
        if select.select([live.process.stdout], [], [], 0)[0]:
            return
    pytest.fail("none was labelled while others came")
