"""Files that grow and folders that fill become records, each flow once, whatever happens in between."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcc_edge.errors import FlowsError
from etcc_edge.infer.classifier import Classifier
from etcc_edge.serve import following
from etcc_edge.serve.addresses import address_form
from etcc_edge.serve.progress import Place, Progress
from etcc_edge.serve.records import RecordFormat
from etcc_edge.serve.sinks import NO_MARK, RotatedFile, Rotation, UnixSocket
from etcc_edge.serve.watch import Watch
from wire import pcap, traffic

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
HEADER, *ROWS = GENERATED.read_bytes().splitlines(keepends=True)
LEVELS = ("protocol", "application")
ROTATION = Rotation(bytes=20_000, kept_files=10_000)


class Run:
    """A watch of ``path`` with its records in ``folder``. `close` it, or leave it as a kill would."""

    def __init__(self, path: Path, folder: Path, addresses: str = "full", **options: object) -> None:
        folder.mkdir(exist_ok=True)
        self.told: list[str] = []
        self.progress = Progress(folder / "state")
        self.sink = RotatedFile(folder / "flows.jsonl", ROTATION, mark=self.progress.mark)
        address = address_form(addresses, b"key")
        records = RecordFormat("jsonl", LEVELS, address, community_id=True, place=True)
        self.watch = Watch(path, self.progress, records, self.sink, told=self.told.append, **options)

    def look(self) -> None:
        """Until all is read."""
        while self.watch.look():
            pass

    def pass_time(self, seconds: float) -> None:
        """For the files that it knows."""
        for known in self.watch._known.values():
            known.since -= seconds
        self.look()

    def close(self) -> None:
        self.sink.close()
        self.progress.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(path: Path, addresses: str = "full", **options: object) -> Run:
        if runs:
            runs[-1].close()
        runs.append(Run(path, tmp_path / "out", addresses, **options))
        return runs[-1]

    yield start
    runs[-1].close()


def records(tmp_path: Path) -> list[dict[str, object]]:
    """All, in order."""
    files = sorted((tmp_path / "out").glob("flows*.jsonl"), key=lambda path: (path.name == "flows.jsonl", path.name))
    return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


def places(tmp_path: Path) -> list[tuple[object, object]]:
    return [(record["file"], record["line"]) for record in records(tmp_path)]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_rows_of_a_file_that_grows_get_the_labels_that_infer_gives(
    run: Callable[..., Run], classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "flows.csv"
    watching = run(path)  # the file comes later
    watching.look()
    for data in (HEADER, ROWS[0], b"".join(ROWS[1:50]), ROWS[50][:30], ROWS[50][30:], b"\n", b"".join(ROWS[51:])):
        append(path, data)
        watching.look()
    expected = []
    for _, result in classifier.classify(GENERATED):
        labels = [result.labels(level).tolist() for level in result.levels]
        sure = [f"{value:.4f}" for value in result.confidence[0]]
        expected += zip(*labels, sure, strict=True)
    found = [
        (r["etcc_protocol"] or "", r["etcc_application"] or "", f"{r['etcc_protocol_confidence']:.4f}")
        for r in records(tmp_path)
    ]
    assert found == expected
    assert [line for _, line in places(tmp_path)] == [*range(2, 53), *range(54, 203)]  # one is blank
    assert watching.told == [
        "flows.csv: cicdarknet2020 flows, times in us; bundle default (the first of view inside, assumed as nothing "
        "says otherwise, whose 42 features the file has)"
    ]


def test_a_record_says_which_flow_its_row_is(run: Callable[..., Run], tmp_path: Path) -> None:
    append(tmp_path / "flows.csv", HEADER + ROWS[0])
    run(tmp_path / "flows.csv").look()
    (record,) = records(tmp_path)
    cells = dict(zip(HEADER.decode().split(","), ROWS[0].decode().split(","), strict=True))
    assert record["src_ip"] == cells["Src IP"]
    assert record["dst_port"] == int(cells["Dst Port"])
    assert record["duration_s"] == int(cells["Flow Duration"]) / 1e6
    assert record["bwd_bytes"] == float(cells["Total Length of Bwd Packet"])
    assert (record["start"], record["verdict"]) == ("2020-01-01T12:00:00.000000Z", "final")
    assert record["community_id"] is None


def test_rows_that_cannot_be_read_have_no_labels_and_break_no_line(run: Callable[..., Run], tmp_path: Path) -> None:
    cells = ROWS[0].split(b",")
    cells[1], cells[6] = b'"a ""quoted"" \\ one"', b"yesterday"
    append(tmp_path / 'a "b".csv', HEADER + ROWS[0] + b"1,2,3\n" + b",".join(cells))
    run(tmp_path, addresses="hashed").look()
    first, short, strange = records(tmp_path)
    assert len(str(first["src_ip"])) == 16
    assert (short["etcc_protocol"], short["src_ip"], short["fwd_packets"]) == (None, None, None)
    assert (strange["src_ip"], strange["start"], strange["file"]) == (None, None, 'a "b".csv')
    assert strange["etcc_protocol"]


def test_a_row_without_a_line_end_waits_until_its_file_is_quiet(run: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + ROWS[0] + ROWS[1].rstrip())
    watching = run(path)
    watching.look()
    assert len(records(tmp_path)) == 1
    watching.pass_time(121)
    assert len(records(tmp_path)) == 2
    append(path, b"\n" + ROWS[2])
    watching.look()
    assert [line for _, line in places(tmp_path)] == [2, 3, 5]


def test_a_run_goes_on_where_the_last_one_stopped(run: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + b"".join(ROWS[:10]) + ROWS[10][:9])
    run(path).look()
    append(path, ROWS[10][9:] + ROWS[11])
    run(path).look()
    run(path).look()
    assert places(tmp_path) == [("flows.csv", line) for line in range(2, 14)]


def test_a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_begin(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + b"".join(ROWS[:5]))
    watching = run(path)
    watching.look()
    append(path, ROWS[5])
    path.rename(tmp_path / "flows.csv.1")
    append(path, HEADER + ROWS[6])
    watching.look()
    append(tmp_path / "flows.csv.1", ROWS[7])  # the writer has it open still
    watching.look()
    (tmp_path / "flows.csv.1").rename(tmp_path / "flows.csv.2")
    path.rename(tmp_path / "flows.csv.1")
    append(tmp_path / "flows.csv.1", ROWS[8])
    watching = run(path)  # it was not there while that happened
    watching.look()
    expected = [("flows.csv", line) for line in range(2, 7)]
    expected += [("flows.csv", 2), ("flows.csv.1", 7), ("flows.csv.1", 8), ("flows.csv.1", 3)]
    assert places(tmp_path) == expected


def test_a_file_that_is_cut_or_replaced_is_read_from_its_begin(run: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + b"".join(ROWS[:3]))
    watching = run(path)
    watching.look()
    path.write_bytes(HEADER + ROWS[3])  # the same file, and shorter
    watching.look()
    path.write_bytes(HEADER + b"".join(ROWS[4:9]))  # longer, with another begin
    watching.look()
    assert [line for _, line in places(tmp_path)] == [2, 3, 4, 2, 2, 3, 4, 5, 6]
    assert watching.told.count("flows.csv: was cut or replaced; read from its begin") == 2


def test_a_folders_files_are_read_once_each_whatever_their_names_become(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(5):
        append(folder / f"{i}.csv", HEADER + ROWS[i])
    append(folder / "notes.txt", HEADER + ROWS[9])
    append(folder / ".5.csv", HEADER + ROWS[5])
    run(folder).look()
    (folder / ".5.csv").rename(folder / "5.csv")  # as programs do that write apart
    (folder / "0.csv").rename(folder / "old.csv")
    watching = run(folder)
    watching.look()
    append(folder / "6.csv", HEADER + ROWS[6])
    watching.look()
    assert places(tmp_path) == [(f"{i}.csv", 2) for i in range(7)]


def test_what_is_no_flows_file_is_told_once_and_the_others_are_read(run: Callable[..., Run], tmp_path: Path) -> None:
    append(tmp_path / "a.csv", b"begin,end\n1,2\n1,3\n")
    append(tmp_path / "b.csv", HEADER + b"".join(ROWS[:2]) + HEADER.replace(b"Dst", b"Wolf") + ROWS[2])
    append(tmp_path / "c.csv", HEADER + ROWS[0])
    watching = run(tmp_path)
    watching.look()
    append(tmp_path / "a.csv", b"1,2\n")
    append(tmp_path / "b.csv", ROWS[3])
    watching.look()
    assert [name for name, _ in places(tmp_path) if name == "c.csv"] == ["c.csv"]
    errors = [line for line in watching.told if line.startswith("Error: ")]
    assert len(errors) == 2
    assert errors[0].startswith("Error: a.csv:1: is not the header of a known meter")
    assert errors[1].startswith("Error: b.csv:4: is a second header, with other columns than the first")


def test_a_file_that_says_too_little_for_long_is_told_once(run: Callable[..., Run], tmp_path: Path) -> None:
    append(tmp_path / "a.pcap", b"hello\n")
    append(tmp_path / "b.csv", HEADER)
    append(tmp_path / "c.csv", b"")
    watching = run(tmp_path)
    watching.look()
    assert watching.told == []
    watching.pass_time(11)
    watching.pass_time(11)
    assert watching.told == [
        "a.pcap: holds too little to tell what it is (6 bytes); waiting for more",
        f"b.csv: holds too little to tell what it is ({len(HEADER)} bytes); waiting for more",
    ]
    append(tmp_path / "b.csv", ROWS[0])
    watching.look()
    assert places(tmp_path) == [("b.csv", 2)]


def test_a_capture_by_name_alone_is_told_without_its_bytes(run: Callable[..., Run], tmp_path: Path) -> None:
    append(tmp_path / "garbage.pcap", b"\x1b[31m\n\n" * 100)
    watching = run(tmp_path)
    watching.look()
    assert watching.told == ["Error: garbage.pcap: is no pcap or pcapng capture; if it is a compressed one, unpack it"]


def test_a_single_file_that_cannot_be_read_is_said_to_be_waited_for(run: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    append(path, b"begin,end\n1,2\n1,3\n")
    watching = run(path)
    watching.look()
    assert watching.told[-1].endswith("; waiting for it to be written anew")
    path.write_bytes(HEADER + ROWS[0])
    watching.look()
    assert places(tmp_path) == [("flows.csv", 2)]


def test_what_breaks_on_one_file_is_told_and_the_others_are_read(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path / "a.csv", HEADER + ROWS[0])
    append(tmp_path / "b.csv", HEADER + ROWS[1])
    real = following.pick

    def broken(file: object, wanted: str) -> object:
        if file.name == "a.csv":
            raise ZeroDivisionError("of a bug")
        return real(file, wanted)

    monkeypatch.setattr(following, "pick", broken)
    watching = run(tmp_path)
    watching.look()
    assert places(tmp_path) == [("b.csv", 2)]
    assert "Error: a.csv: ZeroDivisionError: of a bug" in watching.told


@pytest.mark.parametrize("error", [MemoryError, BrokenPipeError])
def test_what_concerns_all_files_ends_the_run(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise error

    append(tmp_path / "a.csv", HEADER + ROWS[0])
    monkeypatch.setattr(following, "pick", broken)
    with pytest.raises(error):
        run(tmp_path).look()


def test_another_file_with_the_number_of_one_that_is_gone_is_not_read(run: Callable[..., Run], tmp_path: Path) -> None:
    path, other = tmp_path / "flows.csv", tmp_path / "backup.txt"
    append(path, HEADER + ROWS[0])
    watching = run(tmp_path)
    watching.look()
    path.rename(other)
    other.write_bytes(b"# not flows\n" + HEADER + ROWS[1] + ROWS[2])  # the same number: as if it were another file
    watching.look()
    run(tmp_path).look()
    assert places(tmp_path) == [("flows.csv", 2)]
    assert "backup.txt" not in str(watching.told)


def test_what_is_no_file_is_told_once(run: Callable[..., Run], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to("flows.txt")
    (tmp_path / "flows.txt").write_bytes(HEADER)
    watching = run(tmp_path)
    watching.look()
    watching.look()
    assert sorted(watching.told) == [
        "a.csv: is no regular file, which is not followed",
        "b.csv: is a symbolic link, which is not followed",
    ]


def with_durations(rows: list[bytes], seconds: bool, first: bytes = b"") -> bytes:
    """The rows with durations in seconds or as they are, the first one's as given."""
    place, lines = HEADER.split(b",").index(b"Flow Duration"), []
    for row in rows:
        cells = row.split(b",")
        cells[place] = first or (b"%.6f" % (int(cells[place]) / 1e6) if seconds else cells[place])
        first = b""
        lines.append(b",".join(cells))
    return b"".join(lines)


