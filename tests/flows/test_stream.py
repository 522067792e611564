from __future__ import annotations

import contextlib
import gzip
import io
import random
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from etcc_edge.errors import FlowsError
from etcc_edge.flows.stream import ByteStream

TEXT = b"Flow ID,Src IP\n" * 1000


@pytest.fixture
def stdin(monkeypatch):
    """Makes a raw stream the standard input."""

    def becomes(raw: io.RawIOBase) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(raw)))

    return becomes


def whole(path: Path | str) -> bytes:
    with contextlib.closing(ByteStream(path)) as source:
        return b"".join(iter(lambda: source.read(1 << 20), b""))


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


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
    text = random.Random(0).randbytes(100_000).hex().encode()
    packed = gzip.compress(text)
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
    with pytest.raises(FlowsError, match=r"f\.csv\.gz: cannot be read to its end: .* damaged or cut short"):
        whole(tmp_path / "f.csv.gz")


@pytest.mark.parametrize("at", [20, -5], ids=["data", "checksum"])
def test_damaged_gzip_is_an_error(tmp_path, at):
    packed = bytearray(gzip.compress(TEXT))
    packed[at] ^= 0xFF
    (tmp_path / "f.csv.gz").write_bytes(packed)
    with pytest.raises(FlowsError, match="damaged or cut short"):
        whole(tmp_path / "f.csv.gz")


def test_what_lies_before_the_damage_is_read_first(tmp_path):
    noise = random.Random(0).randbytes(300_000)
    packed = gzip.compress(noise)
    half = packed[: len(packed) // 2]
    unpacked_half = zlib.decompressobj(wbits=31).decompress(half)
    for data, good in (
        (half, unpacked_half),
        (packed[:-8], noise),
        (packed[:-1] + b"!", noise),
        (packed + b"some junk", noise),
    ):
        (tmp_path / "f.gz").write_bytes(data)
        with contextlib.closing(ByteStream(tmp_path / "f.gz")) as source:
            assert source.read(1 << 20) == good
            for _ in range(2):
                with pytest.raises(FlowsError, match="damaged or cut short"):
                    source.read(1 << 20)


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
    with pytest.raises(FlowsError, match="is a folder; name a file"):
        ByteStream(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FlowsError, match=r"none\.csv: cannot be read: No such file or directory"):
        ByteStream(tmp_path / "none.csv")


# --- zip files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_file_of_one_file_is_read_as_that_file(tmp_path, method):
    (tmp_path / "f.zip").write_bytes(zipped(("day/", b""), ("day/f.csv", TEXT), ("__MACOSX/._f", b"x"), method=method))
    source = ByteStream(tmp_path / "f.zip")
    assert [len(source.read(9000)) for _ in range(3)] == [9000, 6000, 0]
    assert 0 < source.position() <= source.size
    source.close()


def test_a_zip_file_on_standard_input_is_read_where_it_is_a_file(stdin, tmp_path):
    (tmp_path / "f.zip").write_bytes(zipped(("f.csv", TEXT)))
    stdin(io.FileIO(tmp_path / "f.zip"))
    assert ByteStream("-").read(1 << 20) == TEXT
    stdin(Trickle(zipped(("f.csv", TEXT))))
    with pytest.raises(FlowsError, match=r"standard input: is a zip file, which no pipe can hold; name the file"):
        ByteStream("-")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (zipped(("a.csv", TEXT), ("b.csv", TEXT)), r"holds 2 files \('a\.csv', 'b\.csv'\); one is expected"),
        (zipped(*((f"{i}.csv", TEXT) for i in range(6))), r"holds 6 files \('0\.csv', .*'3\.csv' and 2 more\)"),
        (zipped(("day/", b""), ("__MACOSX/._f", b"x")), r"holds no file; one is expected"),
        (zipped(("xl/workbook.xml", b""), ("a", b"")), r"is an Excel workbook \(xlsx\); save it as CSV"),
        (zipped(("f.csv", TEXT), method=zipfile.ZIP_BZIP2), "is compressed by another method than deflate"),
        (zipped(("f.csv", TEXT))[:-30], "is a damaged zip file"),
        (zipped(("f.csv.gz", gzip.compress(TEXT))), "is gzip data inside an archive; unpack it first"),
        (zipped(*((f"{i:0200}", b"") for i in range(20_000))), "is a damaged zip file"),
    ],
    ids=["two", "six", "none", "xlsx", "bzip2", "cut", "gzip inside", "long list"],
)
def test_another_zip_file_is_one_line_that_names_what_it_holds(tmp_path, data, complaint):
    (tmp_path / "f.zip").write_bytes(data)
    with pytest.raises(FlowsError, match=r"f\.zip: " + ".*" + complaint) as caught:
        whole(tmp_path / "f.zip")
    assert "\n" not in str(caught.value)


