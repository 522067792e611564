"""Sinks take whole lines, wait where they cannot, and lose none."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcc_edge.errors import FlowsError
from etcc_edge.serve import sinks
from etcc_edge.serve.sinks import RotatedFile, Rotation, UnixSocket, open_sink, output_place

LINE = b"0123456789\n"


def full_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "flows.jsonl")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_RETRY_SECONDS", 0.05)


def test_a_full_file_is_renamed_and_holds_whole_lines(tmp_path: Path) -> None:
    sink = RotatedFile(tmp_path / "flows.jsonl", Rotation(bytes=50))
    assert sink.write(LINE * 11) == 11 * len(LINE)
    sink.close()
    files = full_files(tmp_path)
    assert [path.read_bytes() for path in files] == [LINE * 4] * 2
    assert (tmp_path / "flows.jsonl").read_bytes() == LINE * 3
    assert all(path.name.startswith("flows.2") and path.suffix == ".jsonl" for path in files)


def test_each_file_begins_with_the_header(tmp_path: Path) -> None:
    sink = RotatedFile(tmp_path / "flows.jsonl", Rotation(bytes=40), b"head\n")
    sink.write(LINE * 7)
    sink.close()
    assert [path.read_bytes() for path in full_files(tmp_path)] == [b"head\n" + LINE * 3] * 2
    assert (tmp_path / "flows.jsonl").read_bytes() == b"head\n" + LINE


def test_a_line_longer_than_a_file_may_be_gets_its_own(tmp_path: Path) -> None:
    sink = RotatedFile(tmp_path / "flows.jsonl", Rotation(bytes=5))
    sink.write(LINE * 3)
    assert [path.read_bytes() for path in full_files(tmp_path)] == [LINE] * 2


def test_an_old_file_is_renamed_though_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = RotatedFile(tmp_path / "flows.jsonl", Rotation(seconds=60))
    sink.write(LINE)
    sink.tick()
    assert full_files(tmp_path) == []
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    sink.tick()
    assert [path.read_bytes() for path in full_files(tmp_path)] == [LINE]
    sink.tick()
    assert len(full_files(tmp_path)) == 1  # an empty file is never full


@pytest.mark.parametrize("limit", [Rotation(bytes=11, kept_files=3), Rotation(bytes=11, kept_bytes=35)])
def test_old_files_are_limited_in_number_and_bytes(tmp_path: Path, limit: Rotation) -> None:
    (tmp_path / "flows.notes.jsonl").write_text("not ours")
    sink = RotatedFile(tmp_path / "flows.jsonl", limit)
    for i in range(10):
        sink.write(b"%010d\n" % i)
    kept = [path.read_bytes() for path in full_files(tmp_path) if "notes" not in path.name]
    assert kept == [b"%010d\n" % i for i in (6, 7, 8)]
    assert (tmp_path / "flows.notes.jsonl").exists()


def test_ten_thousand_rotations_leave_few_files_and_no_open_ones(tmp_path: Path) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    sink = RotatedFile(tmp_path / "flows.jsonl", Rotation(bytes=11, kept_files=5))
    for i in range(10_001):
        assert sink.write(b"%010d\n" % i) == 11
    assert sink.rotations == 10_000
    assert [path.read_bytes() for path in full_files(tmp_path)] == [b"%010d\n" % i for i in range(9995, 10_000)]
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_what_a_killed_run_left_is_cut_to_whole_lines_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "flows.jsonl"
    path.write_bytes(LINE * 2 + LINE[:4])
    sink = RotatedFile(path, Rotation())
    sink.write(LINE)
    assert [full.read_bytes() for full in full_files(tmp_path)] == [LINE * 2]
    assert path.read_bytes() == LINE


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "flows.jsonl"
    sink = RotatedFile(path, Rotation())
    sink.write(LINE)
    path.rename(tmp_path / "taken")
    sink.tick()
    sink.write(LINE * 2)
    assert (tmp_path / "taken").read_bytes() == LINE
    assert path.read_bytes() == LINE * 2


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    first = RotatedFile(tmp_path / "flows.jsonl", Rotation())
    with pytest.raises(FlowsError, match="another process writes it"):
        RotatedFile(tmp_path / "flows.jsonl", Rotation())
    first.close()
    RotatedFile(tmp_path / "flows.jsonl", Rotation()).close()


@pytest.mark.parametrize("held", [b"notes without a last line end", b"\0" * 100, b"01234"[::-1]])
def test_a_file_that_holds_something_else_is_refused_and_stays(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "flows.jsonl"
    path.write_bytes(held)
    with pytest.raises(FlowsError, match=r"flows\.jsonl: .* holds something else .*; name another file$"):
        open_sink(str(path), Rotation(), begin=LINE[:5])
    assert path.read_bytes() == held
    assert full_files(tmp_path) == []
    path.write_bytes(LINE[:3])  # the begin of a first line
    open_sink(str(path), Rotation(), begin=LINE[:5]).close()
    assert path.read_bytes() == b""


def test_another_file_that_takes_the_name_meanwhile_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "flows.jsonl"
    sink = open_sink(str(path), Rotation(), begin=LINE[:5])
    sink.write(LINE)
    path.unlink()
    path.write_bytes(b"notes")
    sink.tick()
    sink.give_up = True
    assert sink.write(LINE) == 0
    assert "holds something else" in sink.stalled
    assert path.read_bytes() == b"notes"


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("fifo", "link", ".", "/dev/null"):
        with pytest.raises(FlowsError, match=r"is no regular file; name one$"):
            open_sink(str(tmp_path / name), Rotation())


def test_the_file_that_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "flows.jsonl").symlink_to("data/real.jsonl")
    for _ in range(2):
        sink = open_sink(str(tmp_path / "flows.jsonl"), Rotation())
        sink.write(LINE)
        sink.close()
    assert (tmp_path / "flows.jsonl").is_symlink()
    assert (tmp_path / "flows.jsonl").read_bytes() == LINE
    assert len(list((tmp_path / "data").glob("real.2*.jsonl"))) == 1


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link", "link to link"])
def test_the_names_of_standard_output_mean_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "link to link").symlink_to("link")
    assert output_place(str(tmp_path / name)) == "-"


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FlowsError, match=r"flows\.jsonl: there is no folder .*none$"):
        open_sink(str(tmp_path / "none" / "flows.jsonl"), Rotation())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a small disk (run as root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_waited_for_and_no_line_is_torn(small_disk: Path) -> None:
    told: list[str] = []
    hog = small_disk / "hog"
    hog.write_bytes(bytes(40_000))
    sink = RotatedFile(small_disk / "flows.jsonl", Rotation(), told=told.append)
    lines = LINE * 4000
    writer = threading.Thread(target=sink.write, args=(lines,))
    writer.start()
    until = time.monotonic() + 10
    while not sink.stalled and time.monotonic() < until:
        time.sleep(0.01)
    assert sink.stalled == os.strerror(errno.ENOSPC)
    part = (small_disk / "flows.jsonl").read_bytes()
    assert 0 < len(part) < len(lines)
    assert part == LINE * (len(part) // len(LINE))
    hog.unlink()
    writer.join(10)
    assert not writer.is_alive()
    assert (small_disk / "flows.jsonl").read_bytes() == lines
    assert told == [
        f"{small_disk}/flows.jsonl: No space left on device; records wait",
        f"{small_disk}/flows.jsonl: takes records again",
    ]


def test_a_sink_that_is_given_up_says_how_much_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = RotatedFile(tmp_path / "flows.jsonl", Rotation())

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink.write(LINE)
    monkeypatch.setattr(os, "write", full)
    sink.give_up = True
    assert sink.write(LINE * 2) == 0


class Shipper:
    """Listens as a log shipper does."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        self._listening.settimeout(10)

    def accept(self) -> socket.socket:
        connection, _ = self._listening.accept()
        connection.settimeout(10)
        return connection

    def close(self) -> None:
        self._listening.close()


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def test_a_socket_is_waited_for_and_gets_the_header_first(tmp_path: Path) -> None:
    sink = UnixSocket(str(tmp_path / "s"), b"head\n")
    writer = threading.Thread(target=sink.write, args=(LINE * 3,))
    writer.start()
    time.sleep(0.1)
    assert sink.stalled == "No such file or directory"
    shipper = Shipper(tmp_path / "s")
    with shipper.accept() as connection:
        assert read(connection, 5 + 33) == b"head\n" + LINE * 3
        writer.join(10)
        sink.close()
        assert connection.recv(1) == b""
    shipper.close()


