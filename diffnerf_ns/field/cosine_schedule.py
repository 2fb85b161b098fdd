"""Learning rate: a linear warm-up, then a cosine to its final share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass
class WarmCosineScheduleConfig(SchedulerConfig):
    """A warm-up followed by a cosine decay."""

    _target: type = field(default_factory=lambda: WarmCosineSchedule)
    """Target class to instantiate."""
    warmup_steps: int = 20
    """Steps over which the learning rate rises from nothing; at most a tenth of max_steps."""
    max_steps: int | None = None
    """Step at which it reaches its final share and stays; None for the trainer's max_num_iterations."""
    final_share: float = 0.02
    """Final learning rate as a share of the initial one."""
    delay_steps: int = 0
    """Steps before the warm-up during which the learning rate is zero."""


class WarmCosineSchedule(Scheduler):
    """Builds the schedule. Factors are Python floats: numpy's keep checkpoints from loading on torch >= 2.6."""

    config: WarmCosineScheduleConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """The schedule as a factor on the initial learning rate."""
        config, max_steps = self.config, self.config.max_steps
        if max_steps is None:
            raise ValueError("schedule: max_steps is None, and this trainer does not fill it in; give a number")
        warmup_steps = max(1, min(config.warmup_steps, max_steps // 10))

        def factor(step: int) -> float:
            since = step - config.delay_steps
            if since < 0:
                return 0.0
            warm = min(1.0, (since + 1) / warmup_steps)
            progress = min(1.0, since / max(1, max_steps - config.delay_steps))
            return float(
                warm * (config.final_share + (1.0 - config.final_share) * 0.5 * (1.0 + math.cos(math.pi * progress)))
            )

        return LambdaLR(optimizer, lr_lambda=factor)
