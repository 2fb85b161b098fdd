"""nerfstudio's trainer with a clock that stops while quality is measured."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer
from nerfstudio.models.base_model import Model


class TrainingClock:
    """Wall time since a moment before the process existed, without the time spent in `paused`.

    Args:
        started_unix_s: that moment, seconds since the epoch.
    """

    def __init__(self, started_unix_s: float) -> None:
        self._start = time.perf_counter() - (time.time() - started_unix_s)

    def seconds(self) -> float:
        """What the clock shows."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - since


class MeasuredTrainer(Trainer):
    """Trains as the trainer that it is put before by `measured`.

    In place of evaluations and checkpoints, it fills a curve.
    """

    rays_trained: int = 0
    first_step_s: float
    clock: TrainingClock
    curve: list[dict[str, float]]
    peak_memory_before_evaluation_mb: float

    def measure(self, clock: TrainingClock, steps: Sequence[int], score: Callable[[Model], dict[str, float]]) -> None:
        """Trains, and scores the model after these numbers of steps."""
        self.clock, self.curve = clock, []
        self._evaluation_steps, self._score = frozenset(steps), score
        self.train()

    def train_iteration(self, step: int) -> tuple:
        """One training step; notes when the first one began, and counts rays."""
        if step == 0:
            self.first_step_s = self.clock.seconds()
        result = super().train_iteration(step)
        self.rays_trained += self.pipeline.datamanager.get_train_rays_per_batch()
        return result

    def eval_iteration(self, step: int) -> None:
        """Scores the model where the curve wants a point. Training's random numbers stay what they were."""
        if step + 1 not in self._evaluation_steps:
            return
        wall_s = self.clock.seconds()
        with self.clock.paused(), torch.random.fork_rng():
            if not self.curve:
                self.peak_memory_before_evaluation_mb = peak_memory_mb()
            scores = self._score(self.pipeline.model)
        point = {"step": step + 1, "rays": self.rays_trained, "wall_s": wall_s}
        self.curve.append({**point, "training_s": wall_s - self.first_step_s, **scores})

    def save_checkpoint(self, step: int) -> None:
        """Results are kept, not checkpoints."""

    def rays_per_s(self, rays: int, seconds: float) -> float:
        """Training speed at another batch size: goes on training for that long, after a step that does not count."""
        self.pipeline.datamanager.train_pixel_sampler.set_num_rays_per_batch(rays)  # type: ignore[attr-defined]
        self.one_more_step()
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.one_more_step()
            steps += 1
        return steps * rays / (time.perf_counter() - started)

    def one_more_step(self) -> None:
        """A training step with its callbacks, after `train` or in its place."""
        self.step += 1
        self.pipeline.train()
        self._run_callbacks(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        self.train_iteration(self.step)
        self._run_callbacks(TrainingCallbackLocation.AFTER_TRAIN_ITERATION)

    def _run_callbacks(self, location: TrainingCallbackLocation) -> None:
        for callback in self.callbacks:
            callback.run_callback_at_location(self.step, location=location)


def measured(trainer: type[Trainer]) -> type[MeasuredTrainer]:
    """The trainer of a registered configuration, measured."""
    return type(f"Measured{trainer.__name__}", (MeasuredTrainer, trainer), {})


def peak_memory_mb() -> float:
    """Largest resident set of this process so far, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