def test_a_reader_that_leaves_during_the_header_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipper = Shipper(tmp_path / "s")
    sink = UnixSocket(str(tmp_path / "s"), b"head\n")
    real, left = socket.socket.connect, threading.Event()

    def connect(connected: socket.socket, path: str) -> None:
        real(connected, path)
        monkeypatch.undo()
        shipper.accept().close()  # before the header
        left.set()

    monkeypatch.setattr("socket.socket.connect", connect)
    writer = threading.Thread(target=sink.write, args=(LINE,))
    writer.start()
    assert left.wait(10)
    with shipper.accept() as connection:
        assert read(connection, 5 + 11) == b"head\n" + LINE
    writer.join(10)
    assert not writer.is_alive()
    shipper.close()


def test_a_reader_that_stops_is_waited_for(tmp_path: Path) -> None:
    shipper = Shipper(tmp_path / "s")
    sink = UnixSocket(str(tmp_path / "s"))
    lines = b"".join(b"%010d\n" % i for i in range(200_000))
    writer = threading.Thread(target=sink.write, args=(lines,))
    writer.start()
    with shipper.accept() as connection:
        until = time.monotonic() + 10
        while sink.stalled != "nobody reads it" and time.monotonic() < until:
            time.sleep(0.01)
        assert writer.is_alive()
        assert read(connection, len(lines)) == lines
        writer.join(10)
        assert sink.stalled == ""
    shipper.close()


