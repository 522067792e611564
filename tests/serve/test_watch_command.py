"""`etcc-edge watch` as a service: kills at random moments, signals, and what is one line."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service import LONG, MAIN, Command

HEADER, *ROWS = (Path(__file__).parents[1] / "data" / "generated-flows.csv").read_bytes().splitlines(keepends=True)
Run = Callable[..., Command]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def records_of(folder: Path) -> bytes:
    files = sorted(folder.glob("flows*.jsonl"), key=lambda path: (path.name == "flows.jsonl", path.name))
    return b"".join(path.read_bytes() for path in files)


def test_rows_come_out_as_they_come_in_and_a_term_signal_ends_it(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    watch = run("watch", path, ready="watching")
    append(path, HEADER + ROWS[0])
    watch.wait_for(lambda: len(watch.lines) == 1)
    append(path, ROWS[1] + ROWS[2][:9])
    watch.wait_for(lambda: len(watch.lines) == 2)
    append(path, ROWS[2][9:])
    watch.wait_for(lambda: len(watch.lines) == 3)
    assert watch.end() == 0
    assert watch.log[-1] == f"{path}: 3 flows written"


def test_with_a_state_standard_output_goes_on_where_it_ended(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + ROWS[0])
    first = run("watch", path, "--state", tmp_path / "state", ready="watching")
    first.wait_for(lambda: len(first.lines) == 1)
    assert first.end() == 0
    append(path, ROWS[1])
    second = run("watch", path, "--state", tmp_path / "state", ready="watching")
    second.wait_for(lambda: len(second.lines) == 1)
    assert second.end() == 0
    assert json.loads(second.lines[0])["line"] == 3


@pytest.mark.slow
def test_kills_at_random_moments_neither_repeat_nor_lose_a_row(run: Run, tmp_path: Path) -> None:
    dice = random.Random(3)
    path, out = tmp_path / "in.csv", tmp_path / "out"
    out.mkdir()
    append(path, HEADER)
    ends = threading.Event()
    count = 0

    def write() -> None:
        nonlocal count
        pauses = random.Random(4)
        while not ends.is_set():
            rows = b"".join(pauses.choices(ROWS, k=pauses.randrange(1, 40)))
            cut = pauses.randrange(len(rows))
            append(path, rows[:cut])
            time.sleep(0.01)
            append(path, rows[cut:])
            count += rows.count(b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    words = ("watch", path, "-o", out / "flows.jsonl", "--rotate-mb", "0.3", "--keep-files", "10000")
    try:
        for _ in range(6):
            watch = run(*words, ready="watching")
            time.sleep(dice.random() * 0.6)
            watch.process.kill()
            watch.wait()
    finally:
        ends.set()
        writer.join()
    watch = run(*words, ready="watching")
    watch.wait_for(lambda: records_of(out).count(b"\n") >= count)
    assert watch.end() == 0
    assert [json.loads(line)["line"] for line in records_of(out).splitlines()] == list(range(2, count + 2))


def test_a_reader_that_leaves_ends_it_quietly(run: Run, tmp_path: Path) -> None:
    append(tmp_path / "flows.csv", HEADER + ROWS[0])
    reading, writing = os.pipe()
    watch = run("watch", tmp_path, ready="watching", output=writing)
    os.close(writing)
    got = os.read(reading, 4096)
    append(tmp_path / "flows.csv", b"".join(ROWS[1:]))
    while got.count(b"\n") < 20:  # of 200
        got += os.read(reading, 4096)
    os.close(reading)
    assert watch.wait() == 0
    assert not any("Traceback" in line for line in watch.log)
    count = int(re.fullmatch(rf"{tmp_path}: (\d+) flows written", watch.log[-1])[1])
    assert got.count(b"\n") <= count


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_names_with_line_ends_or_other_bytes_than_utf_8_break_nothing(run: Run, tmp_path: Path, form: str) -> None:
    for name in (b"a\nb.csv", b"\xff.csv", b"c.csv"):
        append(Path(os.fsdecode(bytes(tmp_path) + b"/" + name)), HEADER + ROWS[0] + ROWS[1])
    watch = run("watch", tmp_path, "--format", form, ready="watching")
    watch.wait_for(lambda: len(watch.lines) == 6 + (form == "csv"))
    assert watch.end() == 0
    if form == "csv":
        names = [row["file"] for row in csv.DictReader(line.decode() for line in watch.lines)]
    else:
        names = [json.loads(line)["file"] for line in watch.lines]
    assert sorted(names) == [r"\xff.csv"] * 2 + [r"a\nb.csv"] * 2 + ["c.csv"] * 2


def test_the_watched_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_bytes(HEADER + ROWS[0])
    words = [sys.executable, "-c", MAIN, "watch", path, "-o", path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 2
    assert done.stderr == f"Error: -o {path} is the file that is watched; name another (see etcc-edge watch --help)\n"
    assert os.listdir(tmp_path) == ["flows.csv"]
    assert path.read_bytes() == HEADER + ROWS[0]


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("notes of mine, which are no state" * 50)
    reasons = {
        ("/no/such/folder/flows.csv",): "there is no folder /no/such/folder",
        (f"{tmp_path}", "-o", f"{tmp_path}/labels.csv"): "would be read again",
        (f"{tmp_path}", "-o", "/no/such/folder/flows.jsonl"): "there is no folder /no/such/folder",
        (f"{tmp_path}", "--state", f"{tmp_path}/state"): "the state cannot be used: file is not a database",
        (f"{tmp_path}", "--state", f"{tmp_path}/o", "-o", f"{tmp_path}/../{tmp_path.name}/o"): "is -o too",
        (f"{tmp_path}/a.csv", "--state", f"{tmp_path}/a.csv"): "is the file that is watched too",
        (f"{tmp_path}", "-o", f"{tmp_path}/state"): "state: cannot be written: it holds something else",
        (f"{tmp_path}", "-o", "/dev/null"): "/dev/null: cannot be written: it is no regular file",
        (f"{tmp_path}", "--bundle", "no-such"): "no-such",
    }
    runs = {
        words: subprocess.Popen([sys.executable, "-c", MAIN, "watch", *words], stderr=subprocess.PIPE, cwd="/")
        for words in reasons
    }
    for words, process in runs.items():
        _, errors = process.communicate(timeout=LONG)
        (line,) = errors.decode().splitlines()
        assert process.returncode in (1, 2)
        assert line.startswith("Error: ")
        assert reasons[words] in line
    assert os.listdir(tmp_path) == ["state"]
