"""Closed-form intersections against hand values and against signed distances."""

from __future__ import annotations

import math

import pytest
import torch

from diffnerf_ns.captures.synthetic_room.primitives import INTERSECTIONS, NORMALS, PrimitiveKind, intersect_rectangles
from diffnerf_ns.captures.synthetic_room.torus import depressed_quartic_roots

SIZES = {
    PrimitiveKind.BOX: (0.3, 0.2, 0.4, 0.0),
    PrimitiveKind.ROUNDED_BOX: (0.3, 0.2, 0.4, 0.07),
    PrimitiveKind.FRUSTUM: (0.3, 0.2, 0.1, 0.0),
    PrimitiveKind.ELLIPSOID: (0.3, 0.2, 0.4, 0.0),
    PrimitiveKind.TORUS: (0.3, 0.08, 0.0, 0.0),
}


def distance_along(kind: PrimitiveKind, origin: tuple, direction: tuple, size: tuple | None = None) -> float:
    ray = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0)
    sizes = torch.tensor(size or SIZES[kind])
    return INTERSECTIONS[kind](torch.tensor(origin)[None, :, None], ray[None, :, None], sizes[None, :, None]).item()


def signed_distance(kind: PrimitiveKind, points: torch.Tensor) -> torch.Tensor:
    """Negative inside, zero on the surface; not a metric distance for every kind."""
    size, x = torch.tensor(SIZES[kind]), points.abs()
    ring = points[:, :2].norm(dim=1)
    if kind == PrimitiveKind.BOX:
        return (x - size[:3]).amax(1)
    if kind == PrimitiveKind.ROUNDED_BOX:
        beyond = x - (size[:3] - size[3])
        return beyond.clamp_min(0).norm(dim=1) + beyond.amax(1).clamp_max(0) - size[3]
    if kind == PrimitiveKind.FRUSTUM:
        radius = (size[1] + size[2]) / 2 + (size[2] - size[1]) / (2 * size[0]) * points[:, 2]
        return torch.maximum(x[:, 2] - size[0], ring - radius)
    if kind == PrimitiveKind.ELLIPSOID:
        return (points / size[:3]).norm(dim=1) - 1
    return torch.stack([ring - size[0], points[:, 2]], 1).norm(dim=1) - size[1]


def random_rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    origins = 3.0 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    towards = torch.rand(count, 3, generator=generator) - 0.5
    return origins, torch.nn.functional.normalize(towards - origins, dim=1)