def test_what_a_reader_left_unread_goes_to_the_next_one_though_nothing_else_comes(tmp_path: Path) -> None:
    shipper = Shipper(tmp_path / "s")
    told: list[str] = []
    sink = UnixSocket(str(tmp_path / "s"), b"head\n", told.append)
    lines = b"".join(b"%010d\n" % i for i in range(1000))
    assert sink.write(lines) == len(lines)
    with shipper.accept() as connection:
        read(connection, 5005)
        assert sink.unread() >= len(lines) - 5000
    sink.tick()
    with shipper.accept() as connection:
        assert read(connection, 5 + len(lines)) == b"head\n" + lines
        assert sink.unread() == 0
        sink.tick()
    sink.write(LINE)
    with shipper.accept() as connection:  # what is known to be read does not come again
        assert read(connection, 5 + 11) == b"head\n" + LINE
        assert sink.unread() == 0
    sink.write(LINE)
    shipper.close()
    sink.close()
    assert told[-1] == f"unix:{tmp_path}/s: its reader left; the last records, 1 at most, may be unread"


def test_a_begun_line_goes_whole_to_the_next_reader(tmp_path: Path) -> None:
    shipper = Shipper(tmp_path / "s")
    sink = UnixSocket(str(tmp_path / "s"))
    assert sink._take(LINE * 2 + LINE[:4], 0) == 26
    with shipper.accept() as connection:
        read(connection, 26)
        assert sink.unread() == 0
    writer = threading.Thread(target=sink.write, args=(LINE[4:],))
    writer.start()
    with shipper.accept() as connection:
        assert read(connection, 11) == LINE
    writer.join(10)
    shipper.close()


def test_the_line_that_a_vanished_reader_did_not_get_goes_to_the_next_one(tmp_path: Path) -> None:
    shipper = Shipper(tmp_path / "s")
    sink = UnixSocket(str(tmp_path / "s"))
    lines = b"".join(b"%010d\n" % i for i in range(200_000))
    writer = threading.Thread(target=sink.write, args=(lines,))
    writer.start()
    with shipper.accept() as connection:
        first = read(connection, 100_005)
    with shipper.accept() as connection:
        begin = read(connection, 11)
        number = int(begin)
        assert number <= len(first) // 11
        assert begin == b"%010d\n" % number  # whole
        assert read(connection, len(lines) - 11 * (number + 1)).endswith(b"%010d\n" % 199_999)
    writer.join(10)
    shipper.close()
    assert lines.startswith(first)
