"""The diffnerf model: a hash-grid radiance field whose samples and losses follow depth as far as it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components.losses import MSELoss
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from diffnerf_ns.field import depth_losses
from diffnerf_ns.field.density_grid import DensityGrid, spread
from diffnerf_ns.field.depth_guided_sampler import SampleShares, training_edges
from diffnerf_ns.field.diffnerf_field import DiffnerfField
from diffnerf_ns.field.hash_grid import HashGridBackend
from diffnerf_ns.field.image_metrics import ImageMetrics
from diffnerf_ns.field.pose_drift import PoseDriftConfig
from diffnerf_ns.field.volume_rendering import (
    box_near_far,
    median_ray_length,
    midpoints,
    render_weights,
    sample_from_histogram,
)


@dataclass
class DiffnerfModelConfig(ModelConfig):
    """Settings of the field, its sampling and its losses."""

    _target: type = field(default_factory=lambda: DiffnerfModel)
    enable_collider: bool = False
    """Rays are bounded by the scene box, not by nerfstudio's near/far collider."""
    near_plane: float = 0.05
    """Closest ray length that is sampled, in metres."""
    background_color: Literal["random", "last_sample", "black", "white"] = "last_sample"
    """What light that passes through everything shows."""

    num_levels: int = 12
    """Resolutions of the hash grid."""
    base_resolution: int = 16
    """Coarsest resolution of the hash grid, cells along the longest side of the scene box."""
    max_resolution: int = 1024
    """Finest resolution of the hash grid, cells along the longest side of the scene box."""
    log2_hashmap_size: int = 17
    """Largest number of hash table entries of one resolution, as a power of two."""
    hidden_dim: int = 64
    """Width of the density network."""
    hidden_dim_color: int = 64
    """Width of the colour network."""
    hash_grid_backend: HashGridBackend = "auto"
    """Implementation of the hash grid; auto takes the fastest that is installed for the device."""

    samples_in_band: int = 12
    """Training samples of a ray placed around its known depth."""
    samples_in_free_space: int = 4
    """Training samples of a ray placed between the camera and its known depth."""
    samples_from_grid: int = 8
    """Training samples of a ray placed by the density grid."""
    samples_anywhere: int = 8
    """Training samples of a ray stratified over its whole length."""
    band_sigmas: float = 3.0
    """Half width of the band around a known depth, in its standard deviations."""
    grid_steps: int = 64
    """Density grid look-ups along a ray."""
    eval_grid_samples: int = 32
    """Evaluation samples of a ray placed by the density grid, at which the field's density is looked at."""
    eval_samples: int = 32
    """Evaluation samples of a ray placed by the field's density, from which the ray is rendered."""
    negligible_weight: float = 1e-3
    """Samples that contribute less than this to their ray are not coloured."""

    density_grid_resolution: int = 96
    """Cells of the density grid along each axis."""
    density_grid_every: int = 16
    """Training steps between updates of the density grid."""
    density_grid_fraction: float = 0.125
    """Share of the density grid's cells that one update looks at."""
    density_grid_decay: float = 0.9
    """Factor on a cell's old density when it is looked at again."""

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