def test_rows_that_do_not_tell_the_unit_of_times_wait_for_others(run: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    rows = with_durations(ROWS[:50], seconds=True, first=b"0").splitlines(keepends=True)
    append(path, HEADER + rows[0])
    watching = run(path)
    watching.look()
    assert records(tmp_path) == []
    append(path, b"".join(rows[1:]))
    watching.look()
    assert [line for _, line in places(tmp_path)] == list(range(2, 52))
    assert all(record["etcc_protocol"] for record in records(tmp_path)[1:])
    assert records(tmp_path)[1]["duration_s"] == int(ROWS[1].split(b",")[7]) / 1e6
    assert [line.partition(";")[0] for line in watching.told[:2]] == [
        "flows.csv: its rows do not tell the unit of times yet",
        "flows.csv: cicdarknet2020 flows, times in s",
    ]


def test_a_quiet_or_removed_file_that_does_not_tell_its_unit_is_read_in_microseconds(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcc_edge.serve.watch._GONE_SECONDS", 0.0)
    row = with_durations(ROWS[:1], seconds=False, first=b"0")
    append(tmp_path / "a.csv", HEADER + row)
    append(tmp_path / "b.csv", HEADER + row + row)
    watching = run(tmp_path)
    watching.look()
    (tmp_path / "b.csv").unlink()
    watching.look()
    watching.look()
    assert places(tmp_path) == [("b.csv", 2), ("b.csv", 3)]
    watching.pass_time(121)
    assert places(tmp_path) == [("b.csv", 2), ("b.csv", 3), ("a.csv", 2)]
    assert sum("microseconds are assumed" in line for line in watching.told) == 2


def test_rows_that_contradict_themselves_are_told_as_soon_as_they_are_many(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + b"".join(ROWS[:60]))
    watching = run(path)
    watching.look()
    append(path, with_durations(ROWS[60:99], seconds=True))
    watching.look()
    assert not any("contradict" in line for line in watching.told)
    append(path, with_durations(ROWS[99:120], seconds=True))
    watching.look()
    assert len([line for line in watching.told if "contradict themselves" in line]) == 1
    watching.pass_time(121)
    assert len([line for line in watching.told if "contradict themselves" in line]) == 1


def test_files_that_are_gone_are_forgotten(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        append(tmp_path / f"{i}.csv", HEADER + ROWS[i])
    watching = run(tmp_path)
    watching.look()
    assert len(watching.progress.places) == 3
    (tmp_path / "1.csv").unlink()
    watching.look()
    assert len(watching.progress.places) == 3  # it may be getting another name just now
    now = time.monotonic() + 3
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watching.look()
    assert len(watching.progress.places) == 2
    assert len(watching.watch._known) == 2


def test_a_removed_file_that_contradicted_itself_is_told_once(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcc_edge.serve.watch._GONE_SECONDS", 0.0)
    path = tmp_path / "flows.csv"
    duration = HEADER.decode().split(",").index("Flow Duration")
    for row in ROWS[:20]:
        cells = row.decode().split(",")
        cells[duration] = "0.5"
        append(path, (HEADER if not path.exists() else b"") + ",".join(cells).encode())
    append(path, b"".join(ROWS[20:60]))
    watching = run(path)
    watching.look()
    path.unlink()
    for _ in range(5):
        watching.watch.look()
    assert len([line for line in watching.told if "contradict themselves" in line]) == 1


def test_a_look_that_takes_long_forgets_no_file(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        append(tmp_path / f"{i}.csv", HEADER + ROWS[i])
    ticks = itertools.count(0, 10)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    for _ in range(2):
        run(tmp_path).look()
    assert places(tmp_path) == [("0.csv", 2), ("1.csv", 2), ("2.csv", 2)]


def capture(count: int, seconds: float = 0.0) -> list[bytes]:
    """The pieces of a capture: its header, then a packet each, that many seconds apart."""
    begin = 1_700_000_000 * 10**9
    whole = pcap((begin + round(i * seconds * 1e9), frame) for i, frame in enumerate(traffic(count)))
    pieces, at = [whole[:24]], 24
    while at < len(whole):
        size = 16 + struct.unpack_from("<I", whole, at + 8)[0]
        pieces.append(whole[at : at + size])
        at += size
    return pieces


def flows_of(classifier: Classifier, path: Path) -> list[tuple[str, ...]]:
    flows = []
    for batch, result in classifier.classify(path):
        columns = [batch.column(name) for name in ("start", "community_id", "fwd_bytes")]
        labels = [result.labels(level).tolist() for level in result.levels]
        flows += list(zip(*columns, *labels, strict=True))
    return flows


def recorded(tmp_path: Path) -> list[tuple[str, ...]]:
    return [
        (
            *(str(record[name] or "") for name in ("start", "community_id", "fwd_bytes")),
            *(str(record[f"etcc_{level}"] or "") for level in ("protocol", "application")),
        )
        for record in records(tmp_path)
    ]


def test_flows_of_a_capture_that_grows_are_written_when_they_end(
    run: Callable[..., Run], classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "packets.pcap"
    whole = b"".join(capture(100))
    dice = random.Random(1)
    cuts = sorted(dice.sample(range(len(whole)), 12))
    path.touch()
    watching = run(path)
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        append(path, whole[begin:end])
        if dice.random() < 0.4:
            watching = run(path)
        watching.look()
    expected = flows_of(classifier, path)
    written = len(records(tmp_path))
    assert 0 < written < len(expected)
    watching.pass_time(121)  # then the open ones are over
    assert recorded(tmp_path) == expected
    assert [line for _, line in places(tmp_path)] == list(range(1, len(expected) + 1))


def test_a_capture_that_was_quiet_goes_on_also_in_another_run(run: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "packets.pcap"
    pieces = capture(60)
    for number, part in enumerate((pieces[:200], pieces[200:350], pieces[350:])):
        append(path, b"".join(part))
        watching = run(path)
        watching.look()
        watching.pass_time(121)
        assert watching.watch.flows > 0, number
        again = run(path)
        again.look()
        again.pass_time(121)
        assert again.watch.flows == 0
    numbers = [line for _, line in places(tmp_path)]
    assert numbers == list(range(1, len(numbers) + 1))
    packets = sum(record["fwd_packets"] + record["bwd_packets"] for record in records(tmp_path))
    assert packets > 0.8 * len(pieces)


@pytest.mark.parametrize("options", [{"max_flows": 5}, {"wanted": "iscx-tor-vpn-15s"}])
def test_a_capture_that_would_be_cut_in_another_way_is_not_gone_on_with(
    run: Callable[..., Run], tmp_path: Path, options: dict[str, object]
) -> None:
    path = tmp_path / "packets.pcap"
    pieces = capture(60)
    append(path, b"".join(pieces[:300]))
    run(path).look()
    count = len(records(tmp_path))
    assert count > 0
    append(path, b"".join(pieces[300:]))
    other = run(path, **options)
    other.look()
    (error,) = (line for line in other.told if line.startswith("Error: "))
    assert "start with the earlier --bundle and --max-flows, or name another --state" in error
    assert len(records(tmp_path)) == count
    again = run(path)
    again.look()
    again.pass_time(121)
    assert [line for _, line in places(tmp_path)] == list(range(1, len(records(tmp_path)) + 1))
    assert len(records(tmp_path)) > count


def test_packets_of_no_flow_and_flows_that_end_early_are_told(run: Callable[..., Run], tmp_path: Path) -> None:
    pieces = capture(60)
    arp = bytes(12) + b"\x08\x06" + bytes(46)
    append(tmp_path / "packets.pcap", b"".join(pieces) + struct.pack("<4I", 1_700_000_000, 0, 60, 60) + arp)
    watching = run(tmp_path, max_flows=5)
    watching.look()
    watching.watch.end()
    told = [line for line in watching.told if "packets of no flow" in line]
    assert len(told) == 1
    assert re.fullmatch(
        r"packets.pcap: 1 packets of no flow; [1-9]\d* flows ended early since too many were open", told[0]
    )
    watching.pass_time(121)
    watching.watch.end()
    assert len([line for line in watching.told if "packets of no flow" in line]) == 1


def test_a_damaged_capture_is_labelled_up_to_there(run: Callable[..., Run], tmp_path: Path) -> None:
    append(tmp_path / "packets.pcap", b"".join(capture(20)) + b"\xff" * 100)
    watching = run(tmp_path / "packets.pcap")
    watching.look()
    count = len(records(tmp_path))
    assert count > 20
    assert watching.told[-1].endswith("its flows up to there are labelled; waiting for it to be written anew")
    run(tmp_path / "packets.pcap").look()
    assert len(records(tmp_path)) == count


def look_until(steps: int, folder: Path, tmp_path: Path) -> None:
    """In a process of its own, which is killed at so many steps that change files: writing records, of which it may do
    a part, cutting and renaming a file, saving the state."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return

    def dying(step: Callable[..., object]) -> Callable[..., object]:
        def one(*arguments: object) -> object:
            nonlocal steps
            steps -= 1
            if steps == 0 and step is WRITE:
                descriptor, data = arguments
                WRITE(descriptor, data[: len(data) * 2 // 3])
            if steps <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments)

        return one

    try:
        for owner, name in ((os, "write"), (os, "rename"), (os, "ftruncate"), (Progress, "save")):
            setattr(owner, name, dying(getattr(owner, name)))
        following._PIECE, following._FLOWS = 8192, 7
        Run(folder, tmp_path / "out").look()
    finally:
        os._exit(1)


WRITE = os.write


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_killed_between_any_two_steps_repeats_and_loses_nothing(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    folder = tmp_path / "in"
    folder.mkdir()
    rows = {"a.csv": [HEADER, *ROWS[:100]], "b.csv": [HEADER, *ROWS[100:]], "c.pcap": capture(30)}
    while any(rows.values()):
        for name, left in rows.items():
            count = dice.randrange(60)
            append(folder / name, b"".join(left[:count]))
            del left[:count]
        look_until(dice.randrange(1, 25), folder, tmp_path)
    running = Run(folder, tmp_path / "out")
    running.look()
    running.pass_time(121)
    running.close()
    met = places(tmp_path)
    for name in ("a.csv", "b.csv"):
        assert [line for file, line in met if file == name] == list(range(2, 102))
    flows = [line for file, line in met if file == "c.pcap"]
    assert flows == list(range(1, len(flows) + 1))
    assert len(flows) > 30


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_kill_at_each_step_of_the_first_run_repeats_and_loses_nothing(tmp_path: Path, steps: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    append(folder / "a.csv", HEADER + b"".join(ROWS[:100]))
    for _ in range(2):  # the second one is killed at that step after a restart
        look_until(steps, folder, tmp_path)
    running = Run(folder, tmp_path / "out")
    running.look()
    running.close()
    assert places(tmp_path) == [("a.csv", line) for line in range(2, 102)]


def test_where_the_state_takes_nothing_no_more_is_written(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path / "flows.csv", HEADER + b"".join(ROWS))
    monkeypatch.setattr(following, "_PIECE", 8192)
    watching = run(tmp_path / "flows.csv")
    watching.watch.look()
    written = len(records(tmp_path))

    def full(place: Place | None, mark: tuple[int, int]) -> None:
        watching.watch.stop.set()
        watching.sink.give_up = True
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watching.progress, "save", full)
    watching.look()
    assert watching.watch.flows == written
    run(tmp_path / "flows.csv").look()
    assert [line for _, line in places(tmp_path)] == list(range(2, 202))


def test_a_killed_run_sends_again_what_the_reader_of_its_socket_had_not_read(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    append(path, HEADER + b"".join(ROWS[:100]))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    listening.settimeout(10)

    def watch() -> Watch:
        records = RecordFormat("jsonl", LEVELS, address_form("full", b""), community_id=True, place=True)
        return Watch(path, Progress(tmp_path / "state"), records, UnixSocket(str(tmp_path / "s")))

    def next_lines(connection: socket.socket, count: int) -> list[int]:
        data = b""
        connection.settimeout(10)
        while data.count(b"\n") < count:
            data += connection.recv(1 << 16)
        return [json.loads(line)["line"] for line in data.splitlines()]

    first = watch()
    while first.look():
        pass
    connection = listening.accept()[0]
    connection.recv(1000)
    connection.close()
    first._progress.close()  # as a kill would
    second = watch()
    while second.look():
        pass
    connection = listening.accept()[0]
    assert next_lines(connection, 100) == list(range(2, 102))
    second.end()
    second._progress.close()
    append(path, ROWS[100])
    third = watch()
    while third.look():
        pass
    connection = listening.accept()[0]
    assert next_lines(connection, 1) == [102]
    third._progress.close()


def test_two_runs_do_not_share_a_state(tmp_path: Path) -> None:
    first = Progress(tmp_path / "state")
    with pytest.raises(FlowsError, match="another run uses it"):
        Progress(tmp_path / "state")
    first.close()
    Progress(tmp_path / "state").close()


def test_a_state_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"something else" * 100)
    with pytest.raises(FlowsError, match=r"state: the state cannot be used: file is not a database"):
        Progress(tmp_path / "state")


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ("places SET place", "[]"),
        ("places SET place", '{"key": "1", "offset": "7"}'),
        ("places SET place", '{"key": "1", "offset": -7}'),
        ("places SET place", '{"key": "1", "rests": [null]}'),
        ("places SET place", '{"key": "1", "color": 7}'),
        ("places SET place", "{"),
        ("output SET inode", "many"),
        ("output SET size", "many"),
    ],
)
def test_a_state_with_damaged_values_is_one_line(tmp_path: Path, table: str, value: str) -> None:
    progress = Progress(tmp_path / "state")
    progress.save(Place("1"), (1, 2))
    progress.close()
    with sqlite3.connect(tmp_path / "state") as database:
        database.execute(f"UPDATE {table} = ?", (value,))
    database.close()
    with pytest.raises(FlowsError, match=r"state: the state is damaged; remove it, or name another --state$"):
        Progress(tmp_path / "state")


def test_a_state_keeps_places_and_the_mark(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "state")
    progress.save(Place("1:2", offset=7, number=3, rests=[5]), (2**63 + 1, 9))
    progress.close()
    progress = Progress(tmp_path / "state")
    assert progress.mark == (2**63 + 1, 9)
    assert progress.places == {"1:2": Place("1:2", offset=7, number=3, rests=[5])}
    progress.forget("1:2")
    progress.close()
    assert Progress(tmp_path / "state").places == {}
    assert Progress().mark == NO_MARK