def test_a_zip_file_with_a_password_is_named(tmp_path):
    data = bytearray(zipped(("f.csv", TEXT)))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "f.zip").write_bytes(data)
    with pytest.raises(FlowsError, match=r"f\.zip: is a zip file with a password; unpack it first"):
        whole(tmp_path / "f.zip")


def test_a_damaged_zip_file_is_an_error_or_read_as_it_was(tmp_path):
    rng, path = random.Random(0), tmp_path / "f.zip"
    data = zipped(("f.csv", TEXT))
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(4, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(FlowsError):
            assert whole(path) == TEXT


# --- zstd ---------------------------------------------------------------------------------------------------


@pytest.fixture
def zstd():
    zstandard = pytest.importorskip("zstandard")
    return zstandard.ZstdCompressor(write_checksum=True).compress


def test_frames_of_zstd_are_read_one_after_the_other(tmp_path, zstd):
    noise = random.Random(0).randbytes(100_000)
    (tmp_path / "f.csv.zst").write_bytes(zstd(TEXT) + zstd(b"") + zstd(noise))
    with contextlib.closing(ByteStream(tmp_path / "f.csv.zst")) as source:
        assert source.read(1 << 20) == TEXT + noise
        assert source.ended


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:-2] + b"xy", lambda data: data + b"rest"])
def test_damaged_zstd_is_an_error_and_not_a_shorter_file(tmp_path, zstd, spoil):
    (tmp_path / "f.zst").write_bytes(spoil(zstd(TEXT)))
    with pytest.raises(FlowsError, match="the zstd data is damaged or cut short"):
        whole(tmp_path / "f.zst")


def test_what_lies_before_the_end_of_cut_zstd_is_read_first(tmp_path, zstd):
    noise = random.Random(0).randbytes(600_000)
    for data in (zstd(noise)[:-5], zstd(noise) + b"some junk"):
        (tmp_path / "f.zst").write_bytes(data)
        with contextlib.closing(ByteStream(tmp_path / "f.zst")) as source:
            read = source.read(1 << 20)
            assert noise.startswith(read)
            assert len(read) > 500_000
            with pytest.raises(FlowsError, match="damaged or cut short"):
                source.read(1 << 20)


def test_little_zstd_that_unpacks_to_much_is_read_in_pieces(tmp_path, zstd):
    (tmp_path / "f.zst").write_bytes(zstd(bytes(300 << 20)))
    with contextlib.closing(ByteStream(tmp_path / "f.zst")) as source:
        assert source.read(1 << 20) == bytes(1 << 20)
        assert len(source._stream._rest) < 32 << 20


def test_without_its_package_zstd_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "f.zst").write_bytes(b"\x28\xb5\x2f\xfd\x04")
    with pytest.raises(FlowsError, match=r"f\.zst: is zstd data, which the package zstandard reads: pip install 'etcc"):
        ByteStream(tmp_path / "f.zst")


# --- other binaries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"\xd4\xc3\xb2\xa1\x02\x00", "a pcap capture; turn it into flows"),
        (b"\xa1\xb2\x3c\x4d\x00\x02", "a pcap capture; turn it into flows"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00", "a pcapng capture; turn it into flows"),
        (b"PAR1\x15\x04", "a Parquet file; name the file itself, unpacked"),
        (b"ARROW1\0\0", "an Arrow file; name the file itself, unpacked"),
        (b"BZh91AY&SY", "bzip2 data; unpack it first"),
        (b"\xfd7zXZ\0\0", "xz data; unpack it first"),
        (b"%PDF-1.7\n", "a PDF file; flows are CSV, ARFF, Parquet or captures"),
        (b"\x7fELF\x02\x01", r"a program \(ELF\); flows are CSV, ARFF, Parquet or captures"),
    ],
    ids=lambda value: value.split(";")[0] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_binary_is_named_with_what_to_do(tmp_path, first, kind, pack):
    (tmp_path / "f.csv").write_bytes(pack(first + bytes(100)))
    with pytest.raises(FlowsError, match=r"f\.csv: is " + kind):
        ByteStream(tmp_path / "f.csv")


def test_a_binary_on_standard_input_is_named_too(stdin):
    stdin(Trickle(b"\xd4\xc3\xb2\xa1" + bytes(20)))
    with pytest.raises(FlowsError, match="standard input: is a pcap capture"):
        ByteStream("-")


@pytest.mark.parametrize("data", [b"", b"P", b"% a comment\n", b"BZ,x\n1,2\n"])
def test_text_of_any_length_is_no_binary(tmp_path, data):
    (tmp_path / "f.csv").write_bytes(data)
    assert whole(tmp_path / "f.csv") == data
