"""Work on a CPU side by side, a thread for each piece: small convolutions gain little from threads of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

Given = TypeVar("Given")
Result = TypeVar("Result")


class OneThreadEach:
    """A pool of threads in each of which torch computes with its share of the threads that it had.

    with OneThreadEach(4) as threads:
        for result in threads.map(function_that_gives_several_results, inputs): ...
    """

    def __init__(self, count: int) -> None:
        """
        Args:
            count: pieces that are worked on at once.
        """
        self.count = max(1, count)
        self._before = torch.get_num_threads()
        share = max(1, self._before // self.count)
        self._pool = ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(share,))

    def __enter__(self) -> OneThreadEach:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before)  # what a thread sets is what threads after it begin with

    def map(self, function: Callable[[Given], Iterable[Result]], inputs: Iterable[Given]) -> Iterator[Result]:
        """What the function gives for each input, in their order; inputs are taken as there is a thread for them."""
        running: deque[Future[list[Result]]] = deque()
        for given in inputs:
            running.append(self._pool.submit(lambda one: list(function(one)), given))
            if len(running) > self.count:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
