"""Exponential decay of a learning rate, without warm-up, as NeRF was published with."""

from __future__ import annotations

from dataclasses import dataclass, field

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass
class ExponentialScheduleConfig(SchedulerConfig):
    """A learning rate that falls by the same factor at every step."""

    _target: type = field(default_factory=lambda: ExponentialSchedule)
    """Target class to instantiate."""
    max_steps: int | None = None
    """Step at which it reaches its final share and stays; None for the trainer's max_num_iterations."""
    final_share: float = 0.1
    """Final learning rate as a share of the initial one."""


class ExponentialSchedule(Scheduler):
    """Builds the schedule. nerfstudio's own gives numpy floats, with which checkpoints do not load on torch >= 2.6."""

    config: ExponentialScheduleConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """The schedule as a factor on the initial learning rate."""
        final_share, max_steps = self.config.final_share, self.config.max_steps
        if max_steps is None:
            raise ValueError("schedule: max_steps is None, and this trainer does not fill it in; give a number")
        return LambdaLR(optimizer, lambda step: float(final_share ** min(1.0, step / max_steps)))
