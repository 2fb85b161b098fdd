"""Per-frame scale and shift of the known depth: sensors warm up and refiners err, a little and alike over a frame.

The mean over all frames is held at the identity, so that the scene stays metric. Evaluation uses no known depth, so it
uses none of this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn
from torch.nn import Parameter


@dataclass
class DepthCalibrationConfig(InstantiateConfig):
    """How much the known depth of a frame may be off as a whole."""

    _target: type = field(default_factory=lambda: DepthCalibration)
    """Target class to instantiate."""
    enabled: bool = False
    """Whether every training frame's depth has a scale and a shift that are learnt with the field."""
    log_scale_sigma: float = 0.01
    """Standard deviation of a frame's scale, natural logarithm: 0.01 is one percent."""
    shift_sigma_m: float = 0.01
    """Standard deviation of a frame's shift, metres."""
    prior_mult: float = 1e-3
    """Weight of the mean squared scale and shift, counted in their standard deviations."""


class DepthCalibration(nn.Module):
    """Scale and shift per training frame, identity at the start and on average."""

    def __init__(self, config: DepthCalibrationConfig, num_frames: int, scene_units_per_metre: float) -> None:
        super().__init__()
        self.config = config
        self.scene_units_per_metre = scene_units_per_metre
        if config.enabled:
            self.in_sigmas = Parameter(torch.zeros(num_frames, 2))

    def forward(self, depth_z: Tensor, camera_indices: Tensor | None) -> Tensor:
        """Known z-depth [N, 1], scene units, of the training frames `camera_indices` [N, 1]; 0 stays missing."""
        if not self.config.enabled or camera_indices is None:
            return depth_z
        anchored = (self.in_sigmas - self.in_sigmas.mean(dim=0))[camera_indices[:, 0]]
        scale = torch.exp(self.config.log_scale_sigma * anchored[:, :1])
        shift = self.config.shift_sigma_m * self.scene_units_per_metre * anchored[:, 1:]
        return torch.where(depth_z > 0, (depth_z * scale + shift).clamp(min=0.0), 0.0)

    def get_param_groups(self, param_groups: dict[str, list[Parameter]]) -> None:
        """Adds what is learnt, if anything is."""
        if self.config.enabled:
            param_groups["depth_calibration"] = list(self.parameters())

    def get_loss_dict(self, loss_dict: dict[str, Any]) -> None:
        """Adds the prior."""
        if self.config.enabled:
            loss_dict["depth_calibration_prior"] = self.config.prior_mult * self.in_sigmas.square().mean()
