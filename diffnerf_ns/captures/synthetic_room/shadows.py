"""Soft shadows and ambient light by interleaved sampling.

Neighbouring pixels look at different points of each lamp and in different directions around the surface; a window of
4x4 pixels then averages what pixels on the same plane saw, so every pixel ends up with sixteen samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.lights import AreaLight, Lighting, Sun
from diffnerf_ns.captures.synthetic_room.scene import Scene, trace_blocked

TILE = 4
AMBIENT_REACH_M = 1.3
"""How far away a thing still shades the ambient light."""
BLOCKED_SHARE = 0.2
"""How bright a thing that blocks ambient light is itself, compared with the room's faces."""
LIFT_M = 2e-3
"""How far above a surface its shadow rays start."""


@dataclass(frozen=True)
class Received:
    """What reaches each of M surface points."""

    visibility: Tensor
    """[M, lights (+ 1 for the sun)] share of each lamp in sight, 0..1."""
    ambient: Tensor
    """[M, 3] mean radiance of the surroundings over the hemisphere."""


def sample_lights(
    scene: Scene,
    lighting: Lighting,
    half_extents: tuple[float, float, float],
    points: Tensor,
    normals: Tensor,
    slot: Tensor,
) -> Received:
    """One shadow ray to every lamp and one ambient ray per point [M, 3]; `slot` [M] 0..15 is its place in the tile."""
    starts = points + LIFT_M * normals
    outside = _outside(starts, half_extents)
    columns = [_lamp_in_sight(scene, light, starts, normals, slot, outside) for light in lighting.area_lights]
    if lighting.sun is not None:
        columns.append(_sun_in_sight(scene, lighting.sun, starts, normals, slot))
    ambient = _ambient(scene, lighting, starts, normals, slot)
    return Received(torch.stack(columns, 1), ambient)


def smooth_over_tiles(values: Tensor, points: Tensor, normals: Tensor, pixel_size: Tensor) -> Tensor:
    """Averages values [N, H, W, C] over 4x4 windows, only between pixels that lie on the same smooth surface.

    Args:
        values: what to average.
        points: surface points [N, H, W, 3], metres.
        normals: unit normals [N, H, W, 3], zero where nothing was hit.
        pixel_size: size of a pixel on the surface [N, H, W], metres.
    """
    height, width = values.shape[1:3]
    tolerance = 0.004 + 1.5 * pixel_size
    padded = [_pad(tensor) for tensor in (values, points, normals)]
    total, weights = torch.zeros_like(values), torch.zeros_like(pixel_size)
    for row in range(TILE):
        for column in range(TILE):
            value, point, normal = (tensor[:, row : row + height, column : column + width] for tensor in padded)
            off_plane = ((point - points) * normals).sum(-1).abs()
            alike = (normal * normals).sum(-1) > 0.9
            weight = torch.where(alike & (off_plane < tolerance), 1.0, 0.0)
            total += value * weight[..., None]
            weights += weight
    return torch.where(weights[..., None] > 0, total / weights.clamp_min(1.0)[..., None], values)


def tile_slots(frames: int, height: int, width: int, device: torch.device) -> Tensor:
    """[frames, height, width] place of each pixel in its 4x4 tile, 0..15."""
    rows = torch.arange(height, device=device) % TILE
    columns = torch.arange(width, device=device) % TILE
    return (rows[:, None] * TILE + columns[None, :]).expand(frames, height, width)


def surroundings_towards(directions: Tensor, face_radiance: Tensor) -> Tensor:
    """Radiance [M, 3] of the room in directions [M, 3]: its faces [6, 3], blended by the squared direction.

    Faces are floor, ceiling, +x, -x, +y, -y. The blend does not depend on the place, so light has no seams.
    """
    x, y, z = directions.square().unbind(1)
    east, north, up = (directions > 0).unbind(1)
    floor, ceiling, plus_x, minus_x, plus_y, minus_y = face_radiance.unbind(0)
    return (
        z[:, None] * torch.where(up[:, None], ceiling, floor)
        + x[:, None] * torch.where(east[:, None], plus_x, minus_x)
        + y[:, None] * torch.where(north[:, None], plus_y, minus_y)
    )


def _pad(image: Tensor) -> Tensor:
    before, after = TILE // 2, TILE - 1 - TILE // 2
    rows = torch.cat([image[:, :1]] * before + [image] + [image[:, -1:]] * after, 1)
    return torch.cat([rows[:, :, :1]] * before + [rows] + [rows[:, :, -1:]] * after, 2)


