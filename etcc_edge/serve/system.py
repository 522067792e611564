"""What the system is told, and what is given back to it: readiness, the watchdog, capabilities."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

from etcc_edge.errors import EtccError

_CAPABILITY_VERSION = 0x20080522
_NO_NEW_PRIVILEGES, _AMBIENT, _AMBIENT_CLEAR_ALL = 38, 47, 4


def notify(state: str) -> None:
    """Tells systemd, where it started this process with ``Type=notify``: READY=1, RELOADING=1, WATCHDOG=1,
    STOPPING=1 (sd_notify(3))."""
    if not (address := os.environ.get("NOTIFY_SOCKET", "")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger:
        messenger.setblocking(False)
        try:
            messenger.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return  # systemd then takes its own measures


def watchdog_seconds() -> float:
    """How often systemd wants to hear WATCHDOG=1 at least; 0: it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6


def drop_capabilities() -> None:
    """This process can never again do more than its user may. Before other threads start: capabilities are a thread's.
    Raises EtccError where that fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    none = ctypes.create_string_buffer(struct.pack("=6I", *[0] * 6))
    for failed in (
        libc.prctl(_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0),
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        libc.capset(header, none),
    ):
        if failed:
            raise EtccError(f"capabilities cannot be dropped: {os.strerror(ctypes.get_errno())}")


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
