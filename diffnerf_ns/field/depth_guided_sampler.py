"""Where samples go on a ray whose depth is known to +- sigma: mostly there, some before it, some anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffnerf_ns.field.density_grid import DensityGrid
from diffnerf_ns.field.volume_rendering import stratified


@dataclass(frozen=True)
class SampleShares:
    """How many samples of a training ray are placed by what."""

    band: int
    """Within `band_sigmas` of the known depth; on rays without depth the density grid places them."""
    free: int
    """Between the near bound and the band; on rays without depth the density grid places them."""
    grid: int
    """By the density grid, on every ray."""
    anywhere: int
    """Stratified over the whole ray."""
    band_sigmas: float
    """Half width of the band in standard deviations."""
    grid_steps: int
    """Look-ups in the density grid per ray."""

    @property
    def total(self) -> int:
        """Number of intervals of a ray."""
        return self.band + self.free + self.grid + self.anywhere + 1


@torch.no_grad()
def training_edges(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    depth_ray: Tensor | None,
    sigma_ray: Tensor | None,
    grid: DensityGrid,
    shares: SampleShares,
) -> Tensor:
    """Sorted interval edges [N, shares.total + 1] of training rays.

    Args:
        origins: [N, 3] ray origins, scene units.
        directions: [N, 3] unit directions.
        near: [N, 1] first ray length of interest.
        far: [N, 1] last one.
        depth_ray: [N, 1] known depth along the ray, 0 where missing; None where the batch has no depth.
        sigma_ray: [N, 1] its standard deviation.
        grid: proposes samples where depth does not.
        shares: how many samples are placed by what.
    """
    by_grid = shares.band + shares.free + shares.grid

    def propose(rays: Tensor, count: int) -> Tensor:
        return grid.propose(origins[rays], directions[rays], near[rays], far[rays], shares.grid_steps, count)

    placed = origins.new_empty(len(origins), by_grid)
    known = torch.zeros(len(origins), dtype=torch.bool, device=origins.device)
    if depth_ray is not None and sigma_ray is not None:
        known = depth_ray[:, 0] > 0
        rays = known.nonzero()[:, 0]
        depth, sigma, first, last = depth_ray[rays], sigma_ray[rays], near[rays], far[rays]
        low = torch.minimum(torch.maximum(depth - shares.band_sigmas * sigma, first), last)
        high = torch.minimum(torch.maximum(depth + shares.band_sigmas * sigma, low), last)
        at_depth = [stratified(low, high, shares.band, jitter=True), stratified(first, low, shares.free, jitter=True)]
        if shares.grid > 0:
            at_depth.append(propose(rays, shares.grid))
        placed[rays] = torch.cat(at_depth, dim=-1)
    rays = (~known).nonzero()[:, 0]
    placed[rays] = propose(rays, by_grid)
    edges = torch.cat([near, placed, stratified(near, far, shares.anywhere, jitter=True), far], dim=-1)
    return torch.sort(edges, dim=-1).values
