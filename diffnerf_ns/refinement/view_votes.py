"""What other views' measurements say of a surface, or of what a view measured: agreement, and looking through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement.tsdf import pixel_rays

MOST_VOTERS = 16
"""Views that vote on each one, at most, chosen by overlap."""

MOST_CONFIRMING = 1
"""A measurement that more views than this confirm stays, however many look through it."""

AGREEING_SIGMAS = 3.0
"""Sensor sigmas within which two measurements mean one surface."""

AGREEING_SHARE = 0.015
"""Share of the depth within which they do in any case."""

CLEARLY_BEHIND = 2.0
"""How many such tolerances behind a point a view must measure to have looked through it."""

OVERLAP_DEPTHS_M = (1.0, 2.0, 4.0)
"""Depths at which the overlap of two views is probed."""

LEAST_OVERLAP = 0.3
"""Share of such probes that two views of one thing have in common at least."""


def tolerance_m(depth_z_m: Tensor) -> Tensor:
    """Largest difference, metres, between measurements of one surface at this z-depth."""
    return torch.maximum(AGREEING_SIGMAS * sensor_sigma_z_m(depth_z_m), AGREEING_SHARE * depth_z_m)


class Voter(NamedTuple):
    """A view that is asked about surfaces."""

    depth_z_m: Tensor
    """What it measured [height, width], metres, 0 where missing."""
    nearest_z_m: Tensor
    """Nearest measured depth among each pixel and its eight neighbours, metres; infinite where there is none."""
    intrinsics: Tensor
    """[3, 3], pixels; (0, 0) is the first pixel's corner."""
    camera_to_world: Tensor
    """[4, 4], metres, OpenGL axes."""


