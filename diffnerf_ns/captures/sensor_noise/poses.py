"""Errors of camera poses."""

from __future__ import annotations

import torch
from torch import Tensor


def pose_drift(
    camera_to_world: Tensor, drift_m: float, drift_degrees: float, generator: torch.Generator, period: int = 40
) -> Tensor:
    """Poses [N, 4, 4] (camera-to-world, metres) that wander slowly off, the first one unchanged.

    Offsets are smooth over about `period` frames with deviations of `drift_m` per axis (0.005 to 0.01 for
    visual-inertial and KinectFusion-like tracking: Sturm et al., TUM RGB-D, 2012) and `drift_degrees` per axis.
    """
    count = len(camera_to_world)
    knots = torch.randn(count // period + 3, 6, generator=generator, device=generator.device, dtype=torch.float64)
    time = torch.arange(count, dtype=torch.float64, device=generator.device) / period
    index = time.long()
    share = (time - index)[:, None]
    eased = 0.5 - 0.5 * torch.cos(torch.pi * share)
    wander = knots[index] * eased.neg().add(1.0) + knots[index + 1] * eased
    wander = ((wander - wander[:1]) / 2**0.5).to(camera_to_world)
    result = camera_to_world.clone()
    angles = torch.deg2rad(wander[:, 3:] * drift_degrees)
    result[:, :3, :3] = torch.linalg.matrix_exp(_cross_matrices(angles)) @ camera_to_world[:, :3, :3]
    result[:, :3, 3] += wander[:, :3] * drift_m
    return result


def _cross_matrices(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
