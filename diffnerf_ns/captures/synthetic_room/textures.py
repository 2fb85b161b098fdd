"""Procedural textures, evaluated in object coordinates so that they stick to things and look alike from every view.

Each texture takes a `Sample` and returns albedo [M, 3] in linear light.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.materials import MaterialTable, TextureKind
from diffnerf_ns.captures.synthetic_room.noise_volume import hashed, noise
from diffnerf_ns.captures.synthetic_room.scene import SurfacePoints


@dataclass(frozen=True)
class Sample:
    """Surface points of one texture; metres in the primitive's own frame."""

    point: Tensor
    """[M, 3]"""
    u: Tensor
    """[M] first coordinate in the face that the point lies on."""
    v: Tensor
    """[M] second coordinate; vertical on upright faces."""
    half_u: Tensor
    """[M] half extents of that face."""
    half_v: Tensor
    along: Tensor
    """[M, 3] the point with the primitive's longest side as first coordinate."""
    half_along: Tensor
    """[M] half of the longest side."""
    offset: Tensor
    """[M, 3] differs by primitive, so that no two look the same."""
    first: Tensor
    """[M, 3] colours."""
    second: Tensor
    third: Tensor
    detail: Tensor


def albedo_at(surface: SurfacePoints, primitive: Tensor, table: MaterialTable) -> Tensor:
    """Albedo [M, 3], linear, of surface points on primitives [M]."""
    albedo = torch.zeros_like(surface.normal)
    texture = table.texture[surface.material]
    for kind, paint in PAINTERS.items():
        rows = torch.nonzero(texture == int(kind))[:, 0]
        if len(rows):
            albedo[rows] = paint(_sample(surface, primitive, table, rows))
    return albedo.clamp(0.01, 0.92)


def _sample(surface: SurfacePoints, primitive: Tensor, table: MaterialTable, rows: Tensor) -> Sample:
    point, size = surface.local_point[rows], surface.size[rows, :3]
    material = surface.material[rows]
    face = surface.local_normal[rows].abs().argmax(1)
    u_axis = torch.where(face == 0, 1, 0)[:, None]
    v_axis = torch.where(face == 2, 1, 2)[:, None]
    longest = size.argmax(1)
    order = (longest[:, None] + torch.arange(3, device=size.device)) % 3
    number = primitive[rows].to(point.dtype)
    offset = torch.stack([hashed(number, number * 0.0 + axis) for axis in range(3)], 1)
    colours = table.colours[material]
    return Sample(
        point=point,
        u=point.gather(1, u_axis)[:, 0],
        v=point.gather(1, v_axis)[:, 0],
        half_u=size.gather(1, u_axis)[:, 0],
        half_v=size.gather(1, v_axis)[:, 0],
        along=point.gather(1, order),
        half_along=size.amax(1),
        offset=offset,
        first=colours[:, 0],
        second=colours[:, 1],
        third=colours[:, 2],
        detail=table.detail[material],
    )


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share[:, None]


def _step(edge: float | Tensor, value: Tensor, softness: float | Tensor) -> Tensor:
    x = ((value - edge) / softness + 0.5).clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _cell(value: Tensor) -> tuple[Tensor, Tensor]:
    whole = value.floor()
    return whole, value - whole


def _plain(s: Sample) -> Tensor:
    smooth, fine = noise(s.point * 0.45 + s.offset)
    return s.first * (1.0 + s.detail * (0.07 * smooth + 0.025 * fine))[:, None]


def _wood_grain(along: Tensor, offset: Tensor, rings_per_metre: Tensor) -> tuple[Tensor, Tensor]:
    """Rings 0..1 and fibres (unit deviation) for points whose first coordinate follows the grain."""
    stretched = along * along.new_tensor([0.12, 1.0, 1.0])
    bend, _ = noise(stretched * 0.55 + offset)
    _, fibre = noise(along * along.new_tensor([0.35, 6.0, 6.0]) + offset)
    across = along[:, 1] * 0.8 + along[:, 2] * 0.6
    rings = 0.5 + 0.5 * torch.sin(2.0 * math.pi * (across * rings_per_metre + 1.1 * bend + offset[:, 0] * 7.0))
    return rings, fibre


