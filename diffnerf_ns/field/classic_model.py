"""The classic: NeRF with coarse and fine samples (Mildenhall et al. 2020), under the data and losses of diffnerf."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn import Parameter

from diffnerf_ns.field.classic_field import ClassicField
from diffnerf_ns.field.depth_supervised_model import DepthSupervisedModel, DepthSupervisedModelConfig
from diffnerf_ns.field.pose_drift import PoseDriftConfig
from diffnerf_ns.field.volume_rendering import render_weights, sample_from_histogram, sample_positions, stratified

_PADDING = 1e-2
"""Weight added to the coarse weights, shared over a ray's intervals: fine samples go everywhere a little."""


@dataclass
class ClassicModelConfig(DepthSupervisedModelConfig):
    """Settings of the two networks and their samples."""

    _target: type = field(default_factory=lambda: ClassicModel)
    background_color: Literal["auto", "random", "last_sample", "black", "white"] = "auto"
    """What light that passes through everything shows; auto takes what the dataparser put behind transparent images,
    and last_sample where it put nothing."""
    coarse_samples: int = 64
    """Samples of a ray spread evenly from where it enters the scene box to where it leaves it."""
    fine_samples: int = 128
    """Samples of a ray placed by the coarse network; the fine network sees these and the coarse ones."""
    position_frequencies: int = 10
    """Octaves of the positional encoding, from half a period over the scene box on."""
    direction_frequencies: int = 4
    """Octaves of the encoding of viewing directions."""
    num_layers: int = 8
    """Layers of a network before density."""
    hidden_dim: int = 256
    """Hidden units of each layer."""
    skip_layer: int = 4
    """Layer (from 0) whose output is joined by the encoded position."""
    camera_optimizer: PoseDriftConfig = field(default_factory=lambda: PoseDriftConfig(mode="off"))
    """Refinement of the training poses; NeRF as published has none."""


class ClassicModel(DepthSupervisedModel):
    """Two networks: the coarse one tells where the fine one looks, and both learn colour and depth."""

    config: ClassicModelConfig
    field: ClassicField

    def populate_modules(self) -> None:
        """Build the two networks."""
        super().populate_modules()
        self.coarse_field, self.field = self._build_field(), self._build_field()

    def _build_field(self) -> ClassicField:
        config = self.config
        return ClassicField(
            self.scene_box.aabb.float(),
            position_frequencies=config.position_frequencies,
            direction_frequencies=config.direction_frequencies,
            num_layers=config.num_layers,
            width=config.hidden_dim,
            skip_layer=config.skip_layer,
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Both networks' parameters, and the pose corrections where poses are refined."""
        groups = super().get_param_groups()
        groups["fields"] += list(self.coarse_field.parameters())
        return groups

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor | Any]:
        """Render rays from the fine network's samples; in training, from the coarse network's too."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        near, far = self.near_far(ray_bundle)
        inner = stratified(near, far, self.config.coarse_samples - 1, jitter=self.training)
        coarse_edges = torch.cat([near, inner, far], dim=-1)
        coarse_weights, coarse_geometry = self._weights(self.coarse_field, ray_bundle, coarse_edges)
        edges = self._fine_edges(coarse_edges, coarse_weights.detach())
        weights, geometry = self._weights(self.field, ray_bundle, edges)
        rgb = self.composite_color(self.field, weights, geometry, ray_bundle.directions)
        outputs: dict[str, Any] = self.ray_outputs(ray_bundle, rgb, weights, edges)
        if self.training:
            known = self.known_depth(ray_bundle)
            outputs.update(weights=weights, edges=edges, near=near, far=far, known_depth=known)
            outputs.update(coarse_weights=coarse_weights, coarse_edges=coarse_edges)
            coarse_rgb = self.composite_color(self.coarse_field, coarse_weights, coarse_geometry, ray_bundle.directions)
            outputs["coarse_rgb"] = self.exposure(coarse_rgb, ray_bundle.camera_indices)
        return outputs

    def _weights(self, of: ClassicField, ray_bundle: RayBundle, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Termination probabilities [N, S] and features [N * S, G] of the intervals between edges."""
        density, geometry = of.density_and_geometry(sample_positions(ray_bundle.origins, ray_bundle.directions, edges))
        return render_weights(density.view(len(edges), -1), edges), geometry

    def _fine_edges(self, coarse_edges: Tensor, coarse_weights: Tensor) -> Tensor:
        """The coarse edges and those that the coarse weights ask for, sorted [N, coarse + fine + 1]."""
        padded = coarse_weights + _PADDING / coarse_weights.shape[1]
        placed = sample_from_histogram(coarse_edges, padded, self.config.fine_samples, jitter=self.training)
        return torch.sort(torch.cat([coarse_edges, placed], dim=-1), dim=-1).values

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """The same losses for both networks."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training:
            weights = outputs["coarse_weights"]
            coarse = {
                "rgb_loss": self.color_loss(outputs["coarse_rgb"], weights.sum(dim=-1, keepdim=True), batch),
                **self.geometry_losses(weights, outputs["coarse_edges"], outputs),
            }
            losses.update({f"{name}_coarse": loss for name, loss in coarse.items()})
        return losses
