"""Where this package keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """``$ETCC_EDGE_CACHE``, else ``etcc-edge`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. Engines lie in its folder
    ``engines``, recommendations in ``recommendations``."""
    if named := os.environ.get("ETCC_EDGE_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etcc-edge"
