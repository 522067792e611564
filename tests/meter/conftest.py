"""A wire for the tests of captured interfaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wire import Wire, own_network


@pytest.fixture
def wire() -> Iterator[Wire]:
    with own_network():
        wire = Wire()
        yield wire
        wire.close()
