"""Looks at a fused surface from a camera, in torch: for machines without Open3D, and for GPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.refinement.tsdf import BLOCK, BlockTsdf, pixel_rays

LARGEST_STEPS = 512
"""Steps after which a ray is given up."""

RAYS_AT_ONCE = {"cpu": 80_000, "cuda": 4_000_000}


def cast_with_torch(
    volume: BlockTsdf, intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int, least_weight: float
) -> Tensor:
    """z-depth [cameras, height, width], metres, of the first surface that each ray enters from the front; 0 where none
    is known.

    Args:
        volume: what to look at.
        intrinsics: [cameras, 3, 3], pixels; (0, 0) is the first pixel's corner.
        camera_to_world: [cameras, 4, 4], metres, OpenGL axes.
        height: rows.
        width: columns.
        least_weight: voxels known with less weight count as unknown.
    """
    if not len(volume.coordinates):
        return torch.zeros(len(intrinsics), height, width, device=volume.device)
    at_once = max(1, RAYS_AT_ONCE.get(volume.device.type, RAYS_AT_ONCE["cpu"]) // (height * width))
    cameras = zip(intrinsics.split(at_once), camera_to_world.split(at_once), strict=True)
    return torch.cat([_cast(volume, *several, height, width, least_weight) for several in cameras])


def _cast(
    volume: BlockTsdf, intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int, least_weight: float
) -> Tensor:
    in_cameras = torch.stack([pixel_rays(height, width, matrix) for matrix in intrinsics]).flatten(1, 2)
    all_rays = (in_cameras @ camera_to_world[:, :3, :3].mT).reshape(-1, 3)
    rays_each = height * width
    all_eyes = camera_to_world[:, :3, 3].repeat_interleave(rays_each, dim=0)
    z_m, farthest = (z.repeat_interleave(rays_each) for z in _nearest_and_farthest(volume, camera_to_world))
    alive = torch.arange(len(all_rays), device=volume.device)
    before_z, before = z_m.clone(), torch.full_like(z_m, -1.0)
    eye, direction, per_metre = all_eyes, all_rays, 1 / all_rays.norm(dim=1)
    crossings: list[tuple[Tensor, ...]] = []
    for _ in range(LARGEST_STEPS):
        here, has_block, known = _nearest_voxel(volume, eye + direction * z_m[:, None], least_weight)
        crossed = known & (here <= 0) & (before > 0)
        hit = torch.nonzero(crossed)[:, 0]
        crossings.append(tuple(values[hit] for values in (alive, before_z, z_m, before, here)))
        step = torch.where(known, (0.8 * here.abs() * volume.truncation_m).clamp_min(volume.voxel_m), volume.voxel_m)
        step = torch.where(has_block, step, 0.5 * volume.block_m)
        before_z, before = z_m, torch.where(known, here, -1.0)
        z_m = z_m + step * per_metre
        on = torch.nonzero(~crossed & (z_m < farthest))[:, 0]
        if not len(on):
            break
        alive, z_m, before_z, before, eye, direction, per_metre, farthest = (
            values[on] for values in (alive, z_m, before_z, before, eye, direction, per_metre, farthest)
        )
    rays, *bracket = (torch.cat(parts) for parts in zip(*crossings, strict=True))
    found = torch.zeros(len(all_rays), device=volume.device)
    found[rays] = _zero_between(volume, all_eyes[rays], all_rays[rays], *bracket)
    return found.view(-1, height, width)


def _nearest_and_farthest(volume: BlockTsdf, camera_to_world: Tensor) -> tuple[Tensor, Tensor]:
    """Depths [cameras] between which each camera can see anything, metres."""
    centres = (volume.coordinates + 0.5) * volume.block_m - camera_to_world[:, None, :3, 3]
    z = -(centres @ camera_to_world[:, :3, 2, None])[..., 0]
    return (z.amin(1) - volume.block_m).clamp_min(0.05), z.amax(1) + volume.block_m


def _nearest_voxel(volume: BlockTsdf, points: Tensor, least_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Signed distance over truncation of the voxels that hold the points, whether there is a block, and a value."""
    voxel = torch.floor(points / volume.voxel_m).long()
    block = torch.div(voxel, BLOCK, rounding_mode="floor")
    slots = volume.slots_at(block)
    inside = voxel - BLOCK * block
    index = slots.clamp_min(0) * BLOCK**3 + (inside[:, 0] * BLOCK + inside[:, 1]) * BLOCK + inside[:, 2]
    weight = volume.weight.view(-1)[index]
    has_block = slots >= 0
    return volume.distance.view(-1)[index], has_block, has_block & (weight >= least_weight)


def _trilinear(volume: BlockTsdf, points: Tensor, otherwise: Tensor) -> Tensor:
    position = points / volume.voxel_m - 0.5
    first = torch.floor(position)
    share = position - first
    total, weights = torch.zeros_like(otherwise), torch.zeros_like(otherwise)
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=points.device)
        weight = torch.where(step.bool(), share, 1 - share).prod(1)
        value, _, known = _nearest_voxel(volume, (first + step + 0.5) * volume.voxel_m, 1e-6)
        weight = torch.where(known, weight, 0)
        total, weights = total + weight * value, weights + weight
    return torch.where(weights > 0.5, total / weights.clamp_min(1e-6), otherwise)


def _zero_between(
    volume: BlockTsdf, eyes: Tensor, direction: Tensor, z0: Tensor, z1: Tensor, d0: Tensor, d1: Tensor
) -> Tensor:
    """Where along the rays the distance is 0, between z0 (positive) and z1 (negative)."""
    d0 = _trilinear(volume, eyes + direction * z0[:, None], d0)
    d1 = _trilinear(volume, eyes + direction * z1[:, None], d1)
    return z0 + (z1 - z0) * (d0 / (d0 - d1).clamp_min(1e-6)).clamp(-1, 2)
