"""Large images in overlapping tiles whose results are blended without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TilePlan:
    """Which windows of an image are looked at one by one, and how far they overlap."""

    height: int
    """Rows of the image, pixels; a multiple of `multiple`."""
    width: int
    """Columns of the image, pixels; a multiple of `multiple`."""
    tile_size: int
    """Longest side that is looked at in one piece, pixels."""
    overlap: int
    """Pixels that neighbouring tiles share at least."""
    multiple: int
    """Places and sizes of tiles are multiples of this many pixels."""

    def windows(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each tile; all of one size."""
        return [(rows, columns) for rows in self._spans(self.height) for columns in self._spans(self.width)]

    def _spans(self, length: int) -> list[slice]:
        size = min(length, max(self.multiple, self.tile_size // self.multiple * self.multiple))
        step = max(self.multiple, (size - self.overlap) // self.multiple * self.multiple)
        starts = [*range(0, length - size, step), length - size]
        return [slice(start, start + size) for start in starts]

    def feather(self, window: tuple[slice, slice], device: torch.device) -> Tensor:
        """Weight [h, w] of a tile: 1 inside, falling linearly towards sides that another tile continues."""
        rows = self._ramp(window[0], self.height, device)
        return rows[:, None] * self._ramp(window[1], self.width, device)[None, :]

    def _ramp(self, span: slice, length: int, device: torch.device) -> Tensor:
        size = span.stop - span.start
        width = max(1, min(self.overlap, size))
        position = torch.arange(size, dtype=torch.float32, device=device) + 0.5
        ones = torch.ones_like(position)
        rising = (position / width).clamp(max=1.0) if span.start > 0 else ones
        falling = ((size - position) / width).clamp(max=1.0) if span.stop < length else ones
        return torch.minimum(rising, falling)


def blend_tiles(plan: TilePlan, predict: Callable[[slice, slice], Tensor]) -> Tensor:
    """What a function says of each tile, blended to [N, C, height, width].

    Args:
        plan: the tiles.
        predict: gives [N, C, h, w] for the rows and columns of a tile.
    """
    windows = plan.windows()
    first = predict(*windows[0])
    if len(windows) == 1:
        return first
    total = first.new_zeros(*first.shape[:2], plan.height, plan.width)
    weights = first.new_zeros(plan.height, plan.width)
    for number, (rows, columns) in enumerate(windows):
        weight = plan.feather((rows, columns), first.device)
        total[..., rows, columns] += weight * (predict(rows, columns) if number else first)
        weights[rows, columns] += weight
    return total / weights


def batches(count: int, size: int) -> Iterator[range]:
    """Splits 0..count-1 into runs of at most that size."""
    return (range(first, min(first + size, count)) for first in range(0, count, size))