def voters_of(depth_z_m: Sequence[Tensor] | Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> list[Voter]:
    """The views as voters; arguments as in `without_contradicted`."""
    views = zip(depth_z_m, intrinsics, camera_to_world, strict=True)
    return [Voter(depth, _nearest_around(depth), matrix, pose) for depth, matrix, pose in views]


def count_votes(
    surface_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor, others: Sequence[Voter]
) -> tuple[Tensor, Tensor]:
    """How many other views agree with a surface, and how many look through it; each [height, width].

    Args:
        surface_z_m: the surface's z-depth [height, width] in this view, metres, 0 where there is none.
        intrinsics: [3, 3], pixels; (0, 0) is the first pixel's corner.
        camera_to_world: [4, 4], metres, OpenGL axes.
        others: the other views.
    """
    height, width = surface_z_m.shape
    known = surface_z_m.reshape(-1) > 0
    points = (pixel_rays(height, width, intrinsics) * surface_z_m[..., None]).reshape(-1, 3)
    support, violations = points.new_zeros(2, height * width)
    for depth_z_m, nearest_z_m, other_intrinsics, other_pose in others:
        z, pixel = _project(points, camera_to_world, depth_z_m.shape, other_intrinsics, other_pose)
        inside = (pixel >= 0) & known
        pixel = pixel.clamp_min(0)
        measured = depth_z_m.reshape(-1)[pixel]
        nearest = nearest_z_m.reshape(-1)[pixel]
        seen = inside & (measured > 0)
        tolerance = tolerance_m(z)
        support += seen & ((measured - z).abs() <= tolerance)
        violations += seen & (nearest - z > CLEARLY_BEHIND * tolerance)
    return support.view(height, width), violations.view(height, width)


def without_contradicted(
    depth_z_m: Sequence[Tensor] | Tensor, intrinsics: Tensor, camera_to_world: Tensor
) -> list[Tensor]:
    """Depth [height, width] of each view, 0 also where hardly any view confirms what it measured and more look through.

    Depth that bleeds over edges and pixels that fly between two surfaces are found by that: they are where nothing is.

    Args:
        depth_z_m: sensor z-depth [height, width] of each view, metres, 0 where missing; sizes may differ.
        intrinsics: [views, 3, 3], pixels; (0, 0) is the first pixel's corner.
        camera_to_world: [views, 4, 4], metres, OpenGL axes.
    """
    sizes = [(depth.shape[0], depth.shape[1]) for depth in depth_z_m]
    voters = voters_of(depth_z_m, intrinsics, camera_to_world)
    kept = []
    for view, depth in enumerate(depth_z_m):
        overlapping = overlapping_views(intrinsics, camera_to_world, sizes, view, MOST_VOTERS)
        others = [voters[other] for other in overlapping]
        support, violations = count_votes(depth, intrinsics[view], camera_to_world[view], others)
        contradicted = (support <= MOST_CONFIRMING) & (violations > support)
        kept.append(torch.where(contradicted, 0.0, depth))
    return kept


def overlapping_views(
    intrinsics: Tensor, camera_to_world: Tensor, sizes: Sequence[tuple[int, int]], index: int, most: int
) -> list[int]:
    """Up to `most` other views that overlap with view `index`, spread from much to little overlap; from poses alone.

    Args:
        intrinsics: [views, 3, 3], pixels.
        camera_to_world: [views, 4, 4], metres, OpenGL axes.
        sizes: height and width of each view, pixels.
        index: whose neighbours are wanted.
        most: how many at most.
    """
    height, width = sizes[index]
    rays = pixel_rays(5, 5, intrinsics[index] * intrinsics.new_tensor([[5 / width], [5 / height], [1.0]]))
    probes = torch.cat([rays.reshape(-1, 3) * depth for depth in OVERLAP_DEPTHS_M])
    pose = camera_to_world[index]
    world = probes @ pose[:3, :3].T + pose[:3, 3]
    local = torch.einsum("vpk,vkj->vpj", world - camera_to_world[:, None, :3, 3], camera_to_world[:, :3, :3])
    z = (-local[..., 2]).clamp_min(1e-6)
    column = local[..., 0] / z * intrinsics[:, None, 0, 0] + intrinsics[:, None, 0, 2]
    row = -local[..., 1] / z * intrinsics[:, None, 1, 1] + intrinsics[:, None, 1, 2]
    limits = intrinsics.new_tensor(sizes)
    inside = (column >= 0) & (column < limits[:, 1:]) & (row >= 0) & (row < limits[:, :1]) & (z > 0.05)
    overlap = inside.float().mean(1)
    overlap[index] = 0
    order = torch.argsort(-overlap, stable=True)
    candidates = order[overlap[order] >= LEAST_OVERLAP].tolist()
    if len(candidates) <= most:
        return candidates
    return [candidates[step * len(candidates) // most] for step in range(most)]


def _project(
    points: Tensor, pose: Tensor, size: torch.Size, other_intrinsics: Tensor, other_pose: Tensor
) -> tuple[Tensor, Tensor]:
    """z-depth of the points [n, 3] of one camera in another, and the pixel they fall on there; -1 outside."""
    rotation = other_pose[:3, :3].T @ pose[:3, :3]
    x, y, z = (points @ rotation.T + other_pose[:3, :3].T @ (pose[:3, 3] - other_pose[:3, 3])).unbind(1)
    height, width = size
    z = -z
    ahead = z.clamp_min(1e-3)
    column = (x / ahead * other_intrinsics[0, 0] + other_intrinsics[0, 2]).floor()
    row = (-y / ahead * other_intrinsics[1, 1] + other_intrinsics[1, 2]).floor()
    seen = (z > 1e-3) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return z, torch.where(seen, row * width + column, -1).long()


def _nearest_around(depth_z_m: Tensor) -> Tensor:
    """Nearest measured depth among each pixel and its eight neighbours."""
    far = torch.where(depth_z_m > 0, depth_z_m, torch.inf)
    return -F.max_pool2d(-far[None, None], 3, stride=1, padding=1)[0, 0]
