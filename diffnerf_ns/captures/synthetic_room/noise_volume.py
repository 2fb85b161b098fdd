"""A periodic volume of fractal noise, looked up by trilinear interpolation: the grain of every procedural texture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

CELLS = 64
_SEED = 20240611


@lru_cache(maxsize=8)
def _volume(device: torch.device) -> Tensor:
    """[1, 2, 65, 65, 65] with unit deviation: channel 0 is smooth (pink) noise, channel 1 fine-grained."""
    white = np.random.default_rng(_SEED).standard_normal((CELLS, CELLS, CELLS))
    axis = np.fft.fftfreq(CELLS) * CELLS
    radius = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij")))
    radius[0, 0, 0] = np.inf
    spectrum = np.fft.fftn(white)
    channels = []
    for amplitude in (
        np.where(radius < 28, radius**-2.1, 0.0),
        np.where((radius > 6) & (radius < 20), radius**-1.3, 0.0),
    ):
        values = np.real(np.fft.ifftn(spectrum * amplitude))
        channels.append(np.pad(values / values.std(), (0, 1), mode="wrap"))
    return torch.tensor(np.stack(channels)[None], dtype=torch.float32, device=device)


def noise(points: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth and fine noise [M] at points [M, 3]; it repeats with period 1 and is normal with unit deviation."""
    volume = _volume(points.device)
    wrapped = (points - points.floor()) * 2.0 - 1.0
    values = torch.nn.functional.grid_sample(
        volume, wrapped[None, None, None], align_corners=True, padding_mode="border"
    )
    return values[0, 0, 0, 0], values[0, 1, 0, 0]


def hashed(*integers: Tensor) -> Tensor:
    """A number in 0..1 that looks random, for (small) whole numbers."""
    factors = (12.9898, 78.233, 37.719)
    mixed = torch.zeros_like(integers[0])
    for value, factor in zip(integers, factors, strict=False):
        mixed = mixed + value * factor
    wave = torch.sin(mixed) * 43758.547
    return wave - wave.floor()
