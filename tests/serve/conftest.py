"""A wire, a bundle, and the command running on the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcc_edge.infer.classifier import Classifier
from etcc_edge.serve.addresses import address_form
from etcc_edge.serve.live import Live, PacketSource
from etcc_edge.serve.metering import Metering
from etcc_edge.serve.records import RecordFormat
from feeds import Kept, Start
from service import Command
from wire import Wire, own_network


@pytest.fixture
def wire() -> Iterator[Wire]:
    with own_network():
        wire = Wire()
        yield wire
        wire.close()


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """Of the shipped bundle."""
    return Classifier("default", threads=1)


@pytest.fixture
def run() -> Iterator[Callable[..., Command]]:
    """Starts commands, and ends those that the test leaves running."""
    commands: list[Command] = []

    def start(*words: str | Path, ready: str = "capturing", **others: Any) -> Command:
        commands.append(Command(*map(str, words), ready=ready, **others))
        return commands[-1]

    yield start
    for command in commands:
        with contextlib.suppress(ProcessLookupError):
            command.process.kill()
        command.process.wait()


@pytest.fixture
def start(classifier: Classifier) -> Iterator[Start]:
    """Starts a `Live`, and stops it if the test does not."""
    running: list[Live] = []

    def start(sources: list[PacketSource], *, queue_limit: int = 10_000, **metering: object) -> tuple[Live, Kept]:
        sink = Kept()
        records = RecordFormat("jsonl", classifier.bundle.levels, address_form("full", b""), community_id=True)
        cut = replace(Metering.of(classifier.bundle, 100_000), **metering)
        live = Live(sources, cut, classifier, records, sink, queue_limit=queue_limit)
        live.start()
        running.append(live)
        return live, sink

    yield start
    for live in running:
        live.sink.give_up = True
        live.stop(5)
