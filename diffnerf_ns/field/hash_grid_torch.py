"""The reference hash-grid encoding in plain torch: runs on any device and in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.field.hash_grid_layout import HASH_PRIMES, HashGridLayout, HashGridLevel


def _entry_index(corner: Tensor, level: HashGridLevel) -> Tensor:
    """Table entry of integer grid points `corner` [..., 3] within a level."""
    if level.hashed:
        mixed = (
            (corner[..., 0] * HASH_PRIMES[0]) ^ (corner[..., 1] * HASH_PRIMES[1]) ^ (corner[..., 2] * HASH_PRIMES[2])
        )
        return (mixed & 0xFFFFFFFF) % level.size
    flat = corner[..., 0] + level.resolution * (corner[..., 1] + level.resolution * corner[..., 2])
    return flat % level.size


def encode(positions: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """Features [N, levels * F] of positions [N, 3] in [0, 1]^3, interpolated linearly from table [entries, F].

    Differentiable in both arguments by autograd. Cells are located in float64 (MPS has none): at fine levels float32
    would lose the fraction that interpolation lives on.
    """
    precise = torch.float32 if positions.device.type == "mps" else torch.float64
    features = []
    corners = torch.tensor([[i & 1, (i >> 1) & 1, (i >> 2) & 1] for i in range(8)], device=positions.device)
    for level in layout.levels:
        location = positions.to(precise) * level.scale + 0.5
        cell = torch.floor(location.detach())
        fraction = (location - cell).to(table.dtype)[:, None, :]
        index = _entry_index(cell.long()[:, None, :] + corners, level) + level.offset
        weight = torch.where(corners.bool(), fraction, 1.0 - fraction).prod(dim=-1)
        # Not by indexing, whose gradient sorts the indices on a GPU.
        entries = table.index_select(0, index.flatten()).view(*index.shape, -1)
        features.append((entries * weight[..., None]).sum(dim=1))
    return torch.cat(features, dim=-1)