def _wood(s: Sample) -> Tensor:
    rings, fibre = _wood_grain(s.along, s.offset, s.detail)
    tone = 1.0 + 0.10 * (s.offset[:, 1] - 0.5) + 0.10 * fibre
    return _mix(s.first, s.second, rings**1.5 * 0.8) * tone[:, None]


def _planks(s: Sample) -> Tensor:
    row, across = _cell(s.v / s.detail)
    length = s.detail * 8.0
    column, along = _cell(s.u / length + hashed(row, row * 0.0 + 3.0))
    tone = hashed(row, column)
    shift = torch.stack([tone * 17.3, tone * 5.1, row * 0.37], 1)
    rings, fibre = _wood_grain(torch.stack([s.u, s.v, s.v * 0.0], 1), shift, torch.full_like(s.u, 14.0))
    colour = _mix(s.first, s.second, (0.55 * rings**1.5 + 0.55 * (tone - 0.3)).clamp(0.0, 1.0))
    gap = torch.minimum((0.5 - (across - 0.5).abs()) * s.detail, (0.5 - (along - 0.5).abs()) * length)
    return (
        colour
        * ((0.92 + 0.16 * hashed(column, row) + 0.08 * fibre) * (0.45 + 0.55 * _step(0.003, gap, 0.004)))[:, None]
    )


def _tiles(s: Sample) -> Tensor:
    i, x = _cell(s.u / s.detail + 0.5)
    j, y = _cell(s.v / s.detail + 0.5)
    smooth, fine = noise(s.point * 0.9 + torch.stack([hashed(i, j), hashed(j, i), i * 0.3], 1))
    dark = ((i + j) * 0.5 - ((i + j) * 0.5).floor()) * 2.0
    colour = _mix(s.first, s.second, dark) * (0.94 + 0.14 * hashed(i, j) + 0.06 * smooth + 0.03 * fine)[:, None]
    joint = torch.minimum(0.5 - (x - 0.5).abs(), 0.5 - (y - 0.5).abs()) * s.detail
    return _mix(s.third, colour, _step(0.0035, joint, 0.003))


def _stripes(s: Sample) -> Tensor:
    band, x = _cell(s.u / (3.0 * s.detail) + s.offset[:, 0])
    first_edge, second_edge = 0.30 + 0.25 * hashed(band), 0.72 + 0.2 * hashed(band, band + 1.0)
    colour = _mix(s.first, s.second, _step(first_edge, x, 0.02) - _step(second_edge, x, 0.02))
    colour = _mix(colour, s.third, _step(0.12, x, 0.02) * (1.0 - _step(0.17, x, 0.02)))
    smooth, fine = noise(s.point * 0.9 + s.offset)
    return colour * (1.0 + 0.05 * smooth + 0.04 * fine)[:, None]


def _rug(s: Sample) -> Tensor:
    nearest_edge = torch.minimum(s.half_u - s.u.abs(), s.half_v - s.v.abs())
    scale = s.detail / (2.0 * torch.minimum(s.half_u, s.half_v))
    i, x = _cell(s.u * scale)
    j, y = _cell(s.v * scale)
    diamond = (x - 0.5).abs() + (y - 0.5).abs()
    ring = 0.5 + 0.5 * torch.sin(diamond * 6.0 * math.pi + (i + j) * math.pi)
    centre = ((s.u / s.half_u).square() + (s.v / s.half_v).square()).sqrt()
    medallion = 0.5 + 0.5 * torch.sin(centre * 16.0 + 2.0 * torch.cos(torch.atan2(s.v, s.u) * 8.0))
    colour = _mix(s.first, s.second, _step(0.55, ring, 0.25))
    colour = _mix(colour, _mix(s.third, s.second, _step(0.5, medallion, 0.2)), 1.0 - _step(0.55, centre, 0.03))
    zigzag = ((s.u + s.v) * 18.0 - ((s.u + s.v) * 18.0).floor() - 0.5).abs() * 2.0
    border = _mix(s.third, s.first, _step(0.5, zigzag, 0.2))
    colour = _mix(border, colour, _step(0.13, nearest_edge, 0.01))
    colour = _mix(s.second, colour, _step(0.03, nearest_edge, 0.01))
    smooth, fine = noise(s.point * 2.6 + s.offset)
    return colour * (0.95 + 0.05 * smooth + 0.09 * fine)[:, None]


