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


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item | None], threads: int
) -> Generator[Result | None, None, None]:
    """``work`` of every item, in the items' order, in so many threads at once; a few items are taken ahead.

    None among the items is passed on in its place, and before the next item is asked for: it says that this may take
    long. Items are taken, and results given, in the caller's thread. An error of ``work``, or an EtccError of
    ``items``, is raised in its place, after the results before it. Close the iterator to end early.
    """
    if threads == 1:
        for item in items:
            yield None if item is None else work(item)
        return
    pool = ThreadPoolExecutor(threads, "etcc")

    def submitted() -> Iterator[Future[Result] | None]:
        try:
            for item in items:
                yield None if item is None else pool.submit(work, item)
        except EtccError as error:
            failed: Future[Result] = Future()
            failed.set_exception(error)
            yield failed

    waiting: deque[Future[Result]] = deque()
    try:
        for future in submitted():
            if future is not None:
                waiting.append(future)
            while len(waiting) > (threads + 1 if future is not None else 0):
                yield waiting.popleft().result()
            if future is None:
                yield None
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
