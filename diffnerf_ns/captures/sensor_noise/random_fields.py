"""Seeded random images: white, or smooth over some pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def normal_like(image: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of unit deviation, shaped like `image`; drawn where the generator lives."""
    drawn = torch.randn(image.shape, generator=generator, device=generator.device, dtype=torch.float32)
    return drawn.to(device=image.device, dtype=image.dtype)


def uniform_like(image: Tensor, generator: torch.Generator, correlation_px: float = 1.0) -> Tensor:
    """Numbers in 0..1, evenly distributed; alike over `correlation_px` pixels if that is more than 1."""
    if correlation_px <= 1.0:
        drawn = torch.rand(image.shape, generator=generator, device=generator.device, dtype=torch.float32)
        return drawn.to(device=image.device, dtype=image.dtype)
    return 0.5 * (1.0 + torch.erf(smooth_like(image, generator, correlation_px) / math.sqrt(2.0)))


def smooth_like(image: Tensor, generator: torch.Generator, correlation_px: float) -> Tensor:
    """Normal noise [N, H, W] of unit deviation that changes over `correlation_px` pixels."""
    count, height, width = image.shape
    size = (count, 1, math.ceil(height / correlation_px) + 2, math.ceil(width / correlation_px) + 2)
    coarse = torch.randn(size, generator=generator, device=generator.device, dtype=torch.float32).to(image.device)
    rows, row_norm = _linear_weights(height, correlation_px, image.device)
    columns, column_norm = _linear_weights(width, correlation_px, image.device)
    fine = rows @ coarse[:, 0] @ columns.T
    return (fine / (row_norm[:, None] * column_norm[None, :])).to(image.dtype)


def _linear_weights(length: int, spacing: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Interpolation matrix [length, knots] and the deviation that it leaves of white noise, per row."""
    knots = math.ceil(length / spacing) + 2
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None] / spacing + 0.5
    weights = (1.0 - (position - torch.arange(knots, device=device)[None, :]).abs()).clamp_min(0.0)
    return weights, weights.square().sum(1).sqrt()


def blur(image: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of images [N, H, W]; the border is repeated."""
    if sigma_px <= 0:
        return image
    reach = max(1, math.ceil(3 * sigma_px))
    offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_px).square())
    kernel = kernel / kernel.sum()
    padded = functional.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]
