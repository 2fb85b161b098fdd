"""How many rays a training step takes: few at first, as many as a time or memory target allows, fewer after memory has
run out."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

LARGEST_GROWTH, LARGEST_SHRINKAGE = 1.5, 0.5
"""Bounds on one change, as factors on the number of rays."""
TOLERANCE = 0.03
"""Relative distance from the target within which nothing changes."""
SHARE_OF_A_FAILURE = 0.8
"""Once memory has run out, batches stay below this share of the batch that did not fit."""


@dataclass
class RaysPerBatchConfig:
    """Rays per training step. Without a target they come to the data manager's number, unless memory runs out."""

    first_rays: int | None = None
    """Rays of the first step, which double in equal intervals until they are all: early steps learn as much from a few,
    in less time. None for all rays from the start; not used with a target."""
    growth_share: float = 0.15
    """Share of training after which a step takes all rays."""
    target_step_seconds: float | None = None
    """Wall time of a training step to aim for, in seconds; None for any."""
    target_memory_gib: float | None = None
    """Peak memory to aim for, in GiB: allocated on the GPU, or resident on a CPU under Linux; None for any."""
    min_rays: int = 256
    """Fewest rays of a step; where these run out of memory, training ends."""
    max_rays: int = 1 << 17
    """Most rays of a step that a target can ask for."""
    steps_between_changes: int = 10
    """Training steps whose median decides about the next change."""

    def has_target(self) -> bool:
        """True where the number of rays is to follow a target."""
        return self.target_step_seconds is not None or self.target_memory_gib is not None


@dataclass
class RaysPerBatch:
    """Decides about the number of rays from what steps have taken. Knows no trainer and no device."""

    config: RaysPerBatchConfig
    ceiling: int | None = None
    """Most rays since memory ran out; None if it never has."""
    _seconds: list[float] = field(default_factory=list)
    _gib: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        first, share = self.config.first_rays, self.config.growth_share
        if first is not None and first < 1:
            raise ValueError(f"rays-per-batch.first-rays is {first}: give 1 or more, or None for all from the start")
        if not 0 <= share <= 1:
            raise ValueError(f"rays-per-batch.growth-share is {share}: give a share of training between 0 and 1")

    def planned(self, step: int, steps: int, all_rays: int) -> int:
        """Rays of a step, the first of which is 0, of a training of so many steps that comes to `all_rays`."""
        first = min(self.config.first_rays or all_rays, all_rays)
        if self.config.has_target() or first == all_rays:
            return all_rays
        doublings = math.ceil(math.log2(all_rays / first))
        interval = max(1.0, steps * self.config.growth_share / doublings)
        return min(all_rays, first << min(doublings, int(step / interval)))

    def after_step(self, num_rays: int, seconds: float, peak_gib: float | None) -> int:
        """The next number of rays, after a step of `num_rays` rays that took `seconds` and, at its peak, `peak_gib`."""
        if not self.config.has_target():
            return num_rays
        self._seconds.append(seconds)
        self._gib.append(0.0 if peak_gib is None else peak_gib)
        if len(self._seconds) < self.config.steps_between_changes:
            return num_rays
        factor = self._wanted_factor()
        self._seconds.clear()
        self._gib.clear()
        if abs(factor - 1.0) <= TOLERANCE:
            return num_rays
        return self.within_bounds(round(num_rays * min(max(factor, LARGEST_SHRINKAGE), LARGEST_GROWTH)))

    def after_running_out(self, num_rays: int) -> int | None:
        """Half of the rays that did not fit, or None where that would be fewer than `min_rays`."""
        if num_rays // 2 < self.config.min_rays:
            return None
        self.ceiling = int(num_rays * SHARE_OF_A_FAILURE)
        self._seconds.clear()
        self._gib.clear()
        return num_rays // 2

    def within_bounds(self, num_rays: int) -> int:
        """The nearest number of rays that settings and earlier failures allow."""
        most = self.config.max_rays if self.ceiling is None else min(self.config.max_rays, self.ceiling)
        return max(self.config.min_rays, min(num_rays, most))

    def _wanted_factor(self) -> float:
        """Time and memory are taken to grow with rays; of two targets the one that asks for fewer rays counts."""
        config = self.config
        factors = []
        if config.target_step_seconds is not None:
            factors.append(config.target_step_seconds / max(statistics.median(self._seconds), 1e-9))
        if config.target_memory_gib is not None:
            factors.append(config.target_memory_gib / max(statistics.median(self._gib), 1e-9))
        return min(factors)
