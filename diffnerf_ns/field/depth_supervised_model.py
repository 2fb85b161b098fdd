"""What the models of this family share, whatever their field: rays in a box, colour, depth losses, poses, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components.losses import MSELoss
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from diffnerf_ns.field import depth_losses
from diffnerf_ns.field.image_metrics import ImageMetrics
from diffnerf_ns.field.pose_drift import PoseDriftConfig
from diffnerf_ns.field.scene_box_field import SceneBoxField
from diffnerf_ns.field.volume_rendering import box_near_far, median_ray_length, midpoints


@dataclass
class DepthSupervisedModelConfig(ModelConfig):
    """Settings that do not depend on the field."""

    _target: type = field(default_factory=lambda: DepthSupervisedModel)
    enable_collider: bool = False
    """Rays are bounded by the scene box, not by nerfstudio's near/far collider."""
    near_plane: float = 0.05
    """Closest ray length that is sampled, in metres."""
    background_color: Literal["auto", "random", "last_sample", "black", "white"] = "last_sample"
    """What light that passes through everything shows; auto takes what the dataparser put behind transparent images,
    and last_sample where it put nothing."""
    negligible_weight: float = 1e-3
    """Samples that contribute less than this to their ray are not coloured."""

    depth_loss_mult: float = 0.01
    """Weight of the likelihood of a known depth; 0 with free_space_loss_mult 0 trains on colour alone."""
    free_space_loss_mult: float = 0.1
    """Weight of the penalty on matter in front of a known depth."""
    free_space_sigmas: float = 3.0
    """Width of the band before a known depth that does not count as free, in its standard deviations."""
    distortion_loss_mult: float = 0.002
    """Weight of the penalty on matter spread along a ray."""

    camera_optimizer: PoseDriftConfig = field(default_factory=lambda: PoseDriftConfig(mode="SO3xR3"))
    """Refinement of the training poses."""


