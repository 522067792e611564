"""MLPerf Inference's scenarios: one flow at a time, eight at a time, all at once, and flows that arrive by chance."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from etcc_edge.arrays import F32

from ..figures import Failure, ServerFigures
from .paired import Spread
from .turns import Clock

BATCHES = (1, 8, 32, 256, 4096)
_NAMES = {1: "single stream", 8: "multi stream"}
LARGEST_SERVED = 4096  # flows that a server takes at once
SEARCH_STEPS = 6
FEWEST_ARRIVALS = 100  # for a 99th percentile


def scenario(batch: int, everything: int) -> str:
    """What MLPerf calls batches of this size, asked for one after the other; offline is all flows in one query."""
    return "offline" if batch == everything else _NAMES.get(batch, "batch")


def serve(
    run: Callable[[F32], object],
    pool: F32,
    rate: float,
    seconds: float,
    *,
    seed: int = 0,
    clock: Clock = time.perf_counter,
    wait: Callable[[float], None] = lambda _: None,
) -> Spread:
    """Latencies in seconds, from arrival to answer, of flows that arrive by a Poisson process of ``rate`` a second
    for ``seconds``. Whenever the server is free it takes all flows that wait, at most `LARGEST_SERVED`.

    ``wait`` gets the time until which nothing arrives; by default the clock is watched, for a sleep ends late.
    """
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, max(FEWEST_ARRIVALS, int(rate * seconds))))
    pool = np.resize(pool, (len(pool) + LARGEST_SERVED, pool.shape[1]))
    answered = np.empty(len(arrivals))
    done, start = 0, clock()
    while done < len(arrivals):
        waiting = int(np.searchsorted(arrivals, clock() - start, "right"))
        if waiting == done:
            wait(start + float(arrivals[done]))
            continue
        waiting = min(waiting, done + LARGEST_SERVED)
        first = done % (len(pool) - LARGEST_SERVED)
        run(pool[first : first + waiting - done])
        answered[done:waiting] = clock() - start
        done = waiting
    return Spread(tuple((answered - arrivals).tolist()))


def server_figures(
    run: Callable[[F32], object],
    pool: F32,
    offline_rate: float,
    bound_seconds: float,
    seconds: float,
    serve: Callable[..., Spread] = serve,
) -> ServerFigures | Failure:
    """The highest rate whose 99th percentile of latency stays within the bound, found by halving between nothing and
    ``offline_rate`` flows a second; each rate is tried for ``seconds``, and once more where it fails."""
    low, high = 0.0, offline_rate
    best: Spread | None = None
    for step in range(SEARCH_STEPS):
        rate = (low + high) / 2
        tries = (serve(run, pool, rate, seconds, seed=2 * step + attempt) for attempt in range(2))
        latencies = next((spread for spread in tries if spread.percentile(99) <= bound_seconds), None)
        if latencies is None:
            high = rate
        else:
            low, best = rate, latencies
    if best is None:
        return Failure(error=f"no rate from {high:.0f} flows/s up holds {1000 * bound_seconds:g} ms")
    return ServerFigures(
        calls=len(best.values),
        p50_us=1e6 * best.percentile(50),
        p90_us=1e6 * best.percentile(90),
        p95_us=1e6 * best.percentile(95),
        p99_us=1e6 * best.percentile(99),
        max_us=1e6 * best.high,
        flows_per_s=low,
        flows_per_s_interval=(low, high),
    )