def _outside(points: Tensor, half_extents: tuple[float, float, float]) -> Tensor:
    return (points[:, :2].abs() > points.new_tensor(half_extents[:2])).any(1)


def _lamp_in_sight(
    scene: Scene, light: AreaLight, starts: Tensor, normals: Tensor, slot: Tensor, outside: Tensor
) -> Tensor:
    a = ((slot % TILE).to(starts.dtype) + 0.5) / TILE * 2.0 - 1.0
    b = ((slot // TILE).to(starts.dtype) + 0.5) / TILE * 2.0 - 1.0
    centre, half_u, half_v = (starts.new_tensor(part) for part in (light.centre, light.half_u, light.half_v))
    to_light = centre + a[:, None] * half_u + b[:, None] * half_v - starts
    distance = to_light.norm(dim=1).clamp_min(1e-6)
    direction = to_light / distance[:, None]
    faces = (direction * normals).sum(1) > 0
    if light.normal is not None:
        faces &= (direction @ starts.new_tensor(light.normal)) < 0
    seen = torch.zeros_like(distance)
    for rows, with_shell in (
        (torch.nonzero(faces & ~outside)[:, 0], False),
        (torch.nonzero(faces & outside)[:, 0], True),
    ):
        if len(rows):
            reach = (distance[rows] - light.clearance - 0.03).clamp_min(0.0)
            blocked = trace_blocked(
                scene, starts[rows].T.contiguous(), direction[rows].T.contiguous(), reach, with_shell
            )
            seen[rows] = (~blocked).to(seen.dtype)
    return seen


def _sun_in_sight(scene: Scene, light: Sun, starts: Tensor, normals: Tensor, slot: Tensor) -> Tensor:
    """The sun's disc is sampled a little larger than it is, as through thin haze."""
    angle = slot.to(starts.dtype) * 2.39996
    radius = ((slot.to(starts.dtype) + 0.5) / TILE**2).sqrt() * 0.018
    sun = starts.new_tensor(light.direction)
    side = torch.nn.functional.normalize(torch.linalg.cross(sun, sun.new_tensor([0.0, 0.0, 1.0])), dim=0)
    up = torch.linalg.cross(side, sun)
    direction = sun + (radius * angle.cos())[:, None] * side + (radius * angle.sin())[:, None] * up
    direction = torch.nn.functional.normalize(direction, dim=1)
    seen = torch.zeros_like(radius)
    rows = torch.nonzero((direction * normals).sum(1) > 0)[:, 0]
    rows = rows[~_blocked_by_shell(scene, starts[rows], direction[rows])]
    if len(rows):
        far = torch.full_like(rows, 50.0, dtype=starts.dtype)
        blocked = trace_blocked(scene, starts[rows].T.contiguous(), direction[rows].T.contiguous(), far)
        seen[rows] = (~blocked).to(seen.dtype)
    return seen


def _blocked_by_shell(scene: Scene, starts: Tensor, directions: Tensor) -> Tensor:
    shell = Scene(**{**vars(scene), "group_runs": ()})
    far = torch.full_like(starts[:, 0], 50.0)
    return trace_blocked(shell, starts.T.contiguous(), directions.T.contiguous(), far, with_shell=True)


def _ambient(scene: Scene, lighting: Lighting, starts: Tensor, normals: Tensor, slot: Tensor) -> Tensor:
    direction = torch.nn.functional.normalize(normals + sphere_points(TILE**2, starts)[slot] * 0.999, dim=1)
    reach = torch.full_like(starts[:, 0], AMBIENT_REACH_M)
    blocked = trace_blocked(scene, starts.T.contiguous(), direction.T.contiguous(), reach)
    faces = starts.new_tensor(lighting.face_radiance)
    open_radiance = surroundings_towards(direction, faces)
    return torch.where(blocked[:, None], BLOCKED_SHARE * faces.mean(0), open_radiance)


def sphere_points(count: int, like: Tensor) -> Tensor:
    """[count, 3] unit vectors spread evenly over the sphere."""
    index = torch.arange(count, device=like.device, dtype=like.dtype) + 0.5
    z = 1.0 - 2.0 * index / count
    radius = (1.0 - z * z).sqrt()
    angle = index * math.pi * (3.0 - math.sqrt(5.0))
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], 1)