class DepthSupervisedModel(Model):
    """A radiance field in the scene's box; each training ray may know its depth and how far it can be trusted."""

    config: DepthSupervisedModelConfig
    field: SceneBoxField

    def populate_modules(self) -> None:
        """Build what does not depend on the field."""
        super().populate_modules()
        metadata = self.kwargs.get("metadata") or {}
        self.scene_units_per_metre = float(metadata.get("dataparser_scale", 1.0))
        self.camera_optimizer = self.config.camera_optimizer.setup(
            num_cameras=self.num_train_data,
            device="cpu",
            camera_to_worlds=metadata.get("camera_to_worlds"),
            scene_units_per_metre=self.scene_units_per_metre,
        )
        background = self.config.background_color
        if background == "auto":
            background = metadata.get("alpha_color", "last_sample")
        self.renderer_rgb = RGBRenderer(background_color=background)
        self.rgb_loss = MSELoss()
        self.image_metrics = ImageMetrics(self.scene_units_per_metre)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The field's parameters, and the pose corrections where poses are refined."""
        groups: dict[str, list[Parameter]] = {"fields": list(self.field.parameters())}
        self.camera_optimizer.get_param_groups(param_groups=groups)
        return groups

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """Render a camera from where the refined training poses say that it stands."""
        return super().get_outputs_for_camera(self.camera_optimizer.corrected(camera), obb_box)

    def near_far(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor]:
        """Ray lengths [N, 1] between which rays are in the scene box."""
        return box_near_far(
            ray_bundle.origins.detach(),
            ray_bundle.directions.detach(),
            self.field.aabb,
            self.config.near_plane * self.scene_units_per_metre,
        )

    def known_depth(self, ray_bundle: RayBundle) -> tuple[Tensor | None, Tensor | None]:
        """Depth and sigma [N, 1] along the rays, from the z-depth that the data manager put beside them."""
        metadata = ray_bundle.metadata or {}
        if not self.training or "depth_z" not in metadata:
            return None, None
        norm = metadata["directions_norm"]
        return metadata["depth_z"] * norm, metadata["depth_sigma"] * norm

    def composite_color(self, of: SceneBoxField, weights: Tensor, geometry: Tensor, directions: Tensor) -> Tensor:
        """Colour [N, 3] of rays. Only samples that are seen are coloured; the last one is the background's colour.

        Args:
            of: the field that gives colour.
            weights: [N, S] termination probability of each sample.
            geometry: [N * S, G] what the field gave for the samples beside density.
            directions: [N, 3] unit directions.
        """
        shown = weights.detach() > self.config.negligible_weight
        shown[:, -1] = True
        index = shown.view(-1).nonzero()[:, 0]
        ray = index // weights.shape[1]
        encoded = of.encode_directions(directions.detach())
        color = of.color(geometry[index], encoded[ray])
        weight = weights.view(-1)[index]
        last = index % weights.shape[1] == weights.shape[1] - 1
        rgb = torch.zeros(len(weights), 3, device=weights.device).index_add(0, ray, weight[:, None] * color)
        remaining = 1.0 - weights.sum(dim=-1, keepdim=True)
        background = self.renderer_rgb.background_color
        if isinstance(background, Tensor):
            rgb = rgb + remaining * background.to(rgb)
        elif background == "last_sample":
            rgb = rgb + remaining * color[last]
        elif background == "white":
            rgb = rgb + remaining
        return rgb

    def ray_outputs(self, ray_bundle: RayBundle, rgb: Tensor, weights: Tensor, edges: Tensor) -> dict[str, Tensor]:
        """What viewer, exporters and metrics want of rays that end in intervals between edges with these weights."""
        accumulation = weights.sum(dim=-1, keepdim=True)
        outputs = {
            "rgb": rgb,
            "accumulation": accumulation,
            "depth": median_ray_length(weights.detach(), edges),
            "expected_depth": (weights * midpoints(edges)).sum(dim=-1, keepdim=True) / accumulation.clamp(min=1e-6),
        }
        if ray_bundle.metadata is not None and "directions_norm" in ray_bundle.metadata:
            outputs["directions_norm"] = ray_bundle.metadata["directions_norm"]
        if not self.training:
            directions = ray_bundle.directions
            outputs["normals"] = self.field.normals(ray_bundle.origins + directions * outputs["depth"], directions)
        return outputs

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Numbers worth watching during training."""
        target = self.renderer_rgb.blend_background(batch["image"].to(self.device))
        mse = torch.mean((outputs["rgb"].detach() - target) ** 2)
        metrics = {"psnr": -10.0 * torch.log10(mse.clamp(min=1e-10))}
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics

    def color_loss(self, rgb: Tensor, accumulation: Tensor, batch: dict[str, Any]) -> Tensor:
        """Mean squared error of rendered colour [N, 3]."""
        predicted, target = self.renderer_rgb.blend_background_for_loss_computation(
            pred_image=rgb, pred_accumulation=accumulation, gt_image=batch["image"].to(self.device)
        )
        return self.rgb_loss(target, predicted)

    def geometry_losses(self, weights: Tensor, edges: Tensor, outputs: dict[str, Any]) -> dict[str, Tensor]:
        """What depth says about where rays end, and how far they may spread.

        Args:
            weights: [N, S] termination probability of each interval.
            edges: [N, S + 1] bounds of the intervals.
            outputs: holds near, far, known_depth_ray and known_sigma_ray of the rays.
        """
        config = self.config
        losses = {
            "distortion_loss": config.distortion_loss_mult
            * depth_losses.distortion_loss(weights, edges, outputs["near"], outputs["far"])
        }
        depth_ray, sigma_ray = outputs["known_depth_ray"], outputs["known_sigma_ray"]
        if depth_ray is not None:
            lengths = midpoints(edges)
            losses["depth_loss"] = config.depth_loss_mult * depth_losses.gated_likelihood_loss(
                weights, lengths, depth_ray, sigma_ray
            )
            losses["free_space_loss"] = config.free_space_loss_mult * depth_losses.free_space_loss(
                weights, lengths, depth_ray, sigma_ray, config.free_space_sigmas
            )
        return losses

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Colour, and what depth says about where each ray ends."""
        losses = {"rgb_loss": self.color_loss(outputs["rgb"], outputs["accumulation"], batch)}
        if self.training:
            losses.update(self.geometry_losses(outputs["weights"], outputs["edges"], outputs))
            self.camera_optimizer.get_loss_dict(losses)
        return losses

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics and pictures of one rendered evaluation view."""
        truth = self.renderer_rgb.blend_background(batch["image"].to(outputs["rgb"].device))
        return self.image_metrics(outputs, truth, batch)
