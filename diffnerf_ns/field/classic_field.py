"""NeRF's network as published (Mildenhall et al. 2020): encoded position, eight layers of 256, colour by direction."""

from __future__ import annotations

import torch
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.field_components.mlp import MLP
from torch import Tensor, nn

from diffnerf_ns.cpu_features import cpu_has_native_bfloat16
from diffnerf_ns.field.scene_box_field import SceneBoxField

_COLOR_WIDTH = 128


class ClassicField(SceneBoxField):
    """Density and colour of one network; coarse and fine samples have one each.

    Two things differ from the paper: the scene box, not the camera's frustum, spans [-1, 1]^3; and density is a
    softplus, because a ReLU can be zero everywhere from the start and then never learns. On CPUs with native bfloat16
    products are taken in it, as in the hash-grid field.

    Args:
        aabb: [2, 3] corners of the scene box in scene units.
        position_frequencies: octaves of the positional encoding, from half a period over the box on.
        direction_frequencies: octaves of the encoding of directions.
        num_layers: layers before density.
        width: hidden units of each.
        skip_layer: layer (from 0) whose output is joined by the encoded position.
    """

    def __init__(
        self,
        aabb: Tensor,
        position_frequencies: int = 10,
        direction_frequencies: int = 4,
        num_layers: int = 8,
        width: int = 256,
        skip_layer: int = 4,
    ) -> None:
        super().__init__(aabb)
        self.position_encoding = NeRFEncoding(3, position_frequencies, 0.0, position_frequencies - 1.0, True)
        self.direction_encoding = NeRFEncoding(3, direction_frequencies, 0.0, direction_frequencies - 1.0, True)
        self.trunk = MLP(
            self.position_encoding.get_out_dim(),
            num_layers,
            width,
            skip_connections=(skip_layer + 1,),
            out_activation=nn.ReLU(),
        )
        self.density_head = nn.Linear(width, 1)
        self.feature_head = nn.Linear(width, width)
        self.color_head = MLP(width + self.direction_encoding.get_out_dim(), 2, _COLOR_WIDTH, out_dim=3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def _cpu_precision(self, tensor: Tensor) -> torch.autocast:
        enabled = tensor.device.type == "cpu" and cpu_has_native_bfloat16()
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)

    def density_and_geometry(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] per scene unit and features [N, width] of scene positions [N, 3]."""
        encoded = self.position_encoding(self.normalise(positions))
        with self._cpu_precision(positions):
            hidden = self.trunk(encoded)
            return nn.functional.softplus(self.density_head(hidden)[:, 0].float()), hidden

    def encode_directions(self, directions: Tensor) -> Tensor:
        """Positional encoding of unit directions [N, 3]."""
        return self.direction_encoding(0.5 * (directions + 1.0))

    def color(self, geometry: Tensor, encoded_directions: Tensor) -> Tensor:
        """Colour [N, 3] in [0, 1] of features [N, width] seen along encoded directions."""
        with self._cpu_precision(geometry):
            feature = self.feature_head(geometry)
            hidden = self.color_head(torch.cat([feature, encoded_directions.to(feature.dtype)], dim=-1))
        return torch.sigmoid(hidden.float())
