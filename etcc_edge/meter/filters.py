"""Which packets a socket is to get: classic BPF, from libpcap's language or as bytecode."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from etcc_edge.errors import FlowsError

Instruction = tuple[int, int, int, int]
"""Code, jump where true, jump where false, number: as in the kernel's ``struct sock_filter``."""

_LIBPCAP = "libpcap.so.0.8"
_RETURN = 0x06
_MOST_INSTRUCTIONS = 4096
ALL: Sequence[Instruction] = ((_RETURN, 0, 0, 0xFFFF),)
NONE: Sequence[Instruction] = ((_RETURN, 0, 0, 0),)


def packet_filter(text: str, link: int) -> Sequence[Instruction]:
    """A filter from an expression of libpcap (``tcp port 443``), or from what ``tcpdump -ddd`` prints for one; all
    packets for an empty text. ``link``: LINKTYPE_ number of the frames. Raises FlowsError for what is neither, and for
    an expression where libpcap is absent."""
    words = text.split()
    if not words:
        return ALL
    if all(word.isdecimal() for word in words):
        numbers = [int(word) for word in words]
        count, rest = numbers[0], numbers[1:]
        if len(rest) != 4 * count or not 0 < count <= _MOST_INSTRUCTIONS or max(rest) >= 1 << 32:
            raise FlowsError("--filter: these numbers are not what tcpdump -ddd prints for a filter")
        return [(rest[i], rest[i + 1], rest[i + 2], rest[i + 3]) for i in range(0, len(rest), 4)]
    return _compiled(text, link)


def cut_to(instructions: Sequence[Instruction], length: int) -> Sequence[Instruction]:
    """The same, of each packet only the first bytes: a filter returns how many are kept."""
    return [
        (code, true, false, length if code == _RETURN and number else number)
        for code, true, false, number in instructions
    ]


def packed(instructions: Sequence[Instruction]) -> bytes:
    """As the kernel reads them."""
    try:
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    except struct.error as error:
        raise FlowsError("--filter: these numbers are not what tcpdump -ddd prints for a filter") from error


class _Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


def _compiled(text: str, link: int) -> Sequence[Instruction]:
    try:
        library = ctypes.CDLL(_LIBPCAP)
    except OSError as error:
        raise FlowsError(
            f"--filter: an expression needs {_LIBPCAP} (apt install libpcap0.8); or give what tcpdump -ddd prints"
        ) from error
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_geterr.argtypes = library.pcap_close.argtypes = [ctypes.c_void_p]
    library.pcap_compile.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(_Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
    ]
    handle = library.pcap_open_dead(link, 0xFFFF)
    program = _Program()
    unknown_netmask = 0xFFFFFFFF
    try:
        if library.pcap_compile(handle, program, os.fsencode(text), 1, unknown_netmask) != 0:
            reason = library.pcap_geterr(handle).decode("utf-8", "backslashreplace")
            raise FlowsError(f"--filter {text!r}: {reason}; see man pcap-filter")
        data = ctypes.string_at(program.instructions, 8 * program.count)
        library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)
    return [struct.unpack_from("=HBBI", data, at) for at in range(0, len(data), 8)]
