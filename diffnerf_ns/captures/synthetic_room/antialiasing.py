"""Smooth edges: three more rays through those pixels whose neighbours look different."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.pixels import Pixels, shade, surfaces_along
from diffnerf_ns.captures.synthetic_room.room import Room
from diffnerf_ns.captures.synthetic_room.shading import tone_map
from diffnerf_ns.captures.synthetic_room.shadows import Received

if TYPE_CHECKING:
    from diffnerf_ns.captures.synthetic_room.renderer import Camera

TRIANGLE = ((-0.08, -0.38), (0.37, 0.12), (-0.29, 0.26))
"""Where in a pixel the further rays go, pixels from its centre."""
CONTRAST = 0.11
"""Display values 0..1: neighbours that differ by more are smoothed."""


def smooth_edges(
    room: Room,
    rgb: Tensor,
    pixels: Pixels,
    received: Received,
    poses: Tensor,
    in_camera: Tensor,
    grid: tuple[int, int, int],
    camera: Camera,
) -> Tensor:
    """Display colours [R, 3] with edges averaged over their pixels.

    The further rays borrow the light that reaches the pixel of the 3x3 neighbourhood that lies on the same surface.
    """
    edge = torch.nonzero(_differs_from_neighbours(rgb.view(*grid, 3)).reshape(-1))[:, 0]
    if not len(edge):
        return rgb
    _, height, width = grid
    frame, row, column = edge // (height * width), edge // width % height, edge % width
    offsets = in_camera.new_tensor(TRIANGLE) / in_camera.new_tensor([camera.fx, -camera.fy])
    directions = in_camera[row, column].repeat(len(TRIANGLE), 1)
    directions[:, :2] += offsets.repeat_interleave(len(edge), 0)
    directions = torch.nn.functional.normalize(directions, dim=1)
    frame, row, column = (part.repeat(len(TRIANGLE)) for part in (frame, row, column))
    directions = torch.einsum("mij,mj->mi", poses[frame, :3, :3], directions)
    further, surface = surfaces_along(room, poses[frame, :3, 3], directions)
    where = (frame[surface.row], row[surface.row], column[surface.row])
    borrowed = _borrow(surface.point, surface.normal, where, pixels, received, grid)
    colours = tone_map(shade(room, further, surface, borrowed), room.lighting.exposure)
    smooth = rgb.clone()
    smooth[edge] = (rgb[edge] + colours.view(len(TRIANGLE), len(edge), 3).sum(0)) / (1 + len(TRIANGLE))
    return smooth


def _differs_from_neighbours(rgb: Tensor) -> Tensor:
    """[N, H, W] pixels next to a neighbour of another colour."""
    differs = torch.zeros(rgb.shape[:3], dtype=torch.bool, device=rgb.device)
    across = (rgb[:, :, 1:] - rgb[:, :, :-1]).abs().amax(-1) > CONTRAST
    down = (rgb[:, 1:] - rgb[:, :-1]).abs().amax(-1) > CONTRAST
    differs[:, :, 1:] |= across
    differs[:, :, :-1] |= across
    differs[:, 1:] |= down
    differs[:, :-1] |= down
    return differs


def _borrow(
    points: Tensor,
    normals: Tensor,
    where: tuple[Tensor, Tensor, Tensor],
    pixels: Pixels,
    received: Received,
    grid: tuple[int, int, int],
) -> Received:
    frame, row, column = where
    _, height, width = grid
    values = torch.cat([received.visibility, received.ambient], 1)
    total, weights = values.new_zeros(len(points), values.shape[1]), values.new_zeros(len(points))
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            r, c = (row + down).clamp(0, height - 1), (column + across).clamp(0, width - 1)
            index = (frame * height + r) * width + c
            off_plane = ((pixels.point[index] - points) * normals).sum(1).abs()
            alike = ((pixels.normal[index] * normals).sum(1) > 0.9) & (off_plane < 0.015)
            weight = torch.where(alike, 1.0, 1e-4)
            total += values[index] * weight[:, None]
            weights += weight
    mean = total / weights[:, None]
    lamps = received.visibility.shape[1]
    return Received(mean[:, :lamps], mean[:, lamps:])
