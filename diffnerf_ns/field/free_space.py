"""Which cells of a grid the training views look through: free space, from rays whose depth is known to +- sigma."""

from __future__ import annotations

import torch
from torch import Tensor

BAND_SIGMAS = 3.0
"""Half width of what a measured surface may take up along its ray, in standard deviations, beside a cell's diagonal."""

LARGEST_SURFACE_SHARE = 0.1
"""Share of a cell's votes that may be for a surface in a cell that counts as free: single depths are wrong."""

RAYS_AT_A_TIME = 4096
"""Rays that are followed at once; bounds the memory."""


@torch.no_grad()
def free_cells(
    origins: Tensor, directions: Tensor, depth_ray: Tensor, sigma_ray: Tensor, aabb: Tensor, resolution: int
) -> Tensor:
    """Cells [resolution^3] that rays pass through well before they end, and in which next to none ends.

    All others are near a surface, behind one, or were never looked at. Rays without depth say nothing.

    Args:
        origins: [N, 3] ray origins, scene units.
        directions: [N, 3] unit directions.
        depth_ray: [N, 1] known depth along the ray, scene units, 0 where missing.
        sigma_ray: [N, 1] its standard deviation.
        aabb: [2, 3] corners of the grid, scene units.
        resolution: cells along each axis; the last axis varies fastest in the result.
    """
    known = (depth_ray[:, 0] > 0).nonzero()[:, 0]
    order = known[torch.argsort(depth_ray[known, 0])]  # rays of like length are followed together
    cell_size = (aabb[1] - aabb[0]) / resolution
    margin = BAND_SIGMAS * sigma_ray + cell_size.norm()
    free_votes = origins.new_zeros(resolution**3)
    surface_votes = torch.zeros_like(free_votes)
    for first in range(0, len(order), RAYS_AT_A_TIME):
        rays = order[first : first + RAYS_AT_A_TIME]
        surface_from, surface_to = depth_ray[rays] - margin[rays], depth_ray[rays] + margin[rays]
        longest = torch.minimum(surface_to.max(), (aabb[1] - aabb[0]).norm())
        lengths = torch.arange(0.0, float(longest), float(cell_size.min()), device=origins.device)
        cell, inside = _cells_along(origins[rays], directions[rays], lengths, aabb, resolution)
        _vote(free_votes, cell[inside & (lengths < surface_from)])
        _vote(surface_votes, cell[inside & (lengths >= surface_from) & (lengths < surface_to)])
    return (free_votes > 0) & (surface_votes <= LARGEST_SURFACE_SHARE * (free_votes + surface_votes))


def _cells_along(
    origins: Tensor, directions: Tensor, lengths: Tensor, aabb: Tensor, resolution: int
) -> tuple[Tensor, Tensor]:
    """Flat cell index [N, S] at each of the ray lengths [S], and where it is one: within the grid."""
    cell_size = (aabb[1] - aabb[0]) / resolution
    start, per_length = (origins - aabb[0]) / cell_size, directions / cell_size
    index = torch.zeros(len(origins), len(lengths), dtype=torch.long, device=origins.device)
    inside = torch.ones_like(index, dtype=torch.bool)
    for axis in range(3):  # one axis at a time: three times less memory
        cell = torch.floor(start[:, axis, None] + per_length[:, axis, None] * lengths).long()
        inside &= (cell >= 0) & (cell < resolution)
        index = index * resolution + cell
    return index, inside


def _vote(votes: Tensor, cells: Tensor) -> None:
    votes.scatter_add_(0, cells, torch.ones_like(cells, dtype=votes.dtype))
