from __future__ import annotations

import gzip
import io
import sys

import pytest

from etcc_edge.errors import FlowsError
from etcc_edge.flows.text.stream import ByteStream

TEXT = b"Flow ID,Src IP\n" * 1000


@pytest.fixture
def stdin(monkeypatch):
    """Makes a raw stream the standard input."""

    def becomes(raw: io.RawIOBase) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(raw)))

    return becomes


class Trickle(io.RawIOBase):
    """A pipe whose writer sends one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        one, self._left = self._left[:1], self._left[1:]
        buffer[: len(one)] = one
        return len(one)


def test_reads_are_full_until_the_end(tmp_path):
    (tmp_path / "f.csv").write_bytes(TEXT)
    source = ByteStream(tmp_path / "f.csv")
    assert [len(source.read(9000)) for _ in range(3)] == [9000, 6000, 0]
    source.close()


@pytest.mark.parametrize("name", ["f.csv.gz", "f.csv"])
def test_gzip_is_recognised_whatever_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(TEXT))
    source = ByteStream(tmp_path / name)
    assert source.read(1 << 20) == TEXT
    source.close()


def test_position_and_size_are_those_of_the_file_on_disk(tmp_path):
    packed = gzip.compress(TEXT)
    (tmp_path / "f.csv.gz").write_bytes(packed)
    source = ByteStream(tmp_path / "f.csv.gz")
    assert source.size == len(packed)
    assert source.position() < len(packed)
    source.read(1 << 20)
    assert source.position() == len(packed)
    source.close()


@pytest.mark.parametrize("kept", [2, 15, 40])
def test_gzip_that_is_cut_short_is_an_error(tmp_path, kept):
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(TEXT)[:kept])
    source = ByteStream(tmp_path / "f.csv.gz")
    with pytest.raises(FlowsError, match=r"f\.csv\.gz: cannot be read to its end: .* damaged or cut short"):
        source.read(1 << 20)
    source.close()


@pytest.mark.parametrize("at", [20, -5], ids=["data", "checksum"])
def test_damaged_gzip_is_an_error(tmp_path, at):
    packed = bytearray(gzip.compress(TEXT))
    packed[at] ^= 0xFF
    (tmp_path / "f.csv.gz").write_bytes(packed)
    source = ByteStream(tmp_path / "f.csv.gz")
    with pytest.raises(FlowsError, match="damaged or cut short"):
        source.read(1 << 20)
    source.close()


def test_standard_input_has_no_size_and_stays_open(stdin):
    stdin(io.BytesIO(TEXT))
    source = ByteStream("-")
    assert (source.name, source.size, source.position()) == ("standard input", None, 0)
    assert source.read(1 << 20) == TEXT
    source.close()
    assert not sys.stdin.buffer.closed


def test_standard_input_is_read_to_its_end_however_it_comes(stdin):
    stdin(Trickle(TEXT))
    assert ByteStream("-").read(1 << 20) == TEXT


def test_gzip_on_standard_input_is_recognised(stdin):
    stdin(io.BytesIO(gzip.compress(TEXT)))
    assert ByteStream("-").read(1 << 20) == TEXT


def test_gzip_on_standard_input_is_recognised_however_it_comes(stdin):
    stdin(Trickle(gzip.compress(TEXT)))
    assert ByteStream("-").read(1 << 20) == TEXT


def test_a_folder_is_no_flows_file(tmp_path):
    with pytest.raises(FlowsError, match="is a folder; name a flows file"):
        ByteStream(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FlowsError, match=r"none\.csv: cannot be read: No such file or directory"):
        ByteStream(tmp_path / "none.csv")
