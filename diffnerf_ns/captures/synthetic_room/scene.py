"""All primitives of a room as tensors, and the tracing of rays through them.

World frame: metres, z up. Rays are origins and unit directions `[3, R]`. Primitives come in groups that share a
bounding sphere and box; a ray meets only the groups whose bounds it enters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.assembly import Part
from diffnerf_ns.captures.synthetic_room.primitives import (
    INTERSECTIONS,
    NORMALS,
    PrimitiveKind,
    intersect_rectangles,
)

RAYS_PER_CULLING_BLOCK = 4096
"""Rays that meet all bounding spheres at once on a CPU: what fits into its cache."""


class Hits(NamedTuple):
    distance: Tensor
    """[R] metres along the ray, infinite where nothing was hit."""
    primitive: Tensor
    """[R] index of the primitive hit, -1 where nothing was."""


class Run(NamedTuple):
    """Primitives start..stop, all of one kind and one group."""

    kind: PrimitiveKind
    start: int
    stop: int


@dataclass(frozen=True)
class Scene:
    kind: Tensor
    """[P]; the room's rectangles come first."""
    world_to_local: Tensor
    """[P, 3, 3] rotations."""
    centre: Tensor
    """[P, 3]"""
    size: Tensor
    """[P, 4], see PrimitiveKind."""
    material: Tensor
    """[P]"""
    openings: Tensor
    """[rectangles, K, 4] holes (x0, x1, y0, y1) in the frame of each rectangle."""
    group_runs: tuple[tuple[Run, ...], ...]
    group_centre: Tensor
    """[G, 3]"""
    group_half_extents: Tensor
    """[G, 3] of the box around the group, along the world's axes."""
    group_radius: Tensor
    """[G]"""

    @property
    def rectangles(self) -> int:
        return len(self.openings)

    def to(self, device: torch.device | str) -> Scene:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Scene(**moved, group_runs=self.group_runs)


def build_scene(shell: list[Part], openings: list[list[tuple]], groups: Iterable[list[Part]]) -> Scene:
    """Builds the tensors: `shell` are the room's rectangles with their openings, `groups` the closed solids."""
    parts, runs, centres, half_extents = list(shell), [], [], []
    for group in groups:
        ordered = sorted(group, key=lambda part: part.kind)
        group_runs = []
        for kind in sorted({part.kind for part in ordered}):
            start = len(parts)
            parts.extend(part for part in ordered if part.kind == kind)
            group_runs.append(Run(kind, start, len(parts)))
        low = np.min([part.bounding_box()[0] for part in ordered], axis=0)
        high = np.max([part.bounding_box()[1] for part in ordered], axis=0)
        runs.append(tuple(group_runs))
        centres.append((low + high) / 2)
        half_extents.append((high - low) / 2)
    most = max([1, *(len(holes) for holes in openings)])
    padded = [[*holes, *[(0.0, 0.0, 0.0, 0.0)] * (most - len(holes))] for holes in openings]
    return Scene(
        kind=torch.tensor([int(part.kind) for part in parts]),
        world_to_local=torch.tensor(np.array([part.rotation.T for part in parts]), dtype=torch.float32),
        centre=torch.tensor(np.array([part.centre for part in parts]), dtype=torch.float32),
        size=torch.tensor(np.array([part.size for part in parts]), dtype=torch.float32),
        material=torch.tensor([part.material for part in parts]),
        openings=torch.tensor(padded, dtype=torch.float32),
        group_runs=tuple(runs),
        group_centre=torch.tensor(np.array(centres), dtype=torch.float32).reshape(-1, 3),
        group_half_extents=torch.tensor(np.array(half_extents), dtype=torch.float32).reshape(-1, 3),
        group_radius=torch.tensor(np.linalg.norm(np.array(half_extents).reshape(-1, 3), axis=1), dtype=torch.float32),
    )


def trace_nearest(scene: Scene, origins: Tensor, directions: Tensor) -> Hits:
    """The first surface along each ray."""
    nearest = _to_rectangles(scene, origins, directions)
    distance, primitive = nearest.min(0)
    primitive = torch.where(torch.isfinite(distance), primitive, -1)
    for runs, rays, o, d in _rays_by_group(scene, origins, directions, distance):
        best, best_primitive = distance[rays], primitive[rays]
        for run in runs:
            t, index = _to_solids(scene, run, o, d).min(0)
            closer = t < best
            best = torch.where(closer, t, best)
            best_primitive = torch.where(closer, index + run.start, best_primitive)
        distance[rays] = best
        primitive[rays] = best_primitive
    return Hits(distance, primitive)


