"""What cameras do to colour: exposure, contrast, gamma, blur and noise."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.captures.sensor_noise.random_fields import blur


def degrade_colour(image: Tensor, generator: torch.Generator) -> Tensor:
    """Changes images [V, 3, H, W], 0..1: brightness by +-0.15, contrast, gamma, blur up to 0.8 px, noise up to 0.04.

    The camera's settings are alike in all views up to a fifth; half of the clips are not blurred.
    """
    brightness, contrast, gamma, noise = _per_view(len(image), generator, image.device).unbind(1)
    blurred = _uniform((1,), generator, image.device).item() * 1.6 - 0.8
    image = (image + 1e-4).pow(torch.exp(0.35 * gamma)[:, None, None, None])
    image = (image - 0.5) * torch.exp(0.3 * contrast)[:, None, None, None] + 0.5
    image = image + 0.15 * brightness[:, None, None, None]
    if blurred > 0.1:
        image = blur(image.flatten(0, 1), blurred).view_as(image)
    drawn = torch.randn(image.shape, generator=generator, device=generator.device).to(image.device)
    return (image + 0.02 * (1.0 + noise)[:, None, None, None] * drawn).clamp(0.0, 1.0)


def _per_view(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """[count, 4] numbers in -1..1."""
    shared = 2.0 * _uniform((1, 4), generator, device) - 1.0
    own = 2.0 * _uniform((count, 4), generator, device) - 1.0
    return 0.8 * shared + 0.2 * own


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(device)