def _painting(s: Sample) -> Tensor:
    flat = torch.stack([s.u, s.v, s.v * 0.0], 1) * (0.22 * s.detail)[:, None]
    bend_u, bend_v = noise(flat * 0.7 + s.offset)
    bend_v = noise(flat * 0.7 + s.offset + 0.37)[0] + 0.1 * bend_v
    warped = flat + 0.13 * torch.stack([bend_u, bend_v, bend_u], 1)
    smooth, fine = noise(warped + s.offset * 1.7)
    height = (s.v / s.half_v) * 0.9
    colour = _mix(s.first, s.second, _step(0.1, smooth * 0.7 - height, 0.9))
    colour = _mix(colour, s.third, _step(0.5, bend_u + 0.4 * fine, 0.5))
    colour = _mix(colour, colour.new_ones(3).expand_as(colour), 0.7 * _step(1.45, smooth + 0.3 * bend_v, 0.3))
    return colour * (1.0 + 0.12 * fine)[:, None]


def _poster(s: Sample) -> Tensor:
    i, x = _cell(s.u * s.detail + s.offset[:, 0])
    j, y = _cell(s.v * s.detail + s.offset[:, 1])
    choice = hashed(i + s.offset[:, 0] * 9.0, j)
    disc = ((x - 0.5).square() + (y - 0.5).square()).sqrt()
    quarter = (x.square() + y.square()).sqrt()
    shape = torch.where(choice < 0.4, 1.0 - _step(0.38, disc, 0.03), 1.0 - _step(0.9, quarter, 0.03))
    shape = torch.where(choice > 0.75, _step(0.5, (y * 4.0 - (y * 4.0).floor()), 0.06), shape)
    ground = _mix(s.first, s.second, _step(0.5, hashed(j, i), 0.02))
    ink = _mix(s.third, s.second, _step(0.5, hashed(i, i + j), 0.02))
    colour = _mix(ground, ink, shape)
    edge = torch.minimum(s.half_u - s.u.abs(), s.half_v - s.v.abs())
    margin = colour.new_tensor([0.82, 0.80, 0.74]).expand_as(colour)
    return _mix(margin, colour, _step(0.025, edge, 0.004))


def _bricks(s: Sample) -> Tensor:
    height = s.detail * 0.36
    row, y = _cell(s.v / height)
    column, x = _cell(s.u / s.detail + 0.5 * row)
    tone = hashed(row, column)
    smooth, fine = noise(s.point * 1.4 + torch.stack([tone, tone * 3.0, row * 0.21], 1))
    colour = _mix(s.first, s.second, tone) * (1.0 + 0.12 * smooth + 0.10 * fine)[:, None]
    joint = torch.minimum((0.5 - (y - 0.5).abs()) * height, (0.5 - (x - 0.5).abs()) * s.detail)
    return _mix(s.third * (1.0 + 0.1 * fine)[:, None], colour, _step(0.005, joint + 0.001 * smooth, 0.004))


