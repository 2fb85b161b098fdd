"""Ray intersection with boxes whose edges and corners are rounded: flat faces, edge cylinders and corner spheres."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.ray_limits import MISS, NEAREST


def intersect_rounded_boxes(origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    """Entry distances [P, R] for origins, directions [P, 3, R] and sizes [P, 4, 1] (outer half extents, edge radius).

    A ray that enters the sharp box through the flat part of a face is done; only those that come in near an edge meet
    the twelve cylinders and eight spheres. The solid is their union with three slabs and convex, so its entry is the
    nearest entry of any of them.
    """
    sharp = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    inverse = 1.0 / sharp
    centre = -origins * inverse
    reach = sizes[:, :3] * inverse.abs()
    entry, axis = (centre - reach).max(dim=1)
    leave = (centre + reach).amin(dim=1)
    distance = torch.where((entry < leave) & (entry > NEAREST), entry, MISS)

    primitive, ray = torch.nonzero(torch.isfinite(distance), as_tuple=True)
    point = origins[primitive, :, ray] + entry[primitive, ray, None] * directions[primitive, :, ray]
    core = sizes[primitive, :3, 0] - sizes[primitive, 3:, 0]
    beside = (point.abs() > core).scatter(1, axis[primitive, ray, None], False).any(1)
    primitive, ray = primitive[beside], ray[beside]
    if len(primitive):
        distance[primitive, ray] = _entry_near_edges(
            origins[primitive, :, ray], directions[primitive, :, ray], sizes[primitive, :, 0]
        )
    return distance


def rounded_box_normals(points: Tensor, sizes: Tensor) -> Tensor:
    """Outward unit normals at surface points [M, 3] in the primitive's frame; sizes [M, 4]."""
    core = sizes[:, :3] - sizes[:, 3:]
    return torch.nn.functional.normalize(points - torch.maximum(torch.minimum(points, core), -core), dim=1)


def _entry_near_edges(origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    start = -(origins * directions).sum(1, keepdim=True)
    origins = origins + start * directions
    radius = sizes[:, 3]
    core = sizes[:, :3] - radius[:, None]
    nearest = torch.minimum(
        _entry_through_faces(origins, directions, sizes, core),
        _entry_through_corners(origins, directions, core, radius),
    )
    for axis in range(3):
        nearest = torch.minimum(nearest, _entry_through_edges(origins, directions, core, radius, axis))
    nearest = nearest + start[:, 0]
    return torch.where(nearest > NEAREST, nearest, MISS)


def _entry_through_faces(origins: Tensor, directions: Tensor, sizes: Tensor, core: Tensor) -> Tensor:
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    nearest = torch.full_like(origins[:, 0], MISS)
    for axis in range(3):
        half = core.clone()
        half[:, axis] = sizes[:, axis]
        centre, reach = -origins * inverse, half * inverse.abs()
        entry, leave = (centre - reach).amax(1), (centre + reach).amin(1)
        nearest = torch.where(entry < leave, torch.minimum(nearest, entry), nearest)
    return nearest


def _entry_through_edges(origins: Tensor, directions: Tensor, core: Tensor, radius: Tensor, axis: int) -> Tensor:
    u, v = [other for other in range(3) if other != axis]
    a = (directions[:, u].square() + directions[:, v].square()).clamp_min(1e-12)
    nearest = torch.full_like(a, MISS)
    for sign_u, sign_v in itertools.product((-1.0, 1.0), repeat=2):
        ou, ov = origins[:, u] - sign_u * core[:, u], origins[:, v] - sign_v * core[:, v]
        b = ou * directions[:, u] + ov * directions[:, v]
        discriminant = b * b - a * (ou * ou + ov * ov - radius * radius)
        entry = (-b - discriminant.clamp_min(0.0).sqrt()) / a
        along = origins[:, axis] + entry * directions[:, axis]
        hit = (discriminant > 0) & (along.abs() <= core[:, axis])
        nearest = torch.where(hit, torch.minimum(nearest, entry), nearest)
    return nearest


def _entry_through_corners(origins: Tensor, directions: Tensor, core: Tensor, radius: Tensor) -> Tensor:
    nearest = torch.full_like(radius, MISS)
    for signs in itertools.product((-1.0, 1.0), repeat=3):
        offset = origins - core * origins.new_tensor(signs)
        b = (offset * directions).sum(1)
        discriminant = b * b - offset.square().sum(1) + radius * radius
        entry = -b - discriminant.clamp_min(0.0).sqrt()
        nearest = torch.where(discriminant > 0, torch.minimum(nearest, entry), nearest)
    return nearest
