"""The radiance field: hash grid, density network, colour network (Nerfacto's decomposition, Tancik et al. 2023)."""

from __future__ import annotations

import torch
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.utils.math import components_from_spherical_harmonics
from torch import Tensor

from diffnerf_ns.field.chunked_mlp import ChunkedMLP
from diffnerf_ns.field.hash_grid import HashGrid, HashGridBackend
from diffnerf_ns.field.scene_box_field import SceneBoxField

_LARGEST_EXPONENT = 11.0
"""Density is capped at its exponential (6e4 per scene unit, opaque within a hair) so that no product overflows."""

_SMALLEST_EXPONENT = -8.0
"""Density never falls below its exponential (0.2 % of a ray in 5 m), so that emptiness can be revised: an exponential
that has gone to zero has no gradient."""


class DiffnerfField(SceneBoxField):
    """Density and colour inside a box of the scene.

    Args:
        aabb: [2, 3] corners of the scene box in scene units. Its longest side spans the hash grid.
        num_levels: resolutions of the hash grid.
        base_resolution: coarsest resolution of the hash grid over the box.
        max_resolution: finest resolution of the hash grid over the box.
        log2_hashmap_size: largest number of table entries of one resolution, as a power of two.
        hidden_dim: width of the density network.
        hidden_dim_color: width of the colour network.
        geo_feat_dim: features that density hands to colour.
        backend: which hash grid implementation to use.
    """

    spherical_harmonics_levels = 4

    def __init__(
        self,
        aabb: Tensor,
        num_levels: int,
        base_resolution: int,
        max_resolution: int,
        log2_hashmap_size: int,
        hidden_dim: int = 64,
        hidden_dim_color: int = 64,
        geo_feat_dim: int = 15,
        backend: HashGridBackend = "auto",
    ) -> None:
        super().__init__(aabb)
        self.hash_grid = HashGrid(num_levels, base_resolution, max_resolution, log2_hashmap_size, backend)
        self.density_mlp = ChunkedMLP([self.hash_grid.out_dim, hidden_dim, 1 + geo_feat_dim])
        directions_dim = self.spherical_harmonics_levels**2
        self.color_mlp = ChunkedMLP([directions_dim + geo_feat_dim, hidden_dim_color, hidden_dim_color, 3])

    def density_and_geometry(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] per scene unit and geometry features [N, geo_feat_dim] of scene positions [N, 3]."""
        hidden = self.density_mlp(self.hash_grid(self.normalise(positions)))
        exponent = hidden[:, 0].float() - 1.0
        bounded = exponent.clamp(_SMALLEST_EXPONENT, _LARGEST_EXPONENT)
        return trunc_exp(exponent + (bounded - exponent).detach()), hidden[:, 1:]

    def encode_directions(self, directions: Tensor) -> Tensor:
        """Spherical harmonics [N, 16] of unit directions [N, 3]."""
        return components_from_spherical_harmonics(self.spherical_harmonics_levels, directions)

    def color(self, geometry: Tensor, encoded_directions: Tensor) -> Tensor:
        """Colour [N, 3] in [0, 1] of geometry features seen along encoded directions."""
        hidden = self.color_mlp(torch.cat([encoded_directions.to(geometry.dtype), geometry], dim=-1))
        return torch.sigmoid(hidden.float())
