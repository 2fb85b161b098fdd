"""Batches without end: passes over the data made in the background, and samples cut from the latest of them."""

from __future__ import annotations

import atexit
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from diffnerf_ns.refinement.training.posed_views import PosedViews, ViewSource
from diffnerf_ns.refinement.training.sample_pool import SamplePool
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator


class Passes(Dataset):
    """Pass n over the sources is a pure function of the seed and n; on the CPU."""

    def __init__(self, sources: Sequence[tuple[ViewSource, float]], seed: int) -> None:
        """
        Args:
            sources: where views come from, with relative weights.
            seed: of the training.
        """
        self.sources, self.seed = list(sources), seed

    def __getitem__(self, number: int) -> PosedViews:
        draw = numpy_generator(Stream.SAMPLES, self.seed, number)
        weights = np.array([weight for _, weight in self.sources])
        source = self.sources[int(draw.choice(len(weights), p=weights / weights.sum()))][0]
        return source.views(number).to("cpu")


def batches(
    passes: Passes, pool: SamplePool, first_batch: int, workers: int, rank: int = 0, world: int = 1
) -> Iterator[PosedViews]:
    """Batches from `first_batch` on. With several processes, each takes every `world`-th pass.

    Args:
        passes: where views come from.
        pool: an empty one.
        first_batch: batches that were used already.
        workers: background processes, or threads for a GPU; 0 for none.
        rank: number of this process.
        world: number of processes.
    """
    added = pool.first_needed(first_batch)
    numbers = _Numbers(added, rank, world)
    if not workers:
        views = (passes[number] for number in numbers)
    elif pool.device.type == "cuda":
        views = _made_by_threads(passes, numbers, workers, pool.device)
    else:
        views = _made_by_processes(passes, numbers, workers)
    for number in count(first_batch):
        needed = pool.passes_before(number)
        for one in islice(views, needed - added):
            pool.add(one)
        added = needed
        yield pool.batch(number)


class _Numbers:
    """Numbers of one process's passes, without end."""

    def __init__(self, first: int, rank: int, world: int) -> None:
        self.first, self.rank, self.world = first, rank, world

    def __iter__(self) -> Iterator[int]:
        return count(self.first * self.world + self.rank, self.world)


def _made_by_threads(
    passes: Passes, numbers: Iterable[int], workers: int, device: torch.device
) -> Iterator[PosedViews]:
    """For a GPU, which processes of their own would have to share with the training by turns."""

    def begin() -> None:
        torch.cuda.set_stream(torch.cuda.Stream(device))

    coming = iter(numbers)
    with ThreadPoolExecutor(workers, "pass", begin) as threads:
        waiting = deque(threads.submit(passes.__getitem__, number) for number in islice(coming, 2 * workers))
        try:
            for number in coming:
                done = waiting.popleft().result()
                waiting.append(threads.submit(passes.__getitem__, number))
                yield done
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _made_by_processes(passes: Passes, numbers: Iterable[int], workers: int) -> Iterator[PosedViews]:
    # Forked processes cannot use OpenMP after the parent has.
    loader = DataLoader(
        passes,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        multiprocessing_context="spawn",
        worker_init_fn=prepare_worker,
    )
    yield from loader


def prepare_worker(_: int) -> None:
    """A signal to the whole process group must not end workers before the parent has written its checkpoint; and what
    has ended goes at once: libraries whose threads still wait would abort it after that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    atexit.register(os._exit, 0)
