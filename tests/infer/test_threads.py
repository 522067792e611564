from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from etcc_edge.errors import EtccError
from etcc_edge.infer.threads import in_order

THREADS = pytest.mark.parametrize("threads", [1, 2, 5])


@THREADS
def test_results_come_in_the_order_of_their_items(threads):
    def work(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    assert list(in_order(work, range(30), threads)) == [i * i for i in range(30)]


def test_so_many_threads_work_at_once():
    together = threading.Barrier(3, timeout=20)
    assert len(list(in_order(lambda _: together.wait(), range(6), 3))) == 6


@THREADS
def test_few_items_are_taken_ahead(threads):
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    for done, _ in enumerate(in_order(lambda i: i, items(), threads)):
        assert len(taken) <= done + threads + 2


@THREADS
def test_an_error_of_the_work_comes_after_the_results_before_it(threads):
    results = in_order(lambda i: 6 // (3 - i), range(10), threads)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


@THREADS
def test_an_error_of_the_items_comes_after_the_results_before_it(threads):
    def items() -> Iterator[int]:
        yield from range(3)
        raise EtccError("cut short")

    results = in_order(lambda i: i, items(), threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(EtccError, match="cut short"):
        next(results)


@THREADS
def test_an_early_end_starts_no_more_work(threads):
    started: list[int] = []

    def work(i: int) -> int:
        started.append(i)
        return i

    results = in_order(work, range(1000), threads)
    next(results)
    results.close()
    assert len(started) <= threads + 2


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pause_comes_after_all_before_it_and_before_the_next_is_asked_for(threads: int) -> None:
    taken: list[int | None] = []

    def items():
        for item in (1, 2, None, 3, None, None, 4):
            taken.append(item)
            yield item

    results = in_order(lambda item: 10 * item, items(), threads)
    assert [next(results) for _ in range(3)] == [10, 20, None]
    assert taken == [1, 2, None]
    assert list(results) == [30, None, None, 40]
