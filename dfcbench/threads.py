"""The one door of per-patch work: a function over many items, with results in order and only a few of them waiting.

Locally threads do the work. A ``Door`` sends it elsewhere on the same terms (``dfcbench.cluster``). joblib, which offers
both, was measured and does not keep these terms (``tests/benchmarks/test_scaling.py``): results that come faster than they
are taken pile up without bound, an error of a later item hides the results of earlier ones, and whoever waits for a result
is asleep for 10 ms at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Kept = TypeVar("Kept", covariant=True)

WAITING = 2
"""Results per worker that may wait: one that is worked on, and the next, lest a worker be idle."""


class Promise(Protocol[Kept]):
    """What executors give for work that was handed in."""

    def result(self) -> Kept:
        """The result, waited for; or the exception, raised."""
        ...

    def cancel(self) -> object:
        """Let go of work that has not begun."""
        ...


class Door(Protocol):
    """Where work is done that is not done by this process's threads.

    The function and the items are pickled, so a function changes nothing but files that all machines share.
    """

    workers: int
    """How many items are worked on at a time."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """As ``in_order``."""
        ...


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 1, door: Door | None = None
) -> Generator[Result, None, None]:
    """``function`` of each item, in the order of the items, computed by ``workers`` threads, or behind the ``door``.

    At most two results per worker are waiting at any time. The first exception, in the order of the items, ends the
    iteration. Closing it lets go of what has not begun.
    """
    if door is not None:
        yield from door(function, items)
    elif workers <= 1:
        yield from map(function, items)
    else:
        with ThreadPoolExecutor(workers) as pool:
            yield from windowed(lambda item: pool.submit(function, item), items, WAITING * workers)


def windowed(
    submit: Callable[[Item], Promise[Result]], items: Iterable[Item], most: int
) -> Generator[Result, None, None]:
    """Results of what ``submit`` hands in, in the order of the items, with at most so many under way."""
    waiting: deque[Promise[Result]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for promise in waiting:
            promise.cancel()
