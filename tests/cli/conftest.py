"""What tests of several commands use."""

from __future__ import annotations

import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.store import save_bundle


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the tiny bundle lies."""
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    save_bundle(tiny_bundle, path)
    return str(path)
