"""`DensityGrid.propose` compiled for a CPU: a ray at a time, where torch makes a dozen passes over all look-ups."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

_BLOCK = 128
_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1.0), np.float32(0.0)
_NARROWEST = np.float32(1e-6)
_LEAST_SHARE = np.float32(1e-9)


@njit(inline="always")
def _cell(origin, direction, length, low, cells_per_unit, resolution):
    """Index along one axis of the cell that a ray is in, the nearest one if that is outside."""
    cell = np.int64((origin + direction * length - low) * cells_per_unit)
    return min(max(cell, 0), resolution - 1)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def propose(
    origins, directions, near, far, jitter, offsets, density, resolution, low, cells_per_unit, opaque, floor, lengths
):
    """Writes sorted ray lengths [N, count] into `lengths`.

    Args:
        origins: [N, 3] scene units.
        directions: [N, 3] unit directions.
        near: [N] first ray length of interest.
        far: [N] last one.
        jitter: [N, steps] in [0, 1), where in its equal part of the ray each look-up's edge is.
        offsets: [N] in [0, 1), where in its equal share of the weights each length is.
        density: [resolution^3] of the cells, 1 / scene unit.
        resolution: cells along each axis.
        low: [3] the grid's lowest corner.
        cells_per_unit: [3] along each axis.
        opaque: largest optical depth of one look-up.
        floor: weight that every interval has.
        lengths: the result.
    """
    num_rays, steps = jitter.shape
    count = lengths.shape[1]
    for block in prange((num_rays + _BLOCK - 1) // _BLOCK):
        edges, below = np.empty(steps + 2, np.float32), np.empty(steps + 2, np.float32)
        ended = np.empty(steps + 3, np.float32)
        ended[0] = ended[steps + 2] = below[0] = _ZERO
        for ray in range(block * _BLOCK, min(num_rays, (block + 1) * _BLOCK)):
            extent = far[ray] - near[ray]
            edges[0], edges[steps + 1] = near[ray], far[ray]
            for step in range(steps):
                edges[step + 1] = near[ray] + extent * ((np.float32(step) + jitter[ray, step]) / np.float32(steps))
            left = _ONE
            for step in range(steps + 1):
                width = edges[step + 1] - edges[step]
                middle = _HALF * (edges[step] + edges[step + 1])
                x = _cell(origins[ray, 0], directions[ray, 0], middle, low[0], cells_per_unit[0], resolution)
                y = _cell(origins[ray, 1], directions[ray, 1], middle, low[1], cells_per_unit[1], resolution)
                z = _cell(origins[ray, 2], directions[ray, 2], middle, low[2], cells_per_unit[2], resolution)
                there = min(density[(x * resolution + y) * resolution + z], opaque / max(width, _NARROWEST))
                behind = left * np.exp(-there * width) if there > _ZERO else left
                ended[step + 1] = left - behind
                left = behind
            for step in range(steps + 1):
                before, here, after = ended[step], ended[step + 1], ended[step + 2]
                below[step + 1] = below[step] + _HALF * (max(before, here) + max(here, after)) + floor
            total, interval = below[steps + 1], 0
            for sample in range(count):
                wanted = total * (np.float32(sample) + offsets[ray]) / np.float32(count)
                while interval < steps and below[interval + 1] <= wanted:
                    interval += 1
                share = below[interval + 1] - below[interval]
                fraction = min(max((wanted - below[interval]) / max(share, _LEAST_SHARE), _ZERO), _ONE)
                lengths[ray, sample] = edges[interval] + fraction * (edges[interval + 1] - edges[interval])