class DiffnerfModel(Model):
    """A Nerfacto-style field with a density grid for proposals and per-pixel depth with its uncertainty."""

    config: DiffnerfModelConfig

    def populate_modules(self) -> None:
        """Build the field, the density grid and what measures them."""
        super().populate_modules()
        config = self.config
        aabb = self.scene_box.aabb.float()
        self.field = DiffnerfField(
            aabb,
            num_levels=config.num_levels,
            base_resolution=config.base_resolution,
            max_resolution=config.max_resolution,
            log2_hashmap_size=config.log2_hashmap_size,
            hidden_dim=config.hidden_dim,
            hidden_dim_color=config.hidden_dim_color,
            backend=config.hash_grid_backend,
        )
        self.density_grid = DensityGrid(aabb, config.density_grid_resolution)
        metadata = self.kwargs.get("metadata") or {}
        self.scene_units_per_metre = float(metadata.get("dataparser_scale", 1.0))
        self.camera_optimizer = config.camera_optimizer.setup(
            num_cameras=self.num_train_data,
            device="cpu",
            camera_to_worlds=metadata.get("camera_to_worlds"),
            scene_units_per_metre=self.scene_units_per_metre,
        )
        self.shares = SampleShares(
            band=config.samples_in_band,
            free=config.samples_in_free_space,
            grid=config.samples_from_grid,
            anywhere=config.samples_anywhere,
            band_sigmas=config.band_sigmas,
            grid_steps=config.grid_steps,
        )
        self.renderer_rgb = RGBRenderer(background_color=config.background_color)
        self.rgb_loss = MSELoss()
        self.image_metrics = ImageMetrics(self.scene_units_per_metre)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The field's parameters, and the pose corrections where poses are refined."""
        groups: dict[str, list[Parameter]] = {"fields": list(self.field.parameters())}
        self.camera_optimizer.get_param_groups(param_groups=groups)
        return groups

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Keep the density grid abreast of the field."""
        return [
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                update_every_num_iters=self.config.density_grid_every,
                func=lambda step: self.update_density_grid(),
            )
        ]

    @torch.no_grad()
    def update_density_grid(self) -> None:
        """Let the density grid look at the field again."""
        self.density_grid.update(
            lambda positions: self.field.density_and_geometry(positions)[0],
            self.config.density_grid_fraction,
            self.config.density_grid_decay,
        )

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """Render a camera from where the refined training poses say that it stands."""
        return super().get_outputs_for_camera(self.camera_optimizer.corrected(camera), obb_box)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor | Any]:
        """Render rays: where they end, and what colour they see there."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        origins, directions = ray_bundle.origins, ray_bundle.directions
        near, far = box_near_far(
            origins.detach(),
            directions.detach(),
            self.field.aabb,
            self.config.near_plane * self.scene_units_per_metre,
        )
        depth_ray, sigma_ray = self._known_depth(ray_bundle)
        if self.training:
            edges = training_edges(
                origins.detach(),
                directions.detach(),
                near,
                far,
                depth_ray,
                sigma_ray,
                self.density_grid,
                self.shares,
            )
        else:
            edges = self._evaluation_edges(origins, directions, near, far)
        weights, geometry = self._weights(origins, directions, edges)
        rgb = self._composite_color(weights, geometry, directions)
        lengths = midpoints(edges)
        accumulation = weights.sum(dim=-1, keepdim=True)
        outputs: dict[str, Any] = {
            "rgb": rgb,
            "accumulation": accumulation,
            "depth": median_ray_length(weights.detach(), edges),
            "expected_depth": (weights * lengths).sum(dim=-1, keepdim=True) / accumulation.clamp(min=1e-6),
        }
        if ray_bundle.metadata is not None and "directions_norm" in ray_bundle.metadata:
            outputs["directions_norm"] = ray_bundle.metadata["directions_norm"]
        if self.training:
            outputs.update(
                weights=weights, edges=edges, near=near, far=far, known_depth_ray=depth_ray, known_sigma_ray=sigma_ray
            )
        else:
            outputs["normals"] = self._normals(origins + directions * outputs["depth"], directions)
        return outputs

    def _known_depth(self, ray_bundle: RayBundle) -> tuple[Tensor | None, Tensor | None]:
        """Depth and sigma [N, 1] along the rays, from the z-depth that the data manager put beside them."""
        metadata = ray_bundle.metadata or {}
        if not self.training or "depth_z" not in metadata:
            return None, None
        norm = metadata["directions_norm"]
        return metadata["depth_z"] * norm, metadata["depth_sigma"] * norm

    def _evaluation_edges(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """The density grid proposes where a ray ends, the field's own density decides."""
        config = self.config
        proposed = self.density_grid.propose(
            origins, directions, near, far, config.grid_steps, config.eval_grid_samples
        )
        edges = torch.cat([near, proposed, far], dim=-1)
        weights, _ = self._weights(origins, directions, edges)
        refined = sample_from_histogram(
            edges, spread(weights) + 1e-3 / edges.shape[1], config.eval_samples, jitter=False
        )
        return torch.cat([near, refined, far], dim=-1)

    def _weights(self, origins: Tensor, directions: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Termination probabilities [N, S] and geometry features [N * S, G] of the intervals between edges."""
        positions = origins[:, None, :] + directions[:, None, :] * midpoints(edges)[..., None]
        density, geometry = self.field.density_and_geometry(positions.view(-1, 3))
        if self.training:
            self.density_grid.observe(positions.detach().view(-1, 3), density.detach())
        return render_weights(density.view(len(edges), -1), edges), geometry

    def _composite_color(self, weights: Tensor, geometry: Tensor, directions: Tensor) -> Tensor:
        """Colour [N, 3] of rays. Only samples that are seen are coloured; the last one is the background's colour."""
        shown = weights.detach() > self.config.negligible_weight
        shown[:, -1] = True
        index = shown.view(-1).nonzero()[:, 0]
        ray = index // weights.shape[1]
        encoded = self.field.encode_directions(directions.detach())
        color = self.field.color(geometry[index], encoded[ray])
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

    def _normals(self, positions: Tensor, directions: Tensor) -> Tensor:
        """Surface normals mapped from [-1, 1] to [0, 1]: against the density's gradient, facing the camera."""
        with torch.enable_grad():
            points = positions.detach().requires_grad_(True)
            density, _ = self.field.density_and_geometry(points)
            (gradient,) = torch.autograd.grad(torch.log(density + 1e-6).sum(), points)
        normals = -torch.nn.functional.normalize(gradient, dim=-1, eps=1e-9)
        facing = torch.where((normals * directions).sum(dim=-1, keepdim=True) > 0, -normals, normals)
        return 0.5 * (facing + 1.0)

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Numbers worth watching during training."""
        target = self.renderer_rgb.blend_background(batch["image"].to(self.device))
        mse = torch.mean((outputs["rgb"].detach() - target) ** 2)
        metrics = {"psnr": -10.0 * torch.log10(mse.clamp(min=1e-10))}
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Colour, and what depth says about where each ray ends."""
        predicted, target = self.renderer_rgb.blend_background_for_loss_computation(
            pred_image=outputs["rgb"],
            pred_accumulation=outputs["accumulation"],
            gt_image=batch["image"].to(self.device),
        )
        losses = {"rgb_loss": self.rgb_loss(target, predicted)}
        if not self.training:
            return losses
        config = self.config
        weights, edges = outputs["weights"], outputs["edges"]
        losses["distortion_loss"] = config.distortion_loss_mult * depth_losses.distortion_loss(
            weights, edges, outputs["near"], outputs["far"]
        )
        depth_ray, sigma_ray = outputs["known_depth_ray"], outputs["known_sigma_ray"]
        if depth_ray is not None:
            lengths = midpoints(edges)
            losses["depth_loss"] = config.depth_loss_mult * depth_losses.gated_likelihood_loss(
                weights, lengths, depth_ray, sigma_ray
            )
            losses["free_space_loss"] = config.free_space_loss_mult * depth_losses.free_space_loss(
                weights, lengths, depth_ray, sigma_ray, config.free_space_sigmas
            )
        self.camera_optimizer.get_loss_dict(losses)
        return losses

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics and pictures of one rendered evaluation view."""
        truth = self.renderer_rgb.blend_background(batch["image"].to(outputs["rgb"].device))
        return self.image_metrics(outputs, truth, batch)
