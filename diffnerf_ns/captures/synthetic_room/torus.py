"""Ray intersection with tori by solving their quartic in closed form (Ferrari), in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.ray_limits import MISS, NEAREST


def intersect_tori(origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    """Entry distances [P, R] for origins, directions [P, 3, R] and sizes [P, 4, 1] (ring radius, tube radius, -, -).

    Measured from the point of the ray that is closest to the centre, a unit direction makes the quartic depressed:
    t^4 + p t^2 + q t + r = 0.
    """
    ring, tube = sizes[:, 0], sizes[:, 1]
    start = -(origins * directions).sum(1)
    closest_squared = (origins + start[:, None] * directions).square().sum(1)
    distance = torch.full_like(start, MISS)
    primitive, ray = torch.nonzero(closest_squared < (ring + tube).square(), as_tuple=True)
    if not len(primitive):
        return distance
    o, d = origins[primitive, :, ray].double(), directions[primitive, :, ray].double()
    d = d / d.norm(dim=1, keepdim=True)
    shift = -(o * d).sum(1)
    o = o + shift[:, None] * d
    big, small = ring[primitive, 0].double(), tube[primitive, 0].double()
    k = o.square().sum(1) + big * big - small * small
    p = 2.0 * k - 4.0 * big * big * d[:, :2].square().sum(1)
    q = -8.0 * big * big * (o[:, :2] * d[:, :2]).sum(1)
    r = k * k - 4.0 * big * big * o[:, :2].square().sum(1)
    roots = depressed_quartic_roots(p, q, r)
    roots = torch.where(roots + shift[:, None] > NEAREST, roots, MISS).amin(1)
    distance[primitive, ray] = (roots + shift).to(distance.dtype)
    return distance


def torus_normals(points: Tensor, sizes: Tensor) -> Tensor:
    """Outward unit normals at surface points [M, 3] in the primitive's frame; sizes [M, 4]."""
    on_axis = points[:, :2].norm(dim=1, keepdim=True).clamp_min(1e-9)
    ring_point = torch.cat([points[:, :2] / on_axis * sizes[:, :1], torch.zeros_like(points[:, 2:])], 1)
    return torch.nn.functional.normalize(points - ring_point, dim=1)


def depressed_quartic_roots(p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Real roots [M, 4] of t^4 + p t^2 + q t + r = 0 (double precision), infinite where a root is not real."""
    m = _largest_cubic_root(p, p * p / 4.0 - r, -q * q / 8.0).clamp_min(1e-14)
    s = (2.0 * m).sqrt()
    balanced = ((p / 2.0 + m).square() - r).clamp_min(0.0).sqrt()
    nearly_biquadratic = m < 1e-7 * (p.abs() + r.abs().sqrt())
    w = torch.where(nearly_biquadratic, torch.copysign(balanced, q), q / (2.0 * s))
    roots = []
    for sign in (-1.0, 1.0):
        constant = p / 2.0 + m - sign * w
        discriminant = m / 2.0 - constant
        half = discriminant.clamp_min(0.0).sqrt()
        for side in (-1.0, 1.0):
            roots.append(torch.where(discriminant >= 0, -sign * s / 2.0 + side * half, MISS))
    t = torch.stack(roots, 1)
    p, q, r = p[:, None], q[:, None], r[:, None]
    for _ in range(2):
        slope = (4.0 * t * t + 2.0 * p) * t + q
        step = (((t * t + p) * t + q) * t + r) / torch.where(slope.abs() < 1e-12, 1e-12, slope)
        t = torch.where(torch.isfinite(step) & (step.abs() < 1e-2), t - step, t)
    return t


def _largest_cubic_root(b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Largest real root of x^3 + b x^2 + c x + d = 0."""
    third = b / 3.0
    f = c - b * third
    g = 2.0 * third**3 - third * c + d
    discriminant = (g / 2.0).square() + (f / 3.0) ** 3
    root = discriminant.clamp_min(0.0).sqrt()
    single = _cube_root(-g / 2.0 + root) + _cube_root(-g / 2.0 - root)
    amplitude = (-f / 3.0).clamp_min(0.0).sqrt()
    cosine = (-g / 2.0) / (amplitude**3).clamp_min(1e-300)
    triple = 2.0 * amplitude * torch.cos(torch.arccos(cosine.clamp(-1.0, 1.0)) / 3.0)
    return torch.where(discriminant > 0, single, triple) - third


def _cube_root(x: Tensor) -> Tensor:
    return x.sign() * x.abs().pow(1.0 / 3.0)