def trace_blocked(
    scene: Scene, origins: Tensor, directions: Tensor, farthest: Tensor, with_shell: bool = False
) -> Tensor:
    """Whether a solid stands between each origin and `farthest` [R] metres along its ray."""
    blocked = torch.zeros_like(farthest, dtype=torch.bool)
    if with_shell:
        blocked |= (_to_rectangles(scene, origins, directions) < farthest).any(0)
    for runs, rays, o, d in _rays_by_group(scene, origins, directions, farthest):
        limit = farthest[rays]
        for run in runs:
            blocked[rays] |= (_to_solids(scene, run, o, d) < limit).any(0)
    return blocked


class SurfacePoints(NamedTuple):
    """Where rays met surfaces, `[M, ...]` for the rays that met any."""

    local_point: Tensor
    local_normal: Tensor
    normal: Tensor
    """[M, 3] unit, world frame, outwards."""
    size: Tensor
    material: Tensor


def surface_points(scene: Scene, points: Tensor, primitive: Tensor) -> SurfacePoints:
    """Frames, normals and materials at world points [M, 3] on primitives [M]."""
    rotation = scene.world_to_local[primitive]
    size = scene.size[primitive]
    local = torch.einsum("mij,mj->mi", rotation, points - scene.centre[primitive])
    local_normal = torch.zeros_like(local)
    kind = scene.kind[primitive]
    for one_kind, normals_of in NORMALS.items():
        rows = torch.nonzero(kind == int(one_kind))[:, 0]
        if len(rows):
            local_normal[rows] = normals_of(local[rows], size[rows])
    normal = torch.einsum("mij,mi->mj", rotation, local_normal)
    return SurfacePoints(local, local_normal, normal, size, scene.material[primitive])


def _to_local(scene: Scene, start: int, stop: int, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    rotation = scene.world_to_local[start:stop]
    flat = rotation.reshape(-1, 3)
    offset = torch.einsum("pij,pj->pi", rotation, scene.centre[start:stop])[:, :, None]
    local_origins = (flat @ origins).view(stop - start, 3, -1) - offset
    return local_origins, (flat @ directions).view(stop - start, 3, -1)


def _to_rectangles(scene: Scene, origins: Tensor, directions: Tensor) -> Tensor:
    o, d = _to_local(scene, 0, scene.rectangles, origins, directions)
    return intersect_rectangles(o, d, scene.size[: scene.rectangles, :, None], scene.openings)


def _to_solids(scene: Scene, run: Run, origins: Tensor, directions: Tensor) -> Tensor:
    o, d = _to_local(scene, run.start, run.stop, origins, directions)
    return INTERSECTIONS[run.kind](o, d, scene.size[run.start : run.stop, :, None])


def _rays_by_group(
    scene: Scene, origins: Tensor, directions: Tensor, farthest: Tensor
) -> Iterator[tuple[tuple[Run, ...], Tensor, Tensor, Tensor]]:
    """Yields the runs of each group with the rays that enter its bounds: their indices, origins and directions.

    Both the position of a centre along a ray and the squared distance of a ray's origin to the sphere are dot products
    of something per group with something per ray.
    """
    if not scene.group_runs:
        return
    centre, radius = scene.group_centre, scene.group_radius[:, None]
    one = torch.ones_like(radius)
    per_group_along = torch.cat([centre, -one], 1)
    per_group_distance = torch.cat([-2.0 * centre, one, centre.square().sum(1, keepdim=True) - radius.square()], 1)
    per_ray_along = torch.cat([directions, (origins * directions).sum(0, keepdim=True)])
    squared = origins.square().sum(0, keepdim=True)
    per_ray_distance = torch.cat([origins, squared, torch.ones_like(squared)])

    enters = torch.empty(len(centre), origins.shape[1], dtype=torch.bool, device=origins.device)
    block = RAYS_PER_CULLING_BLOCK if origins.device.type == "cpu" else origins.shape[1]
    for start in range(0, origins.shape[1], block):
        part = slice(start, start + block)
        along = per_group_along @ per_ray_along[:, part]
        inside = per_group_distance @ per_ray_distance[:, part] <= along.square() + 1e-3
        inside &= along > -radius
        torch.logical_and(inside, along < farthest[part] + radius, out=enters[:, part])
    group, ray = torch.nonzero(enters, as_tuple=True)
    counts = torch.bincount(group, minlength=len(centre)).tolist()
    for index, group_rays in enumerate(ray.split(counts)):
        if len(group_rays):
            o, d = origins.index_select(1, group_rays), directions.index_select(1, group_rays)
            within = torch.nonzero(_enters_box(o, d, scene.group_half_extents[index], centre[index]))[:, 0]
            if len(within):
                yield scene.group_runs[index], group_rays[within], o.index_select(1, within), d.index_select(1, within)


def _enters_box(origins: Tensor, directions: Tensor, half_extents: Tensor, centre: Tensor) -> Tensor:
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    middle = (centre[:, None] - origins) * inverse
    reach = (half_extents[:, None] + 1e-4) * inverse.abs()
    return (middle - reach).amax(0) <= (middle + reach).amin(0)
