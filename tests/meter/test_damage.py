"""No bytes harm the meter: a damaged capture gives its flows up to the damage, and says what is wrong."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcc_edge import _native

MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
UDP = bytes.fromhex("45000020 00010000 40110000 0a000001 0a000002 04d20035 000c0000 61626364")
FRAME = bytes(12) + b"\x08\x00" + UDP


def pcap(frames: list[bytes], order: str = "<", magic: int = MICROSECONDS) -> bytes:
    records = (struct.pack(f"{order}IIII", 1, i, len(frame), len(frame)) + frame for i, frame in enumerate(frames))
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, 1) + b"".join(records)


def pcapng(frames: list[bytes], order: str = "<") -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(f"{order}I", 12 + len(body))
        return struct.pack(f"{order}I", kind) + size + body + size

    packets = (
        block(6, struct.pack(f"{order}IIIII", 0, 0, i, len(frame), len(frame)) + frame)
        for i, frame in enumerate(frames)
    )
    section = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    return section + block(1, struct.pack(f"{order}HHI", 1, 0, 0)) + b"".join(packets)


def meter(data: bytes, piece: int = 1 << 20, strict: bool = False) -> tuple[int, str]:
    """How many flows, and the problem."""
    one = _native.Meter("darknet2020", 120_000_000, strict, 4, 1)
    for start in range(0, len(data), piece):
        one.feed(data[start : start + piece])
    one.finish()
    return len(one.take()), one.problem


@pytest.mark.parametrize(
    "data",
    [pcap([FRAME] * 2, order, magic) for order in "<>" for magic in (MICROSECONDS, NANOSECONDS)]
    + [pcapng([FRAME] * 2, order) for order in "<>"],
)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_both_forms_are_read_in_either_byte_order_and_in_any_pieces(data: bytes, piece: int) -> None:
    assert meter(data, piece) == (1, "")


@pytest.mark.parametrize("data", [pcap([FRAME] * 3)[:-1], pcapng([FRAME] * 3)[:-1]])
def test_a_cut_capture_gives_its_flows_and_a_problem(data: bytes) -> None:
    assert meter(data) == (1, "it is cut within a record")


def test_what_is_no_capture_is_said_to_be_none() -> None:
    assert meter(b"")[1] == "it is empty"
    assert meter(b"a text, not a capture")[1] == "it is neither pcap nor pcapng"


@given(st.binary(max_size=128), st.booleans())
def test_any_frame_is_decoded_or_skipped(frame: bytes, strict: bool) -> None:
    for form in (pcap, pcapng):
        assert meter(form([frame, FRAME, FRAME]), strict=strict)[1] == ""


@given(st.integers(0, len(FRAME) - 1), st.integers(0, 255), st.booleans())
def test_a_lying_byte_in_a_frame_harms_nothing(place: int, value: int, strict: bool) -> None:
    frame = FRAME[:place] + bytes([value]) + FRAME[place + 1 :]
    assert meter(pcap([frame, FRAME, FRAME]), strict=strict)[0] in (1, 2)


@given(st.binary(max_size=256))
def test_any_bytes_behind_a_capture_s_begin_are_survived(data: bytes) -> None:
    for form in (pcap, pcapng):
        damaged = form([FRAME, FRAME]) + data
        flows, problem = meter(damaged)
        assert flows >= 1  # that of the begin
        assert problem.isprintable()
        assert meter(damaged, piece=7) == (flows, problem)
