"""What other views' measurements say of a surface, or of what a view measured: agreement, and looking through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.cpu_features import compiles_for
from diffnerf_ns.refinement.tsdf import pixel_rays
from diffnerf_ns.refinement.view_tolerance import CLEARLY_BEHIND, LEAST_AHEAD_M, tolerance_m

MOST_VOTERS = 16
"""Views that vote on each one, at most, chosen by overlap."""

MOST_CONFIRMING = 1
"""A measurement that more views than this confirm stays, however many look through it."""

OVERLAP_DEPTHS_M = (1.0, 2.0, 4.0)
"""Depths at which the overlap of two views is probed."""

LEAST_OVERLAP = 0.3
"""Share of such probes that two views of one thing have in common at least."""


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
    points = (pixel_rays(height, width, intrinsics) * surface_z_m[..., None]).reshape(-1, 3)
    votes = points.new_zeros(2, height * width)
    if compiles_for(points.device.type):
        for other in others:
            _add_votes_compiled(points, camera_to_world, other, *votes)
    else:
        for alike in _of_one_size(others):
            votes += _votes(points, camera_to_world, alike)
    return votes[0].view(height, width), votes[1].view(height, width)


def _of_one_size(voters: Sequence[Voter]) -> list[Voter]:
    """The same voters, those of one size as one with a first dimension."""
    groups: dict[torch.Size, list[Voter]] = {}
    for voter in voters:
        groups.setdefault(voter.depth_z_m.shape, []).append(voter)
    return [Voter(*(torch.stack(parts) for parts in zip(*group, strict=True))) for group in groups.values()]


def _votes(points: Tensor, camera_to_world: Tensor, others: Voter) -> Tensor:
    """Votes [2, n] of several views of one size on points [n, 3] of a camera; no surface at a depth of 0."""
    z, pixel = _project(points, camera_to_world, others)
    inside = (pixel >= 0) & (points[:, 2] < 0)
    pixel = pixel.clamp_min(0)
    measured = others.depth_z_m.flatten(1).gather(1, pixel)
    nearest = others.nearest_z_m.flatten(1).gather(1, pixel)
    seen = inside & (measured > 0)
    tolerance = tolerance_m(z)
    support = seen & ((measured - z).abs() <= tolerance)
    violations = seen & (nearest - z > CLEARLY_BEHIND * tolerance)
    return torch.stack([support.sum(0), violations.sum(0)]).to(points.dtype)


def _add_votes_compiled(
    points: Tensor, camera_to_world: Tensor, other: Voter, support: Tensor, violations: Tensor
) -> None:
    """The same on a CPU, in a fraction of the time."""
    from diffnerf_ns.refinement import view_votes_numba

    maps = (*_motion(camera_to_world, other.camera_to_world), other.intrinsics, other.depth_z_m, other.nearest_z_m)
    arrays = (tensor.contiguous().numpy() for tensor in (points, *maps, support, violations))
    view_votes_numba.add_votes(*arrays)


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
    intrinsics, camera_to_world = intrinsics.cpu(), camera_to_world.cpu()  # a GPU takes longer for so little
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


def _motion(pose: Tensor, other_pose: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation [..., 3, 3] and shift [..., 3] that take points of one camera to others [..., 4, 4]."""
    to_other = other_pose[..., :3, :3].mT
    shift = to_other @ (pose[:3, 3] - other_pose[..., :3, 3])[..., None]
    return to_other @ pose[:3, :3], shift[..., 0]


def _project(points: Tensor, pose: Tensor, others: Voter) -> tuple[Tensor, Tensor]:
    """z-depth [V, n] of the points [n, 3] of one camera in others, and the pixel they fall on there; -1 outside."""
    rotation, shift = _motion(pose, others.camera_to_world)
    x, y, z = (points @ rotation.mT + shift[:, None]).unbind(2)
    height, width = others.depth_z_m.shape[1:]
    z = -z
    ahead = z.clamp_min(LEAST_AHEAD_M)
    focal, principal = others.intrinsics.diagonal(dim1=1, dim2=2)[:, :2], others.intrinsics[:, :2, 2]
    column = (x / ahead * focal[:, :1] + principal[:, :1]).floor()
    row = (-y / ahead * focal[:, 1:] + principal[:, 1:]).floor()
    seen = (z > LEAST_AHEAD_M) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return z, torch.where(seen, row * width + column, -1).long()


def _nearest_around(depth_z_m: Tensor) -> Tensor:
    """Nearest measured depth among each pixel and its eight neighbours."""
    far = torch.where(depth_z_m > 0, depth_z_m, torch.inf)
    return -F.max_pool2d(-far[None, None], 3, stride=1, padding=1)[0, 0]
