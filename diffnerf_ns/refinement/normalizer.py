"""Depth as the diffusion model sees it: how far a pixel is from a first guess, compressed so that errors of millimetres
and of metres both fit; and the channels that the model is conditioned on.

All depths are z-depths in metres, tensors [N, H, W], 0 where missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.cpu_features import compiles_for

DETAIL_RADII = (2, 8, 32)
"""Neighbourhoods, in pixels to each side, against which the first guess shows its relief."""

SURFACE_RADIUS = 2
"""Neighbourhood, in pixels to each side, whose nearest and farthest depth the model is shown: the surfaces that meet at
an edge."""

DISAGREEMENT_RADIUS = 8
"""Neighbourhood, in pixels to each side, over which sensor and other views are compared."""

LARGEST_DISAGREEMENT = 0.05
"""Share of the depth by which they differ at most in that comparison: more is another surface."""

SMALLEST_DISAGREEMENT_M = 1e-6
"""What their difference is where they agree, metres."""

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (down, right) to the eight pixels around one."""

REFERENCE_Z_M = 2.0
"""Depth whose logarithm is 0 to the model, metres."""

CANDIDATE_REACHES = (1, 3, 9)
"""Distances, in pixels along rows, columns and diagonals, of the first guesses that a pixel may take over."""

CONTEXT_CHANNELS = 12 + len(DETAIL_RADII)
"""Channels of `condition_channels` that describe a pixel."""

CANDIDATE_CHANNELS = 2 + 8 * len(CANDIDATE_REACHES)
"""Channels of `condition_channels` that hold codes of depths which the pixel may have: the last ones."""

CONDITION_CHANNELS = CONTEXT_CHANNELS + CANDIDATE_CHANNELS
"""Channels of `condition_channels`."""


@dataclass(frozen=True)
class ResidualCode:
    """Codes depth as u = gain * asinh(log(depth / base) / scale), which is dimensionless and about -limit..limit."""

    scale: float = 0.004
    """Relative difference to the base below which the code is linear."""
    gain: float = 0.4
    """Factor that brings typical codes near 1."""
    limit: float = 2.5
    """Largest code; with the other defaults a depth of 0.35 or 2.8 times the base."""

    def encode(self, depth_z_m: Tensor, base_z_m: Tensor) -> Tensor:
        """The code of a depth; 0 where it is missing."""
        known = depth_z_m > 0
        ratio = torch.where(known, depth_z_m, base_z_m) / base_z_m
        return (self.gain * torch.asinh(torch.log(ratio) / self.scale)).clamp(-self.limit, self.limit)

    def decode(self, code: Tensor, base_z_m: Tensor) -> Tensor:
        """The depth of a code, metres."""
        return base_z_m * torch.exp(self.scale * torch.sinh(code / self.gain))


def base_depth(sensor_z_m: Tensor, fused_z_m: Tensor | None = None) -> Tensor:
    """The first guess, known everywhere: what the views agree on, else what the sensor says, else what surrounds it.

    Args:
        sensor_z_m: sensor depth [N, H, W], metres.
        fused_z_m: depth fused from posed views [N, H, W], metres; None for single images.
    """
    guess = sensor_z_m if fused_z_m is None else torch.where(fused_z_m > 0, fused_z_m, sensor_z_m)
    return fill_missing(guess)


def span_of_opinions(sensor_z_m: Tensor, fused_z_m: Tensor | None) -> tuple[Tensor, Tensor]:
    """Least and largest depth that sensor and other views speak for, metres; 0 and infinity where one is silent.

    Arguments as in `base_depth`.
    """
    if fused_z_m is None:
        return torch.zeros_like(sensor_z_m), torch.full_like(sensor_z_m, math.inf)
    silent = (sensor_z_m <= 0) | (fused_z_m <= 0)
    low = torch.minimum(sensor_z_m, fused_z_m).masked_fill(silent, 0.0)
    high = torch.maximum(sensor_z_m, fused_z_m).masked_fill(silent, math.inf)
    return low, high


def local_disagreement(sensor_z_m: Tensor, fused_z_m: Tensor | None) -> Tensor:
    """Mean difference of sensor and other views around each pixel, metres: how well sensor and poses are.

    Where they do not meet anywhere near it is the image's mean, and 0 in images where they never do. Differences at
    edges count little. Arguments as in `base_depth`.
    """
    if fused_z_m is None:
        return torch.zeros_like(sensor_z_m)
    both = ((sensor_z_m > 0) & (fused_z_m > 0)).to(sensor_z_m.dtype)
    difference = torch.minimum((sensor_z_m - fused_z_m).abs(), LARGEST_DISAGREEMENT * sensor_z_m) * both
    share = _box_mean(both, DISAGREEMENT_RADIUS)
    near = _box_mean(difference, DISAGREEMENT_RADIUS) / share.clamp(min=1e-6)
    met = both.sum(dim=(1, 2), keepdim=True)
    mean = torch.where(share > 0, near, difference.sum(dim=(1, 2), keepdim=True) / met.clamp(min=1.0))
    return torch.where(met > 0, mean.clamp(min=SMALLEST_DISAGREEMENT_M), 0.0)


