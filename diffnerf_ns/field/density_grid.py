"""What the field has learned about where matter is, on a coarse grid: it proposes where a ray's samples go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from diffnerf_ns.cpu_features import compiles_for
from diffnerf_ns.field.volume_rendering import midpoints, render_weights, sample_from_histogram, stratified

OPTICAL_DEPTH_OF_A_STEP = 0.25
"""Most that one look-up takes of a ray: cells are coarser than surfaces. A ray that passes an object closely goes
through its cells too, and what is behind still needs samples."""

SHARE_OF_EMPTINESS = 0.01
"""Samples that go anywhere on a ray, as a share of those that go to matter."""

EMPTY_OPTICAL_DEPTH = 0.05
"""A density that takes less of a ray across a cell's diagonal counts as none: untrained fields are thin fog everywhere,
which would cover up what is known to be free."""


def spread(weights: Tensor) -> Tensor:
    """Weights [N, S] widened to their neighbours, so that a surface between two look-ups is not passed over."""
    padded = torch.nn.functional.pad(weights, (1, 1))
    larger = torch.maximum(padded[:, 1:], padded[:, :-1])
    return 0.5 * (larger[:, 1:] + larger[:, :-1])


class DensityGrid(nn.Module):
    """Density per cell of a cube, in 1 / scene unit, followed by an exponential maximum of the field's own density.

    A cell starts as "maybe": dense enough to be sampled, not enough to hide what lies behind.

    Args:
        aabb: [2, 3] corners of the scene box in scene units.
        resolution: cells along each axis.
    """

    aabb: Tensor
    density: Tensor

    def __init__(self, aabb: Tensor, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.register_buffer("aabb", aabb.clone())
        diagonal = float((aabb[1] - aabb[0]).norm())
        self.register_buffer("density", torch.full((resolution**3,), 1.0 / diagonal))
        self.smallest_density = EMPTY_OPTICAL_DEPTH * resolution / diagonal

    def cell_index(self, positions: Tensor) -> Tensor:
        """Flat cell index of positions [..., 3] in scene units; positions outside fall into the nearest cell."""
        scaled = (positions - self.aabb[0]) * (self.resolution / (self.aabb[1] - self.aabb[0]))
        cell = scaled.int().clamp_(0, self.resolution - 1)
        return ((cell[..., 0] * self.resolution + cell[..., 1]) * self.resolution + cell[..., 2]).long()

    @torch.no_grad()
    def propose(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, steps: int, count: int) -> Tensor:
        """`count` sorted ray lengths [N, count] where the grid expects the ray to end, from `steps` look-ups a ray."""
        if compiles_for(origins.device.type):
            return self._propose_compiled(origins, directions, near, far, steps, count)
        jitter = self.training
        edges = torch.cat([near, stratified(near, far, steps, jitter), far], dim=-1)
        positions = origins[:, None, :] + directions[:, None, :] * midpoints(edges)[..., None]
        longest = OPTICAL_DEPTH_OF_A_STEP / (edges[:, 1:] - edges[:, :-1]).clamp(min=1e-6)
        weights = render_weights(torch.minimum(self.density[self.cell_index(positions)], longest), edges)
        return sample_from_histogram(edges, spread(weights) + SHARE_OF_EMPTINESS / steps, count, jitter)

    def _propose_compiled(
        self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, steps: int, count: int
    ) -> Tensor:
        """The same on a CPU, from the same random numbers."""
        from diffnerf_ns.field import density_grid_numba
        from diffnerf_ns.field.numba_threads import share_torch_threads

        if self.training:
            jitter, offsets = torch.rand(len(origins), steps), torch.rand(len(origins))
        else:
            jitter, offsets = torch.full((len(origins), steps), 0.5), torch.full((len(origins),), 0.5)
        lengths = torch.empty(len(origins), count)
        cells_per_unit = self.resolution / (self.aabb[1] - self.aabb[0])
        rays = origins, directions, near[:, 0], far[:, 0], jitter, offsets
        arrays = (tensor.detach().float().contiguous().numpy() for tensor in rays)
        limits = np.float32(OPTICAL_DEPTH_OF_A_STEP), np.float32(SHARE_OF_EMPTINESS / steps)
        grid = self.density.numpy(), self.resolution, self.aabb[0].numpy(), cells_per_unit.numpy()
        share_torch_threads()
        density_grid_numba.propose(*arrays, *grid, *limits, lengths.numpy())  # pyright: ignore[reportCallIssue]
        return lengths

    @torch.no_grad()
    def clear(self, cells: Tensor) -> None:
        """Nothing is expected in `cells` (a mask [resolution^3]) until the field shows something there."""
        self.density[cells] = 0.0

    @torch.no_grad()
    def observe(self, positions: Tensor, densities: Tensor) -> None:
        """Raise cells to the densities [N] that the field had at positions [N, 3]."""
        self.density.scatter_reduce_(0, self.cell_index(positions), self._without_fog(densities), reduce="amax")

    def _without_fog(self, densities: Tensor) -> Tensor:
        return torch.where(densities < self.smallest_density, 0.0, densities)

    @torch.no_grad()
    def update(self, density_fn: Callable[[Tensor], Tensor], fraction: float, decay: float) -> None:
        """Look at a random `fraction` of the cells: each keeps the larger of its decayed value and the new density."""
        total = self.resolution**3
        device = self.density.device
        cells = torch.randint(total, (max(1, int(total * fraction)),), device=device)
        corner = torch.stack([cells // self.resolution**2, (cells // self.resolution) % self.resolution], dim=-1)
        corner = torch.cat([corner, (cells % self.resolution)[:, None]], dim=-1)
        unit = (corner + torch.rand(corner.shape, device=device)) / self.resolution
        positions = self.aabb[0] + unit * (self.aabb[1] - self.aabb[0])
        seen = self._without_fog(density_fn(positions))
        self.density[cells] = torch.maximum(self.density[cells] * decay, seen)
