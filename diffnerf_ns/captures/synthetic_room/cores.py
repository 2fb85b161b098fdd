"""Sharing out work over the cores of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run_on_cores(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs jobs side by side, one core each, and returns their results in order.

    Rendering is made of many small tensor operations, which torch's own threads slow down rather than speed up. Every
    job sees one torch thread however many run, so results do not depend on how work was shared out.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            return list(pool.map(lambda job: job(), jobs))
    finally:
        torch.set_num_threads(threads)