@pytest.mark.parametrize(
    ("kind", "origin", "direction", "expected"),
    [
        (PrimitiveKind.BOX, (-2.0, 0.05, 0.1), (1.0, 0.0, 0.0), 1.7),
        (PrimitiveKind.BOX, (0.0, 0.0, 2.0), (0.0, 0.0, -1.0), 1.6),
        (PrimitiveKind.BOX, (-2.0, 0.21, 0.0), (1.0, 0.0, 0.0), math.inf),
        (PrimitiveKind.ROUNDED_BOX, (-2.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.7),
        (PrimitiveKind.ROUNDED_BOX, (-2.0, 0.13 + 0.07 * 0.6, 0.0), (1.0, 0.0, 0.0), 2 - 0.23 - 0.07 * 0.8),
        (PrimitiveKind.ROUNDED_BOX, (-2.0, 0.199, 0.399), (1.0, 0.0, 0.0), math.inf),
        (PrimitiveKind.FRUSTUM, (-2.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.85),
        (PrimitiveKind.FRUSTUM, (0.05, 0.0, 2.0), (0.0, 0.0, -1.0), 1.7),
        (PrimitiveKind.FRUSTUM, (0.15, 0.0, 2.0), (0.0, 0.0, -1.0), 2.0),
        (PrimitiveKind.ELLIPSOID, (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), 0.8),
        (PrimitiveKind.ELLIPSOID, (0.18, -1.0, 0.0), (0.0, 1.0, 0.0), 1 - 0.2 * 0.8),
        (PrimitiveKind.TORUS, (-2.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.62),
        (PrimitiveKind.TORUS, (0.3, 0.0, 1.0), (0.0, 0.0, -1.0), 0.92),
        (PrimitiveKind.TORUS, (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), math.inf),
        (PrimitiveKind.TORUS, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.22),
    ],
)
def test_distance_is_the_hand_value(kind, origin, direction, expected) -> None:
    assert distance_along(kind, origin, direction) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("kind", list(INTERSECTIONS), ids=lambda kind: kind.name)
def test_entry_is_the_first_point_of_the_ray_on_the_surface(kind) -> None:
    origins, directions = random_rays(3000)
    size = torch.tensor(SIZES[kind])
    distance = INTERSECTIONS[kind](origins.T[None], directions.T[None], size[None, :, None])[0]
    hit = torch.isfinite(distance)
    assert 0.15 < hit.float().mean() < 0.7
    assert signed_distance(kind, (origins + distance[:, None] * directions)[hit]).abs().max() < 5e-6

    until = torch.where(hit, distance, 6.0)
    steps = torch.linspace(0.01, 0.995, 200)
    deepest = torch.stack(
        [signed_distance(kind, origins + (until * step)[:, None] * directions) for step in steps]
    ).amin(0)
    assert deepest.min() > -2e-5


@pytest.mark.parametrize("kind", list(INTERSECTIONS), ids=lambda kind: kind.name)
def test_normals_are_unit_face_the_ray_and_follow_the_surface(kind) -> None:
    origins, directions = random_rays(3000)
    size = torch.tensor(SIZES[kind])
    distance = INTERSECTIONS[kind](origins.T[None], directions.T[None], size[None, :, None])[0]
    hit = torch.isfinite(distance)
    points = (origins + distance[:, None] * directions)[hit]
    normals = NORMALS[kind](points, size.expand(len(points), 4))
    assert (normals.norm(dim=1) - 1).abs().max() < 1e-5
    assert (normals * directions[hit]).sum(1).max() < 2e-3
    step = 1e-3
    rise = signed_distance(kind, points + step * normals) - signed_distance(kind, points - step * normals)
    assert (rise > 0.5 * step).all()


CONVEX = [kind for kind in INTERSECTIONS if kind != PrimitiveKind.TORUS]


@pytest.mark.parametrize("kind", CONVEX, ids=lambda kind: kind.name)
def test_ray_that_starts_on_a_convex_surface_and_leaves_does_not_hit_it_again(kind) -> None:
    origins, directions = random_rays(500)
    size = torch.tensor(SIZES[kind])[None, :, None]
    distance = INTERSECTIONS[kind](origins.T[None], directions.T[None], size)[0]
    hit = torch.isfinite(distance)
    start = (origins + (distance - 1e-3)[:, None] * directions)[hit]
    again = INTERSECTIONS[kind](start.T[None], -directions[hit].T[None], size)[0]
    assert torch.isinf(again).all()


def test_rectangle_is_seen_from_its_front_only_and_through_its_openings() -> None:
    sizes = torch.tensor([[2.0, 1.0, 0.0, 0.0]])[:, :, None]
    openings = torch.tensor([[[-0.5, 0.5, -0.25, 0.75], [0.0, 0.0, 0.0, 0.0]]])
    starts = torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.5, 3.0], [0.0, -0.5, 3.0], [2.5, 0.0, 3.0], [1.0, 0.0, -3.0]])
    down = torch.tensor([0.0, 0.0, -1.0])
    directions = torch.stack([down, down, down, down, -down])
    distance = intersect_rectangles(starts.T[None], directions.T[None], sizes, openings)[0]
    assert distance.tolist() == [3.0, math.inf, 3.0, math.inf, math.inf]


@pytest.mark.parametrize("roots", [(-2.0, -0.5, 1.0, 1.5), (-1.0, -1.0, 1.0, 1.0), (-3.0, 0.0, 1.0, 2.0)])
def test_quartic_roots_are_those_it_was_made_from(roots) -> None:
    a, b, c, d = roots
    p = a * b + a * c + a * d + b * c + b * d + c * d
    q = -(a * b * c + a * b * d + a * c * d + b * c * d)
    coefficients = torch.tensor([[p], [q], [a * b * c * d]], dtype=torch.float64)
    found = depressed_quartic_roots(*coefficients).sort(1).values
    assert found[0].tolist() == pytest.approx(roots, abs=1e-5)


def test_quartic_without_real_roots_has_none() -> None:
    one = torch.ones(1, dtype=torch.float64)
    assert torch.isinf(depressed_quartic_roots(2 * one, 0 * one, 5 * one)).all()
