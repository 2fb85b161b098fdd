"""Errors of metric depth against exact or reference depth, per image and by region. Nothing is aligned or rescaled.

Regions are decided by what the sensor saw and by the truth, never by the prediction, so that methods can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DELTA_THRESHOLDS = {"delta_1.05": 1.05, "delta_1.25": 1.25, "delta_1.25^2": 1.25**2, "delta_1.25^3": 1.25**3}
"""Accuracy thresholds: the share of pixels whose depth is off by less than this factor."""

EDGE_JUMP = 0.05
"""Relative depth difference between adjacent pixels that makes an edge."""

EDGE_WIDTH = 2
"""Pixels to each side of such a jump that belong to the edge."""


@dataclass(frozen=True)
class DepthErrors:
    """Errors over the pixels where both depths are known. All are 0 where `count` is 0: look there first."""

    count: int
    """Pixels that were compared."""
    missing: int
    """Pixels whose truth is known and whose prediction is missing; they are in no other figure."""
    mae_m: float
    """Mean absolute error, metres."""
    rmse_m: float
    """Root of the mean squared error, metres."""
    abs_rel: float
    """Mean absolute error relative to the true depth."""
    log10: float
    """Mean absolute difference of the decimal logarithms."""
    deltas: dict[str, float]
    """Share of the pixels that are off by less than a factor, by threshold."""

    def as_dict(self, prefix: str = "") -> dict[str, float]:
        """The errors by name; empty where no pixel was compared, so that an average leaves this image out."""
        if not self.count:
            return {}
        errors = {"mae_m": self.mae_m, "rmse_m": self.rmse_m, "abs_rel": self.abs_rel, "log10": self.log10}
        return {f"{prefix}{name}": value for name, value in (errors | self.deltas).items()}


def depth_errors(predicted_m: Tensor, truth_m: Tensor, region: Tensor | None = None) -> DepthErrors:
    """Compares two depth maps of one direction (both z-depth, or both ray lengths).

    Args:
        predicted_m: metres, any shape; 0, negative, NaN or infinite where missing.
        truth_m: metres, the same shape; the same where unknown.
        region: pixels to look at, boolean; all by default.
    """
    if predicted_m.shape != truth_m.shape:
        raise ValueError(f"predicted_m is {tuple(predicted_m.shape)}, truth_m {tuple(truth_m.shape)}")
    asked = _known(truth_m) if region is None else _known(truth_m) & region
    compared = asked & _known(predicted_m)
    count = int(compared.sum())
    missing = int(asked.sum()) - count
    if not count:
        return DepthErrors(0, missing, 0.0, 0.0, 0.0, 0.0, dict.fromkeys(DELTA_THRESHOLDS, 0.0))
    predicted, truth = predicted_m[compared].double(), truth_m[compared].double()
    error = (predicted - truth).abs()
    factor = torch.maximum(predicted / truth, truth / predicted)
    return DepthErrors(
        count=count,
        missing=missing,
        mae_m=error.mean().item(),
        rmse_m=error.square().mean().sqrt().item(),
        abs_rel=(error / truth).mean().item(),
        log10=(predicted.log10() - truth.log10()).abs().mean().item(),
        deltas={name: (factor < bound).double().mean().item() for name, bound in DELTA_THRESHOLDS.items()},
    )


def depth_errors_by_region(predicted_m: Tensor, truth_m: Tensor, sensor_m: Tensor) -> dict[str, DepthErrors]:
    """Errors over all pixels, where the sensor measured ("observed"), where it did not ("hole"), and at depth edges
    of the truth ("edge", which overlaps with the other two).

    Args:
        predicted_m: z-depth [height, width], metres, 0 where missing.
        truth_m: exact or reference z-depth [height, width], metres, 0 where unknown.
        sensor_m: what the sensor measured [height, width], metres, 0 where missing.
    """
    observed = _known(sensor_m)
    regions = {"all": None, "observed": observed, "hole": ~observed, "edge": depth_edges(truth_m)}
    return {name: depth_errors(predicted_m, truth_m, region) for name, region in regions.items()}


def depth_edges(depth_m: Tensor) -> Tensor:
    """Pixels [height, width] near a jump between adjacent known depths."""
    size = 2 * EDGE_WIDTH - 1
    return F.max_pool2d(depth_jumps(depth_m)[None, None].float(), size, stride=1, padding=EDGE_WIDTH - 1)[0, 0] > 0


def depth_jumps(depth_m: Tensor) -> Tensor:
    """The pixels [height, width] on both sides of a jump between adjacent known depths."""
    jumps = torch.zeros_like(depth_m, dtype=torch.bool)
    for axis in (0, 1):
        jump = jumps_along(depth_m, axis)
        jumps.narrow(axis, 0, jump.shape[axis]).logical_or_(jump)
        jumps.narrow(axis, 1, jump.shape[axis]).logical_or_(jump)
    return jumps


def jumps_along(depth_m: Tensor, axis: int) -> Tensor:
    """Whether depth jumps between each pixel and the next along an axis, both known: one less than pixels there."""
    length = depth_m.shape[axis] - 1
    first, second = depth_m.narrow(axis, 0, length), depth_m.narrow(axis, 1, length)
    return _known(first) & _known(second) & ((first - second).abs() > EDGE_JUMP * torch.minimum(first, second))


def _known(depth_m: Tensor) -> Tensor:
    return torch.isfinite(depth_m) & (depth_m > 0)
