"""From rays to coloured points: what each ray meets, and what that looks like in a given light."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.room import Room
from diffnerf_ns.captures.synthetic_room.scene import surface_points, trace_nearest
from diffnerf_ns.captures.synthetic_room.shading import outside_radiance, radiance_at
from diffnerf_ns.captures.synthetic_room.shadows import Received
from diffnerf_ns.captures.synthetic_room.textures import albedo_at


class Pixels(NamedTuple):
    """All R rays."""

    origin: Tensor
    direction: Tensor
    distance: Tensor
    """[R] metres along the ray, infinite where it leaves the room."""
    primitive: Tensor
    """[R], -1 where the ray leaves the room."""
    point: Tensor
    """[R, 3], 0 where the ray leaves the room."""
    normal: Tensor
    """[R, 3], 0 where the ray leaves the room."""


class Shadeable(NamedTuple):
    """The M rays that met a surface."""

    row: Tensor
    """[M] which of the R rays."""
    point: Tensor
    normal: Tensor
    albedo: Tensor
    specular: Tensor
    roughness: Tensor
    emission: Tensor


def surfaces_along(room: Room, origins: Tensor, directions: Tensor) -> tuple[Pixels, Shadeable]:
    """Traces rays [R, 3] and evaluates the materials where they end."""
    hits = trace_nearest(room.scene, origins.T.contiguous(), directions.T.contiguous())
    row = torch.nonzero(hits.primitive >= 0)[:, 0]
    primitive = hits.primitive[row]
    point = origins[row] + hits.distance[row, None] * directions[row]
    surface = surface_points(room.scene, point, primitive)
    table = room.materials
    albedo = albedo_at(surface, primitive, table)
    shadeable = Shadeable(
        row,
        point,
        surface.normal,
        albedo,
        table.specular[surface.material],
        table.roughness[surface.material],
        table.emission[surface.material],
    )
    all_points, all_normals = torch.zeros_like(origins), torch.zeros_like(origins)
    all_points[row] = point
    all_normals[row] = surface.normal
    return Pixels(origins, directions, hits.distance, hits.primitive, all_points, all_normals), shadeable


def shade(room: Room, pixels: Pixels, surface: Shadeable, received: Received) -> Tensor:
    """Radiance [R, 3] along all rays; `received` belongs to the M surface points."""
    radiance = torch.zeros_like(pixels.origin)
    radiance[surface.row] = radiance_at(
        room.lighting,
        surface.point,
        surface.normal,
        pixels.direction[surface.row],
        surface.albedo,
        surface.specular,
        surface.roughness,
        surface.emission,
        received,
    )
    away = torch.nonzero(pixels.primitive < 0)[:, 0]
    if len(away):
        radiance[away] = outside_radiance(room.lighting, pixels.origin[away], pixels.direction[away])
    return radiance
