"""Per-image exposure: every training image may be a little brighter or tinted, and the mean of all is left as it is.

A camera that chooses its exposure chooses it by where it looks, so neighbouring views share it. Other views are shown
with the mean of their neighbours' exposures, far from all training views with none: that takes their pose, and none of
their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn
from torch.nn import Parameter


@dataclass
class ExposureConfig(InstantiateConfig):
    """How much the brightness and the tint of training images may differ."""

    _target: type = field(default_factory=lambda: Exposure)
    """Target class to instantiate."""
    enabled: bool = True
    """Whether every training image has a gain and a bias per colour channel."""
    l2_penalty: float = 1e-2
    """Penalty on squared gains (natural logarithm) and squared biases (colours in [0, 1])."""


class Exposure(nn.Module):
    """Gain and bias per training image and colour channel, identity at the start.

    The mean over all images is held at the identity, so that the field's colours are those of the mean image.
    """

    def __init__(self, config: ExposureConfig, num_images: int) -> None:
        super().__init__()
        self.config = config
        if config.enabled:
            self.log_gain_and_bias = Parameter(torch.zeros(num_images, 2, 3))

    def forward(self, rgb: Tensor, camera_indices: Tensor | None) -> Tensor:
        """Colours [N, 3] of the field as the training images `camera_indices` [N, 1] show them."""
        if not self.config.enabled or camera_indices is None:
            return rgb
        return _exposed(rgb, self._anchored()[camera_indices[:, 0]])

    @torch.no_grad()
    def of_neighbours(self, rgb: Tensor, nearness: Tensor) -> Tensor:
        """Colours [..., 3] of the field as training images of a similar pose show them.

        Args:
            rgb: colours of the field.
            nearness: [1, N] weights of the training images.
        """
        if not self.config.enabled:
            return rgb
        return _exposed(rgb, torch.einsum("mn,nij->mij", nearness, self._anchored())).clamp(0.0, 1.0)

    def _anchored(self) -> Tensor:
        return self.log_gain_and_bias - self.log_gain_and_bias.mean(dim=0)

    def get_param_groups(self, param_groups: dict[str, list[Parameter]]) -> None:
        """Adds what is learnt, if anything is."""
        if self.config.enabled:
            param_groups["exposure"] = list(self.parameters())

    def get_loss_dict(self, loss_dict: dict[str, Any]) -> None:
        """Adds the penalty."""
        if self.config.enabled:
            loss_dict["exposure_penalty"] = self.config.l2_penalty * self.log_gain_and_bias.square().mean()


def _exposed(rgb: Tensor, log_gain_and_bias: Tensor) -> Tensor:
    """Colours [..., 3] with gains and biases [N or 1, 2, 3]."""
    return rgb * torch.exp(log_gain_and_bias[:, 0]) + log_gain_and_bias[:, 1]
