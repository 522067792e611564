"""The command running as a service does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

MAIN = "import sys; from etcc_edge.cli import main; main(sys.argv[1:], prog_name='etcc-edge')"
LONG = 30.0  # seconds, for a busy machine


class Command:
    """A running ``etcc-edge``, from when it says that it works."""

    def __init__(
        self,
        *words: str,
        ready: str,
        output: int = subprocess.PIPE,
        inside: Sequence[str] = (),
        **environment: str,
    ) -> None:
        """``inside``: a command that runs another one."""
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", MAIN, *words],
            stdout=output,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**os.environ, **environment},
        )
        self.log: list[str] = []
        self.lines: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_lines, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self.wait_for(lambda: any(ready in line for line in self.log))

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode().rstrip())

    def _read_lines(self) -> None:
        if self.process.stdout is not None:
            self.lines.extend(self.process.stdout)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < until, self.log
            assert self.process.poll() is None or condition(), self.log
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(LONG)
        for reader in self._readers:
            reader.join(LONG)
        return status
