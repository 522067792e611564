"""One target under Atheris: ``python tests/fuzz/run.py TARGET FOLDER [options of libFuzzer]``.

The folder keeps the inputs that reached something new, for the next run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["etcc_edge"]):
    from targets import TARGETS, seeds


def main() -> None:
    _, name, folder, *options = sys.argv
    kept = Path(folder)
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (kept / f"seed-{number}").write_bytes(seed)
    target = TARGETS[name]

    def run(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *options, str(kept)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
