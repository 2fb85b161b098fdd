"""Where every entry of a multi-resolution hash grid lives in its one flat table.

The layout is tiny-cuda-nn's (Instant-NGP, Mueller et al. 2022): levels follow one another, coarse levels that fit are
dense, the others are hashed. All back-ends read and write the same table, so a checkpoint opens with any of them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

HASH_PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class HashGridLevel:
    """One resolution of the grid."""

    scale: float
    """Grid cells per unit of position, minus one: a position x in [0, 1] falls at x * scale + 0.5."""
    resolution: int
    """Grid points along each axis."""
    offset: int
    """Index of the level's first entry in the table."""
    size: int
    """Number of entries of the level."""
    hashed: bool
    """False where every grid point has an entry of its own."""


@dataclass(frozen=True)
class HashGridLayout:
    """All levels of a grid and the number of table entries they need."""

    levels: list[HashGridLevel]
    num_entries: int
    base_resolution: int
    growth: float
    log2_hashmap_size: int

    @functools.cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Scales, resolutions, offsets, sizes and `hashed` of the levels: the form that compiled kernels take."""
        return (
            np.array([level.scale for level in self.levels], dtype=np.float32),
            np.array([level.resolution for level in self.levels], dtype=np.uint32),
            np.array([level.offset for level in self.levels], dtype=np.int64),
            np.array([level.size for level in self.levels], dtype=np.uint32),
            np.array([level.hashed for level in self.levels], dtype=np.bool_),
        )


def make_layout(num_levels: int, base_resolution: int, max_resolution: int, log2_hashmap_size: int) -> HashGridLayout:
    """Lay out `num_levels` levels whose resolutions grow geometrically from base to max."""
    if num_levels < 1 or base_resolution < 2 or max_resolution < base_resolution:
        raise ValueError(
            f"hash grid: num_levels={num_levels}, base_resolution={base_resolution}, max_resolution={max_resolution}; "
            "needed: num_levels >= 1 and 2 <= base_resolution <= max_resolution"
        )
    growth = math.exp(math.log(max_resolution / base_resolution) / (num_levels - 1)) if num_levels > 1 else 1.0
    log2_growth = np.log2(np.float32(growth))
    levels: list[HashGridLevel] = []
    offset = 0
    for index in range(num_levels):
        scale = np.exp2(np.float32(index) * log2_growth) * np.float32(base_resolution) - np.float32(1.0)
        resolution = int(np.ceil(scale)) + 1
        dense_size = -(-(resolution**3) // 8) * 8
        size = min(dense_size, 1 << log2_hashmap_size)
        levels.append(HashGridLevel(float(scale), resolution, offset, size, hashed=size < resolution**3))
        offset += size
    return HashGridLayout(levels, offset, base_resolution, growth, log2_hashmap_size)
