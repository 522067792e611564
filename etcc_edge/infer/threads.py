"""Work on a sequence's items in several threads, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from etcc_edge.errors import EtccError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result, None, None]:
    """``work`` of every item, in the items' order, in so many threads at once; a few items are taken ahead.

    Items are taken, and results given, in the caller's thread. An error of ``work``, or an EtccError of ``items``,
    is raised in its place, after the results before it. Close the iterator to end early.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, "etcc")

    def submitted() -> Iterator[Future[Result]]:
        try:
            for item in items:
                yield pool.submit(work, item)
        except EtccError as error:
            failed: Future[Result] = Future()
            failed.set_exception(error)
            yield failed

    waiting: deque[Future[Result]] = deque()
    try:
        for future in submitted():
            waiting.append(future)
            if len(waiting) > threads + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
