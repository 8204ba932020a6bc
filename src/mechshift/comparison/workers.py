"""Threads that measure pieces of a comparison at once, on all cores.

NumPy and SciPy let other threads run while they sort, add up and multiply. What a piece is does not
depend on the number of threads, and results come in the order of the pieces, so no number does.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_workers() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, most: int | None = None
) -> Iterator[Result]:
    """`function` of every item, in the order of the items.

    Few items wait at once: they may be large, and are made only when they are needed.

    Args:
        function: what is done with an item.
        items: what it is done with.
        most: threads at most, where each needs much memory.
    """
    workers = min(num_workers(), most or num_workers())
    waiting: deque[Future[Result]] = deque()
    rest = iter(items)
    first = list(islice(rest, 2))
    if len(first) < 2:  # a thread would cost more than it saves, and there may be many such calls
        yield from map(function, first)
        return
    with ThreadPoolExecutor(workers) as pool:
        for item in chain(first, rest):
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
