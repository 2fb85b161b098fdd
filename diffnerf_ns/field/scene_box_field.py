"""What fields of this family share: a cube around the scene box, and nerfstudio's interface to density and colour."""

from __future__ import annotations

from abc import abstractmethod

import torch
from nerfstudio.cameras.rays import RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.base_field import Field
from torch import Tensor


class SceneBoxField(Field):
    """Density and colour inside a box of the scene.

    Args:
        aabb: [2, 3] corners of the scene box in scene units. Its longest side becomes that of the unit cube.
    """

    aabb: Tensor

    def __init__(self, aabb: Tensor) -> None:
        super().__init__()
        self.register_buffer("aabb", aabb.clone())

    def normalise(self, positions: Tensor) -> Tensor:
        """Scene positions [N, 3] as positions in [0, 1]^3; outside, the nearest point of the cube is taken."""
        side = (self.aabb[1] - self.aabb[0]).max()
        centre = 0.5 * (self.aabb[0] + self.aabb[1])
        return ((positions - centre) / side + 0.5).clamp(0.0, 1.0)

    @abstractmethod
    def density_and_geometry(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] per scene unit and features for colour [N, G] of scene positions [N, 3]."""

    @abstractmethod
    def encode_directions(self, directions: Tensor) -> Tensor:
        """What colour is told of unit directions [N, 3]."""

    @abstractmethod
    def color(self, geometry: Tensor, encoded_directions: Tensor) -> Tensor:
        """Colour [N, 3] in [0, 1] of geometry features seen along encoded directions."""

    def get_density(self, ray_samples: RaySamples) -> tuple[Tensor, Tensor]:
        """nerfstudio's interface: density [..., 1] and geometry features [..., G] of ray samples."""
        positions = ray_samples.frustums.get_positions()
        density, geometry = self.density_and_geometry(positions.reshape(-1, 3))
        return density.view(*positions.shape[:-1], 1), geometry.view(*positions.shape[:-1], -1)

    def get_outputs(
        self, ray_samples: RaySamples, density_embedding: Tensor | None = None
    ) -> dict[FieldHeadNames, Tensor]:
        """nerfstudio's interface: colour [..., 3] of ray samples."""
        assert density_embedding is not None
        directions = ray_samples.frustums.directions.expand(*density_embedding.shape[:-1], 3)
        encoded = self.encode_directions(directions.reshape(-1, 3))
        rgb = self.color(density_embedding.reshape(-1, density_embedding.shape[-1]), encoded)
        return {FieldHeadNames.RGB: rgb.view(*directions.shape[:-1], 3)}

    def normals(self, positions: Tensor, directions: Tensor) -> Tensor:
        """Surface normals mapped from [-1, 1] to [0, 1]: against the density's gradient, facing the camera.

        Args:
            positions: [N, 3] points in scene units.
            directions: [N, 3] unit directions along which they are seen.
        """
        with torch.enable_grad():
            points = positions.detach().requires_grad_(True)
            density, _ = self.density_and_geometry(points)
            (gradient,) = torch.autograd.grad(torch.log(density + 1e-6).sum(), points)
        normals = -torch.nn.functional.normalize(gradient, dim=-1, eps=1e-9)
        facing = torch.where((normals * directions).sum(dim=-1, keepdim=True) > 0, -normals, normals)
        return 0.5 * (facing + 1.0)
