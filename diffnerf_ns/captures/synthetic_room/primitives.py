"""Closed-form ray intersections with the solids that rooms are made of, vectorised over primitives and rays.

Every function works in the primitive's own frame and takes ray origins and unit directions `[P, 3, R]` (P primitives
of one kind, R rays) and sizes `[P, 4, 1]` in metres; it returns the distance to the entry point `[P, R]`, infinite
where the ray misses. Distances below `NEAREST` do not count, so a ray that starts on a surface does not hit it again.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.ray_limits import MISS, NEAREST
from diffnerf_ns.captures.synthetic_room.rounded_box import intersect_rounded_boxes, rounded_box_normals
from diffnerf_ns.captures.synthetic_room.torus import intersect_tori, torus_normals


class PrimitiveKind(IntEnum):
    """The solids, with what their four sizes (metres) mean."""

    BOX = 0
    """half extents x, y, z; unused."""
    ROUNDED_BOX = 1
    """outer half extents x, y, z; edge radius."""
    FRUSTUM = 2
    """half height along z; radius at the bottom (-z); radius at the top (+z); unused. A cylinder has equal radii."""
    ELLIPSOID = 3
    """half axes x, y, z; unused."""
    TORUS = 4
    """ring radius in the xy plane; tube radius; unused; unused."""
    RECTANGLE = 5
    """half extents x, y of a one-sided surface at z = 0 seen from +z; unused; unused. It may have openings."""


def intersect_boxes(origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    inverse = 1.0 / _away_from_zero(directions)
    centre = -origins * inverse
    reach = sizes[:, :3] * inverse.abs()
    entry = (centre - reach).amax(dim=1)
    leave = (centre + reach).amin(dim=1)
    return torch.where((entry < leave) & (entry > NEAREST), entry, MISS)


def intersect_ellipsoids(origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    start, origins = _advance_to_closest_point(origins, directions)
    origins = origins / sizes[:, :3]
    directions = directions / sizes[:, :3]
    a = directions.square().sum(1)
    b = (origins * directions).sum(1)
    discriminant = b * b - a * (origins.square().sum(1) - 1.0)
    entry = start + (-b - discriminant.clamp_min(0.0).sqrt()) / a
    return torch.where((discriminant > 0) & (entry > NEAREST), entry, MISS)


def intersect_frusta(origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    start, origins = _advance_to_closest_point(origins, directions)
    half_height, bottom, top = sizes[:, 0], sizes[:, 1], sizes[:, 2]
    slope = (top - bottom) / (2.0 * half_height)
    middle = (top + bottom) / 2.0
    ox, oy, oz = origins.unbind(1)
    dx, dy, dz = directions.unbind(1)
    radius_here = middle + slope * oz
    a = _away_from_zero(dx * dx + dy * dy - (slope * dz).square(), 1e-9)
    b = ox * dx + oy * dy - slope * dz * radius_here
    discriminant = b * b - a * (ox * ox + oy * oy - radius_here.square())
    root = discriminant.clamp_min(0.0).sqrt()
    nearest = torch.full_like(root, MISS)
    for signed_root in (-root, root):
        t = (-b + signed_root) / a
        z = oz + t * dz
        on_side = (discriminant > 0) & (z.abs() <= half_height) & (start + t > NEAREST)
        nearest = torch.where(on_side, torch.minimum(nearest, start + t), nearest)
    inverse_z = 1.0 / _away_from_zero(dz)
    for height, radius in ((-half_height, bottom), (half_height, top)):
        t = (height - oz) * inverse_z
        on_cap = ((ox + t * dx).square() + (oy + t * dy).square() <= radius * radius) & (start + t > NEAREST)
        nearest = torch.where(on_cap, torch.minimum(nearest, start + t), nearest)
    return nearest


def intersect_rectangles(origins: Tensor, directions: Tensor, sizes: Tensor, openings: Tensor) -> Tensor:
    """One-sided rectangles; `openings` [P, K, 4] holds (x0, x1, y0, y1) holes that rays pass through."""
    dz = directions[:, 2]
    t = -origins[:, 2] / _away_from_zero(dz)
    x = origins[:, 0] + t * directions[:, 0]
    y = origins[:, 1] + t * directions[:, 1]
    hit = (dz < 0) & (t > NEAREST) & (x.abs() <= sizes[:, 0]) & (y.abs() <= sizes[:, 1])
    for opening in openings.unbind(1):
        x0, x1, y0, y1 = opening[:, :, None].unbind(1)
        hit &= ~((x > x0) & (x < x1) & (y > y0) & (y < y1))
    return torch.where(hit, t, MISS)


INTERSECTIONS = {
    PrimitiveKind.BOX: intersect_boxes,
    PrimitiveKind.ROUNDED_BOX: intersect_rounded_boxes,
    PrimitiveKind.FRUSTUM: intersect_frusta,
    PrimitiveKind.ELLIPSOID: intersect_ellipsoids,
    PrimitiveKind.TORUS: intersect_tori,
}
"""The closed solids by kind; rectangles take their openings too and are intersected by the room's shell."""


def box_normals(points: Tensor, sizes: Tensor) -> Tensor:
    depth_below_face = sizes[:, :3] - points.abs()
    nearest_face = depth_below_face.argmin(1, keepdim=True)
    sign = torch.where(points >= 0, 1.0, -1.0)
    return torch.zeros_like(points).scatter(1, nearest_face, 1.0) * sign


def ellipsoid_normals(points: Tensor, sizes: Tensor) -> Tensor:
    return torch.nn.functional.normalize(points / sizes[:, :3].square(), dim=1)


def frustum_normals(points: Tensor, sizes: Tensor) -> Tensor:
    half_height, bottom, top = sizes[:, 0], sizes[:, 1], sizes[:, 2]
    slope = (top - bottom) / (2.0 * half_height)
    x, y, z = points.unbind(1)
    radius = (x * x + y * y).sqrt()
    below_side = (bottom + top) / 2.0 + slope * z - radius
    on_cap = (half_height - z.abs()) < below_side.abs()
    side = torch.stack([x / radius.clamp_min(1e-9), y / radius.clamp_min(1e-9), -slope], 1)
    cap = torch.stack([torch.zeros_like(x), torch.zeros_like(x), torch.where(z >= 0, 1.0, -1.0)], 1)
    return torch.where(on_cap[:, None], cap, torch.nn.functional.normalize(side, dim=1))


def rectangle_normals(points: Tensor, sizes: Tensor) -> Tensor:
    normals = torch.zeros_like(points)
    normals[:, 2] = 1.0
    return normals


NORMALS = {
    PrimitiveKind.BOX: box_normals,
    PrimitiveKind.ROUNDED_BOX: rounded_box_normals,
    PrimitiveKind.FRUSTUM: frustum_normals,
    PrimitiveKind.ELLIPSOID: ellipsoid_normals,
    PrimitiveKind.TORUS: torus_normals,
    PrimitiveKind.RECTANGLE: rectangle_normals,
}
"""Outward unit normals [M, 3] at surface points [M, 3], both in the primitive's frame; sizes [M, 4]."""


def _advance_to_closest_point(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Moves origins along their rays to where they are closest to the frame's origin, which keeps quadratics exact."""
    start = -(origins * directions).sum(1)
    return start, origins + start[:, None] * directions


def _away_from_zero(values: Tensor, smallest: float = 1e-9) -> Tensor:
    return torch.where(values.abs() < smallest, smallest, values)
