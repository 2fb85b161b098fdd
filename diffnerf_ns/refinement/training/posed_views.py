"""What one pass over a data source gives: views with sensor depth, true depth, and what the other views say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

MAPS = ("image", "sensor_z_m", "truth_z_m", "weight", "fused_z_m", "support", "violations")
"""Fields of `PosedViews` that have a value for each pixel [..., H, W]."""


@dataclass(frozen=True)
class PosedViews:
    """V views of H x W pixels. Depths are z-depths in metres, 0 where missing."""

    image: Tensor
    """Colour [V, 3, H, W], 0..1."""
    sensor_z_m: Tensor
    """What the sensor measured [V, H, W]."""
    truth_z_m: Tensor
    """Exact or reference depth [V, H, W], 0 where unknown."""
    weight: Tensor
    """How far the truth counts in the loss [V, H, W], 0..1; 0 where it is unknown."""
    fused_z_m: Tensor
    """What the posed views agree on [V, H, W]; all 0 for single images."""
    support: Tensor
    """Number of other views that agree [V, H, W]."""
    violations: Tensor
    """Number of other views that look through [V, H, W]."""
    intrinsics: Tensor
    """Pinhole matrices [V, 3, 3], pixels; (0, 0) is the first pixel's corner. A mirrored view has a negative fx."""
    camera_to_world: Tensor
    """Exact poses [V, 4, 4], metres, OpenGL axes."""

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> PosedViews:
        return PosedViews(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def __getitem__(self, index: slice | Tensor) -> PosedViews:
        return PosedViews(*(getattr(self, field.name)[index] for field in fields(self)))

    def with_maps(self, change: Callable[[Tensor], Tensor]) -> PosedViews:
        """The views with each of their maps [..., H, W] changed alike; their cameras are left as they are."""
        return replace(self, **{name: change(getattr(self, name)) for name in MAPS})


def joined(parts: list[PosedViews]) -> PosedViews:
    """All views of several passes, in order; they must be of one size."""
    return PosedViews(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(PosedViews)))


class ViewSource(Protocol):
    """Gives views by number."""

    def views(self, number: int) -> PosedViews:
        """The views of a pass: a pure function of the source's settings and the number."""
        ...
