"""Processes that render clips ahead of their use: a GPU is busy with a training, and a core takes long for a clip."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from diffnerf_ns.refinement.training.room_clips import CLIPS_KEPT, ClipStore

CLIPS_AHEAD = 64
"""Clips that are rendered before the one that is used, at most."""

SECONDS_BETWEEN_LOOKS = 0.05


class ClipRenderers:
    """Renders the clips first, first + 1, ... of a store into its folder, one core each, and deletes the oldest."""

    def __init__(self, store: ClipStore, count: int, first: int = 0, rank: int = 0, world: int = 1) -> None:
        """
        Args:
            store: one with a folder; it waits for what is rendered here from then on.
            count: how many processes.
            first: number of the first clip.
            rank: of this training process; each has renderers of every `world`-th clip.
            world: training processes on this machine.
        """
        context = multiprocessing.get_context("spawn")
        self.first, self.rank, self.world = first, rank, world
        self.used = context.Value("q", first)
        """Number of the latest clip that was asked for."""
        theirs = copy.copy(store)
        theirs.device = "cpu"
        numbers = [first + rank + world * place for place in range(count)]
        self.processes = [
            context.Process(target=_render, args=(theirs, self.used, count * world, number), daemon=True)
            for number in numbers
        ]
        for process in self.processes:
            process.start()
        store.renderers = self

    def wait_for(self, number: int, file: Path) -> None:
        with self.used.get_lock():
            self.used.value = max(self.used.value, number)
        place = number - self.first
        if place < 0 or place % self.world != self.rank:
            return
        process = self.processes[place // self.world % len(self.processes)]
        while process.is_alive() and not file.exists():
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _render(store: ClipStore, used: Any, step: int, number: int) -> None:
    """Renders every `step`-th clip from `number` on that is not there, until the training is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the training, and that ends this
    torch.set_num_threads(1)
    parent = os.getppid()
    while True:
        while number > used.value + CLIPS_AHEAD and os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if os.getppid() != parent:
            return
        if not store.file_of(number).exists():
            store.clip(number)
        store.file_of(number - CLIPS_AHEAD - CLIPS_KEPT).unlink(missing_ok=True)
        number += step
