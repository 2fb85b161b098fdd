"""What the models of this family share, whatever their field: rays in a box, colour, depth losses, poses, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.model_components.losses import MSELoss
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from diffnerf_ns.field import depth_losses, surface_losses
from diffnerf_ns.field.chunk_size import with_smaller_chunks_if_needed
from diffnerf_ns.field.depth_calibration import DepthCalibration, DepthCalibrationConfig
from diffnerf_ns.field.doubtful_depth import DoubtfulDepth, DoubtfulDepthConfig
from diffnerf_ns.field.exposure import Exposure, ExposureConfig
from diffnerf_ns.field.image_metrics import ImageMetrics
from diffnerf_ns.field.pose_drift import PoseDriftConfig
from diffnerf_ns.field.scene_box_field import SceneBoxField
from diffnerf_ns.field.viewer_camera import FirstViewCamera
from diffnerf_ns.field.volume_rendering import box_near_far, expected_ray_length, median_ray_length, midpoints


class KnownDepth(NamedTuple):
    """Where rays [N, 1] are known to end, in scene units along the ray; 0 where that is not known."""

    depth_ray: Tensor
    sigma_ray: Tensor
    """Its standard deviation."""
    guide_ray: Tensor
    """The same depth where samples are placed by it, else 0."""


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

    depth_loss_type: Literal["likelihood", "l1", "berhu", "wasserstein"] = "likelihood"
    """How a ray's end is held to its known depth; all count in the depth's standard deviations."""
    depth_loss_mult: float = 0.01
    """Weight of the loss on a known depth; 0 with free_space_loss_mult 0 trains on colour alone."""
    berhu_threshold: float = 10.0
    """Distance from the known depth at which berhu turns from linear to quadratic, in its standard deviations."""
    free_space_loss_mult: float = 0.1
    """Weight of the penalty on matter in front of a known depth."""
    free_space_sigmas: float = 3.0
    """Width of the band before a known depth that does not count as free, in its standard deviations."""
    doubtful_depth: DoubtfulDepthConfig = field(default_factory=DoubtfulDepthConfig)
    """Depth that counts like any other at the beginning of a training alone."""
    distortion_loss_mult: float = 0.002
    """Weight of the penalty on matter spread along a ray."""
    smoothness_loss_mult: float = 0.0
    """Weight of the penalty on bent surfaces where the picture is even; needs the data manager's patch_size."""
    normal_loss_mult: float = 0.0
    """Weight of the loss on the field's normals; needs the data manager's normals_from_depth."""
    normal_step_m: float = 0.01
    """Distance from a surface point at which density is looked up for the field's normal, metres."""

    camera_optimizer: PoseDriftConfig = field(default_factory=lambda: PoseDriftConfig(mode="SO3xR3"))
    """Refinement of the training poses."""
    exposure: ExposureConfig = field(default_factory=ExposureConfig)
    """Brightness and tint of the training images."""
    depth_calibration: DepthCalibrationConfig = field(default_factory=DepthCalibrationConfig)
    """Scale and shift of the training frames' depth."""


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
        self.exposure = Exposure(self.config.exposure, self.num_train_data)
        self.depth_calibration = DepthCalibration(
            self.config.depth_calibration, self.num_train_data, self.scene_units_per_metre
        )
        self.doubtful_depth = DoubtfulDepth(self.config.doubtful_depth, self.scene_units_per_metre)
        background = self.config.background_color
        if background == "auto":
            background = metadata.get("alpha_color", "last_sample")
        self.renderer_rgb = RGBRenderer(background_color=background)
        self.rgb_loss = MSELoss()
        self.image_metrics = ImageMetrics(self.scene_units_per_metre)
        self.first_view_camera = FirstViewCamera()

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The field's parameters, and those of poses, exposure and depth where they are learnt with it."""
        groups: dict[str, list[Parameter]] = {"fields": list(self.field.parameters())}
        self.camera_optimizer.get_param_groups(param_groups=groups)
        self.exposure.get_param_groups(groups)
        self.depth_calibration.get_param_groups(groups)
        return groups

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Let go of doubtful depth in time."""
        return [self.doubtful_depth.training_callback(training_callback_attributes)]

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """Render a camera from where the refined training poses say that it stands, exposed as its neighbours are."""
        outputs = super().get_outputs_for_camera(self.camera_optimizer.corrected(camera), obb_box)
        outputs["rgb"] = self.exposure.of_neighbours(outputs["rgb"], self.camera_optimizer.nearness(camera))
        return outputs

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Render the rays of a picture, in chunks that fit into memory."""
        render = super().get_outputs_for_camera_ray_bundle
        return with_smaller_chunks_if_needed(lambda: render(camera_ray_bundle), self.config)

    def near_far(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor]:
        """Ray lengths [N, 1] between which rays are in the scene box."""
        return box_near_far(
            ray_bundle.origins.detach(),
            ray_bundle.directions.detach(),
            self.field.aabb,
            self.config.near_plane * self.scene_units_per_metre,
        )

    def known_depth(self, ray_bundle: RayBundle) -> KnownDepth | None:
        """What the data manager put beside the rays of a training; None where it put nothing."""
        metadata = ray_bundle.metadata or {}
        if not self.training or "depth_z" not in metadata:
            return None
        norm, depth_z, sigma_z = metadata["directions_norm"], metadata["depth_z"], metadata["depth_sigma"]
        doubtful = self.doubtful_depth.is_over(depth_z, sigma_z)
        widened = torch.where(doubtful, self.config.doubtful_depth.widening * sigma_z, sigma_z)
        depth_ray = self.depth_calibration(depth_z, ray_bundle.camera_indices) * norm
        return KnownDepth(depth_ray, widened * norm, torch.where(doubtful, 0.0, depth_ray))

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
        color = of.color(geometry.index_select(0, index), encoded.index_select(0, ray))
        weight = weights.view(-1).index_select(0, index)
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
        """What viewer, exporters, metrics and losses want of rays that end between edges with these weights."""
        outputs = {
            "rgb": self.exposure(rgb, ray_bundle.camera_indices) if self.training else rgb,
            "accumulation": weights.sum(dim=-1, keepdim=True),
            "depth": median_ray_length(weights.detach(), edges),
            "expected_depth": expected_ray_length(weights, edges),
        }
        if ray_bundle.metadata is not None and "directions_norm" in ray_bundle.metadata:
            outputs["directions_norm"] = ray_bundle.metadata["directions_norm"]
        directions = ray_bundle.directions
        if self.training:
            outputs["surface"] = (ray_bundle.origins + directions * outputs["expected_depth"]).detach()
        else:
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
            outputs: holds near, far and known_depth of the rays.
        """
        config = self.config
        losses = {
            "distortion_loss": config.distortion_loss_mult
            * depth_losses.distortion_loss(weights, edges, outputs["near"], outputs["far"])
        }
        known = outputs["known_depth"]
        if known is not None:
            depth_ray, sigma_ray = known.depth_ray, known.sigma_ray
            losses["depth_loss"] = config.depth_loss_mult * self._depth_loss(weights, edges, depth_ray, sigma_ray)
            losses["free_space_loss"] = config.free_space_loss_mult * depth_losses.free_space_loss(
                weights, midpoints(edges), depth_ray, sigma_ray, config.free_space_sigmas
            )
        return losses

    def _depth_loss(self, weights: Tensor, edges: Tensor, depth_ray: Tensor, sigma_ray: Tensor) -> Tensor:
        """What rays pay that do not end where their known depth says."""
        match self.config.depth_loss_type:
            case "likelihood":
                return depth_losses.gated_likelihood_loss(weights, midpoints(edges), depth_ray, sigma_ray)
            case "l1":
                return depth_losses.l1_loss(expected_ray_length(weights, edges), depth_ray, sigma_ray)
            case "berhu":
                expected = expected_ray_length(weights, edges)
                return depth_losses.berhu_loss(expected, depth_ray, sigma_ray, self.config.berhu_threshold)
            case "wasserstein":
                return depth_losses.wasserstein_loss(weights, edges, depth_ray, sigma_ray)

    def shape_losses(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """What is known of the shape of surfaces, where that is asked for."""
        losses = {}
        if self.config.smoothness_loss_mult > 0:
            losses["smoothness_loss"] = self.config.smoothness_loss_mult * self._smoothness_loss(outputs, batch)
        if self.config.normal_loss_mult > 0:
            losses["normal_loss"] = self.config.normal_loss_mult * self._normal_loss(outputs, batch)
        return losses

    def _smoothness_loss(self, outputs: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """What the patches of a batch pay for bent surfaces."""
        side = batch.get("patch_size", 1)
        if side < surface_losses.SHORTEST_SIDE:
            raise ValueError(
                f"pipeline.model.smoothness-loss-mult needs patches of {surface_losses.SHORTEST_SIDE} pixels or more, "
                f"the batch has patches of {side}. Set pipeline.datamanager.patch-size, or smoothness-loss-mult to 0."
            )
        depth_z = outputs["expected_depth"] / outputs["directions_norm"]
        seen = outputs["accumulation"].detach() > 0.5
        image = batch["image"][..., :3].to(depth_z)
        return surface_losses.edge_aware_smoothness_loss(
            depth_z.view(-1, side, side), image.view(-1, side, side, 3), seen.view(-1, side, side)
        )

    def _normal_loss(self, outputs: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """What the field pays where its surfaces are not turned as the known depth says."""
        if "normal_image" not in batch:
            raise ValueError(
                "pipeline.model.normal-loss-mult needs normals, the batch has no normal_image. "
                "Set pipeline.datamanager.normals-from-depth to True, or normal-loss-mult to 0."
            )
        known_normals = batch["normal_image"].to(outputs["surface"])
        rays = known_normals.any(dim=-1)
        axes = torch.eye(3, device=rays.device) * self.config.normal_step_m * self.scene_units_per_metre
        around = outputs["surface"][rays][:, None, :] + torch.cat([axes, -axes])
        density, _ = self.field.density_and_geometry(around.view(-1, 3))
        normals = surface_losses.normals_of_density(torch.log(density.view(-1, 6)))
        return surface_losses.normal_loss(normals, known_normals[rays])

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Colour, and what depth says about where each ray ends."""
        losses = {"rgb_loss": self.color_loss(outputs["rgb"], outputs["accumulation"], batch)}
        if self.training:
            losses.update(self.geometry_losses(outputs["weights"], outputs["edges"], outputs))
            losses.update(self.shape_losses(outputs, batch))
            self.camera_optimizer.get_loss_dict(losses)
            self.exposure.get_loss_dict(losses)
            self.depth_calibration.get_loss_dict(losses)
        return losses

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics and pictures of one rendered evaluation view."""
        truth = self.renderer_rgb.blend_background(batch["image"].to(outputs["rgb"].device))
        return self.image_metrics(outputs, truth, batch)