def _motif(s: Sample) -> Tensor:
    row, y = _cell(s.v / s.detail)
    column, x = _cell(s.u / s.detail + 0.5 * row)
    x, y = x - 0.5, y - 0.5
    angle, radius = torch.atan2(y, x), (x * x + y * y).sqrt()
    petals = 1.0 - _step(0.22 + 0.10 * torch.cos(angle * 5.0 + hashed(row, column) * 6.0), radius, 0.05)
    colour = _mix(s.first, s.second, petals)
    colour = _mix(colour, s.third, 1.0 - _step(0.08, radius, 0.04))
    smooth, fine = noise(s.point * 0.5 + s.offset)
    return colour * (1.0 + 0.05 * smooth + 0.03 * fine)[:, None]


def _fabric(s: Sample) -> Tensor:
    smooth, fine = noise(s.point * 2.2 + s.offset)
    spacing = s.detail.clamp_min(1e-3)
    wave_u = _step(0.62, 0.5 + 0.5 * torch.sin(2.0 * math.pi * s.u / spacing), 0.15)
    wave_v = _step(0.62, 0.5 + 0.5 * torch.sin(2.0 * math.pi * s.v / spacing), 0.15)
    thin = _step(0.97, torch.cos(2.0 * math.pi * (s.u / spacing - 0.1)), 0.03)
    plaid = (s.detail > 0).to(s.u.dtype)
    colour = _mix(s.first, s.second, plaid * (wave_u + wave_v) * 0.5)
    colour = _mix(colour, s.third, plaid * thin * 0.8)
    return colour * (1.0 + 0.06 * smooth + 0.11 * fine)[:, None]


def _stone(s: Sample) -> Tensor:
    smooth, fine = noise(s.point * (0.16 * s.detail)[:, None] + s.offset)
    bent, _ = noise(s.point * (0.3 * s.detail)[:, None] + s.offset * 2.0 + 0.15 * smooth[:, None])
    vein = torch.exp(-(bent + 0.35 * fine).abs() * 7.0)
    return _mix(_mix(s.first, s.second, _step(0.3, smooth, 1.6) * 0.5), s.third, vein * 0.8)


def _speckle(s: Sample) -> Tensor:
    scaled = s.point * (0.10 * s.detail)[:, None]
    _, coarse = noise(scaled + s.offset)
    _, other = noise(scaled * 1.6 + s.offset * 3.0 + 0.4)
    colour = _mix(s.first, s.second, _step(1.15, coarse, 0.3))
    return _mix(colour, s.third, _step(1.25, other, 0.3))


def _spine(s: Sample) -> Tensor:
    height = s.along[:, 0] / s.half_along
    band = torch.sin(2.0 * math.pi * (s.along[:, 0] * s.detail + s.offset[:, 0]))
    label = (height - 0.25 + 0.5 * s.offset[:, 1]).abs()
    colour = _mix(s.first, s.second, _step(0.93, band, 0.05))
    letters = _step(0.1, noise(s.along * s.along.new_tensor([3.0, 9.0, 9.0]) + s.offset)[1], 0.4)
    colour = _mix(colour, _mix(s.second, s.third, letters), (1.0 - _step(0.24, label, 0.02)) * (s.offset[:, 2] > 0.35))
    return colour * (0.9 + 0.2 * s.offset[:, 1])[:, None]


PAINTERS: dict[TextureKind, Callable[[Sample], Tensor]] = {
    TextureKind.PLAIN: _plain,
    TextureKind.WOOD: _wood,
    TextureKind.PLANKS: _planks,
    TextureKind.TILES: _tiles,
    TextureKind.STRIPES: _stripes,
    TextureKind.RUG: _rug,
    TextureKind.PAINTING: _painting,
    TextureKind.POSTER: _poster,
    TextureKind.BRICKS: _bricks,
    TextureKind.MOTIF: _motif,
    TextureKind.FABRIC: _fabric,
    TextureKind.STONE: _stone,
    TextureKind.SPECKLE: _speckle,
    TextureKind.SPINE: _spine,
}
