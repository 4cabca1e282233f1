"""Independent pieces of linear algebra at the same time, a core for each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

Piece = TypeVar("Piece")
Result = TypeVar("Result")

BYTES_TOGETHER = 6e9
"""Pieces that would take more memory than this run one after the other, each on all cores."""

_cores = Lock()
"""Held by who limits BLAS to one thread: two at once would each give back what the other had set."""


def side_by_side(work: Callable[[Piece], Result], pieces: Sequence[Piece], bytes_each: float) -> list[Result]:
    """Return the results of `work` in the order of `pieces`.

    Decompositions hardly gain from a second core, and Python's own share of the work gains nothing. So each piece has
    one core, as many at a time as BLAS has threads. BLAS has its threads back before this returns: a caller that
    stops halfway through the results must not leave a whole process on one thread. `work` must leave Python's lock
    alone for the most part, see `itprobe.metrics.lapack`.

    Parameters
    ----------
    work : callable
    pieces : sequence
    bytes_each : float
        Memory that one piece takes.
    """
    threads = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    # Not the least of them: image libraries bring a BLAS that knows one thread only, and nothing here calls it.
    at_once = min(max(threads, default=1), len(pieces))
    if at_once < 2 or at_once * bytes_each > BYTES_TOGETHER or not _cores.acquire(blocking=False):
        return list(map(work, pieces))
    try:
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(at_once, thread_name_prefix="split") as pool:
            return list(pool.map(work, pieces))
    finally:
        _cores.release()