def fill_missing(depth_z_m: Tensor) -> Tensor:
    """Fills missing depth from the nearest pixel that has any (jump flooding); 2 m in an image without any depth."""
    if compiles_for(depth_z_m.device.type):
        return _fill_missing_compiled(depth_z_m)
    height, width = depth_z_m.shape[1:]
    image, row, column = (index.int() for index in (depth_z_m <= 0).nonzero().unbind(1))
    if len(row) == 0:
        return depth_z_m
    missing = (image * height + row) * width + column
    places = torch.arange(height * width, dtype=torch.int32, device=row.device).repeat(len(depth_z_m))
    far = 4 * (height + width)
    known = depth_z_m.flatten() > 0
    # Row and column of the nearest pixel with depth, as far as is known: of each pixel, and of those without depth.
    nearest_row, nearest_column = torch.where(known, places // width, -far), torch.where(known, places % width, -far)
    best_row, best_column = torch.full_like(row, -far), torch.full_like(row, -far)
    distance = (best_row - row).square() + (best_column - column).square()
    step = 2 ** max(0, (max(height, width) - 1).bit_length() - 1)
    while step >= 1:
        seen_rows = {down: (image * height + (row - down * step) % height) * width for down in (-1, 0, 1)}
        seen_columns = {right: (column - right * step) % width for right in (-1, 0, 1)}
        for down, right in NEIGHBOURS:
            seen = seen_rows[down] + seen_columns[right]
            other_row, other_column = nearest_row.index_select(0, seen), nearest_column.index_select(0, seen)
            other_distance = (other_row - row).square() + (other_column - column).square()
            nearer = other_distance < distance
            best_row, best_column = (
                torch.where(nearer, other_row, best_row),
                torch.where(nearer, other_column, best_column),
            )
            distance = torch.where(nearer, other_distance, distance)
            nearest_row[missing], nearest_column[missing] = best_row, best_column
        step //= 2
    source = ((image * height + best_row) * width + best_column).clamp(min=0)
    filled = depth_z_m.flatten().clone()
    filled[missing] = torch.where(best_row >= 0, filled[source], REFERENCE_Z_M)
    return filled.view_as(depth_z_m)


def _fill_missing_compiled(depth_z_m: Tensor) -> Tensor:
    """The same on a CPU, in a fraction of the time."""
    from diffnerf_ns.refinement import fill_missing_numba

    filled = torch.empty_like(depth_z_m, memory_format=torch.contiguous_format)
    for given, result in zip(depth_z_m.contiguous().numpy(), filled.numpy(), strict=True):
        fill_missing_numba.fill(given, np.array(NEIGHBOURS), REFERENCE_Z_M, result)
    return filled


def span_around(depth_z_m: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The least and the largest depth within so many pixels of each, both [N, H, W]."""
    return -_largest_around(-depth_z_m, radius), _largest_around(depth_z_m, radius)


def _largest_around(values: Tensor, radius: int) -> Tensor:
    size = 2 * radius + 1
    columns = F.max_pool2d(values[:, None], (size, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(columns, (1, size), stride=1, padding=(0, radius))[:, 0]


def condition_channels(
    code: ResidualCode,
    image: Tensor,
    sensor_z_m: Tensor,
    base_z_m: Tensor,
    fused_z_m: Tensor | None = None,
    support: Tensor | None = None,
    violations: Tensor | None = None,
) -> Tensor:
    """What the model knows of each pixel, [N, CONDITION_CHANNELS, H, W].

    Args:
        code: how depth differences are coded.
        image: colour [N, 3, H, W], 0..1; all 0.5 where it is not to be used.
        sensor_z_m: sensor depth, metres.
        base_z_m: from `base_depth`, metres.
        fused_z_m: depth fused from posed views, metres; None for single images.
        support: number of other views that agree with it.
        violations: number of other views that look through it.
    """
    nothing = torch.zeros_like(sensor_z_m)
    valid = (sensor_z_m > 0).to(base_z_m.dtype)
    log_base = torch.log(base_z_m)
    sensor_code = code.encode(fill_missing(sensor_z_m), base_z_m)
    channels = [
        log_base - math.log(REFERENCE_Z_M),
        sensor_code,
        valid,
        _box_mean(valid, 8),
        nothing if fused_z_m is None else (fused_z_m > 0).to(base_z_m.dtype),
        nothing if support is None else 0.5 * torch.log1p(support),
        nothing if violations is None else 0.5 * torch.log1p(violations),
    ]
    nearest, farthest = span_around(base_z_m, SURFACE_RADIUS)
    channels += [code.encode(nearest, base_z_m), code.encode(farthest, base_z_m)]
    for radius in DETAIL_RADII:
        relief = torch.asinh((log_base - _box_mean(log_base, radius)) / code.scale)
        channels.append((code.gain * relief).clamp(-code.limit, code.limit))
    channels += [nothing, sensor_code, *_neighbour_codes(code, log_base)]
    return torch.cat([2.0 * image - 1.0, torch.stack(channels, dim=1)], dim=1)


def _neighbour_codes(code: ResidualCode, log_base: Tensor) -> list[Tensor]:
    """Codes [N, H, W] of the first guesses around each pixel, relative to its own; its own beyond the border."""
    reach = max(CANDIDATE_REACHES)
    padded = F.pad(log_base[:, None], (reach,) * 4, mode="replicate")[:, 0]
    height, width = log_base.shape[-2:]
    codes = []
    for distance in CANDIDATE_REACHES:
        for down, right in NEIGHBOURS:
            row, column = reach + down * distance, reach + right * distance
            shifted = padded[:, row : row + height, column : column + width]
            relative = torch.asinh((shifted - log_base) / code.scale)
            codes.append((code.gain * relative).clamp(-code.limit, code.limit))
    return codes


def _box_mean(values: Tensor, radius: int) -> Tensor:
    """Mean over the window [2 radius + 1]^2 around each pixel, over the part of it that lies inside the image."""
    size = 2 * radius + 1
    columns = F.avg_pool2d(values[:, None], (size, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, size), stride=1, padding=(0, radius), count_include_pad=False)[:, 0]
