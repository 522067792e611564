"""Numbers as people read them."""

from __future__ import annotations

NONE = "–"


def percent(fraction: float | None, sign: str = "", *, decimals: int = 2, none: str = NONE) -> str:
    """A fraction in percent, with `` %`` for ``sign`` where no heading says so; ``none`` in place of None."""
    return none if fraction is None else f"{100 * fraction:.{decimals}f}{sign}"
