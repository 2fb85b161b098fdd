"""Walls, floors and table tops of one view, and how far its depth bends them.

A plane has an inverse depth that is linear over the picture, whatever the camera; what a sensor is off by over whole
areas bends it. Things that are bent themselves and are nearly planes cannot be told from that; they are straightened by
as little as other views, and what depth factors are likely to be, allow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.refinement.depth_patches import PATCHES, Patches

FEWEST_PATCHES = 40
"""Patches that make a large plane: a thirtieth of the picture."""

ALIKE_NORMALS = 0.95
"""Cosine of the angle between the normals of neighbouring patches of one plane, at least."""

LARGEST_STEP = 0.01
"""Distance between neighbouring patches of one plane as a share of the depth, at most."""

LARGEST_BEND = 0.02
"""Distance of a patch from its large plane as a share of the depth, at most."""

TYPICAL_BEND = 0.006
"""Such distance from which on a patch counts for less."""

BEND_SIGMA = 0.003
"""Standard deviation of it without any bias."""

FITS = 6
"""Times that a plane is fitted anew to the patches that lie near it."""


def large_planes(patches: Patches) -> list[list[Tensor]]:
    """For each view the patches, by their indices, of every large plane: flat ones that continue one another."""
    rows, columns = PATCHES
    views = len(patches.flat)
    right = _continued(patches, axis=2)
    below = _continued(patches, axis=1)
    label = torch.arange(views * rows * columns, device=right.device).view(views, rows, columns)
    while True:
        before = label
        label = _lowest_label(_lowest_label(label, right, axis=2), below, axis=1)
        label = label.flatten()[label]
        if torch.equal(label, before):
            break
    found = []
    for own in label.flatten(1):
        names, counts = own.unique(return_counts=True)
        found.append([(own == name).nonzero()[:, 0] for name in names[counts >= FEWEST_PATCHES]])
    return found


def bends(inverse_z: Tensor, centre_px: Tensor, knot_weights: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """What bends of L planes say of the logarithms of the factors on depth: their precision [L, K, K], and the slope
    [L, K] of half the squares' sum where they are. A plane itself is whatever suits its patches best; where it suits
    fewer than a large plane has, it says nothing.

    Args:
        inverse_z: 1 / z of the planes' patches [L, P], 1/metres, depth taken with its factors.
        centre_px: column and row of their centres [L, P, 2], pixels.
        knot_weights: how far each factor counts there [L, P, K].
        members: which of them there are [L, P]; the others say nothing.
    """
    inverse_z = torch.where(members, inverse_z, 1.0)
    place = centre_px / centre_px.amax(dim=(1, 2), keepdim=True)
    basis = torch.cat([torch.ones_like(place[..., :1]), place], dim=-1)
    relative = basis / inverse_z[..., None]
    trust, off = members.to(inverse_z.dtype), torch.zeros_like(inverse_z)
    plane, large = inverse_z, members.any(dim=1, keepdim=True)
    for _ in range(FITS):
        weighted = relative * trust[..., None]
        plane = (basis @ torch.linalg.solve(_regular(relative.mT @ weighted), weighted.sum(dim=1)[..., None]))[..., 0]
        off = inverse_z / plane - 1.0
        near = members & (off.abs() < LARGEST_BEND)
        large = large & (near.sum(dim=1, keepdim=True) >= FEWEST_PATCHES)
        trust = torch.where(large, near / (1.0 + (off / TYPICAL_BEND).square()), members.to(trust.dtype))
    trust = torch.where(large, trust, 0.0)
    off, moved = torch.where(trust > 0, off, 0.0), torch.where(trust[..., None] > 0, basis / plane[..., None], 0.0)
    trust = trust / BEND_SIGMA**2
    weighted = moved * trust[..., None]
    taken_up = torch.linalg.solve(_regular(moved.mT @ weighted), weighted.mT)
    changed = trust[..., None] * knot_weights - weighted @ (taken_up @ knot_weights)
    return knot_weights.mT @ changed, -(changed.mT @ off[..., None])[..., 0]


def _continued(patches: Patches, axis: int) -> Tensor:
    """Which patches continue in the next one along an axis of [V, rows, columns], one fewer along it."""
    count = PATCHES[axis - 1] - 1

    def pairs(values: Tensor) -> tuple[Tensor, Tensor]:
        shaped = values.unflatten(1, PATCHES)
        return shaped.narrow(axis, 0, count), shaped.narrow(axis, 1, count)

    (here, there), (plane, next_plane) = pairs(patches.centre_px), pairs(patches.inverse_z)
    (flat, next_flat), (normal, next_normal) = pairs(patches.flat), pairs(patches.normals)
    way = there - here
    ahead = plane[..., 0] + (way * plane[..., 1:]).sum(-1)
    back = next_plane[..., 0] - (way * next_plane[..., 1:]).sum(-1)
    steps = torch.maximum((ahead - next_plane[..., 0]).abs(), (back - plane[..., 0]).abs())
    close = steps < LARGEST_STEP * torch.minimum(plane[..., 0], next_plane[..., 0])
    return flat & next_flat & close & ((normal * next_normal).sum(-1) > ALIKE_NORMALS)


def _lowest_label(label: Tensor, continued: Tensor, axis: int) -> Tensor:
    """Labels [V, rows, columns] after patches that continue one another along an axis took the lower of theirs."""
    count = continued.shape[axis]
    here, there = label.narrow(axis, 0, count), label.narrow(axis, 1, count)
    lower = torch.minimum(here, there)
    label = label.clone()
    label.narrow(axis, 0, count).copy_(torch.where(continued, lower, here))
    now_there = label.narrow(axis, 1, count)
    now_there.copy_(torch.where(continued, torch.minimum(lower, now_there), now_there))
    return label


def _regular(matrices: Tensor) -> Tensor:
    """Symmetric matrices [L, n, n] that can be inverted, also where they are 0."""
    size = matrices.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    size = torch.where(size > 0, 1e-9 * size, 1.0)
    return matrices + size * torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
