"""Depth that is doubtful shows a training the way, and is held to loosely after that: where it was wrong, colour can
still tell; where colour tells nothing, things stay near it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor

from diffnerf_ns.depth_units import metres_from_scene, scene_from_metres, sensor_sigma_z_m


@dataclass
class DoubtfulDepthConfig(InstantiateConfig):
    """Which depth is doubtful, and for how long it counts like any other."""

    _target: type = field(default_factory=lambda: DoubtfulDepth)
    """Target class to instantiate."""
    least_sigma: float = 1.25
    """Standard deviation from which on a depth is doubtful, as a multiple of what a sensor's is at that depth."""
    until: float = 0.4
    """Share of the training during which doubtful depth counts like any other; 1 for all of it."""
    widening: float = 4.0
    """Factor on its standard deviation after that, when samples are no longer placed by it."""


class DoubtfulDepth:
    """Knows how far the training is, and which known depth counts for less."""

    def __init__(self, config: DoubtfulDepthConfig, scene_units_per_metre: float = 1.0) -> None:
        if config.widening < 1:
            raise ValueError(f"pipeline.model.doubtful-depth.widening is {config.widening}: give 1 or more")
        self.config, self.scene_units_per_metre = config, scene_units_per_metre
        self.share_done = 0.0

    def training_callback(self, attributes: TrainingCallbackAttributes) -> TrainingCallback:
        """Follows the trainer's steps."""
        trainer = attributes.trainer
        steps = None if trainer is None else trainer.config.max_num_iterations
        return TrainingCallback(
            where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
            update_every_num_iters=1,
            func=lambda step: self.start_step(step, steps),
        )

    def start_step(self, step: int, steps: int | None) -> None:
        """Notes that a training of so many steps, None for no end, is at that one."""
        self.share_done = step / steps if steps else 0.0

    def is_over(self, depth_z: Tensor, sigma_z: Tensor) -> Tensor:
        """Which known depth [N, 1] is doubtful and has had its time; it and its sigma [N, 1] are in scene units."""
        if self.share_done < self.config.until:
            return torch.zeros_like(depth_z, dtype=torch.bool)
        depth_z_m = metres_from_scene(depth_z, self.scene_units_per_metre)
        sensor_sigma_z = scene_from_metres(sensor_sigma_z_m(depth_z_m), self.scene_units_per_metre)
        return (depth_z > 0) & (sigma_z >= self.config.least_sigma * sensor_sigma_z)
