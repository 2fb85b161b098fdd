"""The diffnerf model: a hash-grid radiance field whose samples and losses follow depth as far as it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor

from diffnerf_ns.field.checkpointed_chunks import in_checkpointed_chunks
from diffnerf_ns.field.density_grid import DensityGrid, spread
from diffnerf_ns.field.depth_guided_sampler import SampleShares, training_edges
from diffnerf_ns.field.depth_supervised_model import DepthSupervisedModel, DepthSupervisedModelConfig
from diffnerf_ns.field.diffnerf_field import DiffnerfField
from diffnerf_ns.field.free_space import free_cells
from diffnerf_ns.field.hash_grid import HashGridBackend
from diffnerf_ns.field.volume_rendering import render_weights, sample_from_histogram, sample_positions


@runtime_checkable
class KnowsDepthRays(Protocol):
    """A training dataset that can say how far some of its rays go."""

    def depth_rays(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Origins and unit directions [n, 3]; depth along the ray and its standard deviation [n, 1]; scene units."""
        ...


@dataclass
class DiffnerfModelConfig(DepthSupervisedModelConfig):
    """Settings of the hash-grid field and its sampling."""

    _target: type = field(default_factory=lambda: DiffnerfModel)
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

    weight_decay_over_views: float = 1e-4
    """Weight decay of the field's parameters times the number of training images: the more images, the less is left for
    it to decide. Not where the optimizer has a weight decay of its own; 0 for none."""

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

    gradient_checkpointing: bool = False
    """Recompute samples in the backward pass: larger batches fit into memory, a step takes longer."""
    checkpoint_rays: int = 2048
    """Rays that are recomputed at a time where gradient_checkpointing is on."""

    density_grid_resolution: int = 96
    """Cells of the density grid along each axis."""
    free_space_rays: int = 100_000
    """Training rays with depth that carve free space out of the density grid before the first step; 0 for none."""
    density_grid_every: int = 16
    """Training steps between updates of the density grid."""
    density_grid_fraction: float = 0.125
    """Share of the density grid's cells that one update looks at."""
    density_grid_decay: float = 0.9
    """Factor on a cell's old density when it is looked at again."""


class DiffnerfModel(DepthSupervisedModel):
    """A Nerfacto-style field with a density grid for proposals and per-pixel depth with its uncertainty."""

    config: DiffnerfModelConfig
    field: DiffnerfField

    def populate_modules(self) -> None:
        """Build the field, the density grid and the sampling."""
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
        self.shares = SampleShares(
            band=config.samples_in_band,
            free=config.samples_in_free_space,
            grid=config.samples_from_grid,
            anywhere=config.samples_anywhere,
            band_sigmas=config.band_sigmas,
            grid_steps=config.grid_steps,
        )

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Besides those of all models: weight decay as the number of views asks for; start the density grid from what
        depth shows to be free, keep it abreast."""
        pipeline, optimizers = training_callback_attributes.pipeline, training_callback_attributes.optimizers
        dataset = getattr(getattr(pipeline, "datamanager", None), "train_dataset", None)
        return [
            *super().get_training_callbacks(training_callback_attributes),
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                iters=(0,),
                func=lambda step: self.start_weight_decay(optimizers),
            ),
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                iters=(0,),
                func=lambda step: self.clear_free_space(dataset),
            ),
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                update_every_num_iters=self.config.density_grid_every,
                func=lambda step: self.update_density_grid(),
            ),
        ]

    def start_weight_decay(self, optimizers: Optimizers | None) -> None:
        """Gives the field's optimizer its weight decay; a resumed one has it from its checkpoint."""
        of_field = optimizers.optimizers.get("fields") if optimizers is not None else None
        for group in of_field.param_groups if of_field is not None else ():
            if not group.get("weight_decay"):
                group["weight_decay"] = self.config.weight_decay_over_views / max(1, self.num_train_data)

    @torch.no_grad()
    def clear_free_space(self, dataset: object) -> None:
        """Let the density grid expect nothing where the training views look through, if the dataset knows depth."""
        if self.config.free_space_rays == 0 or not isinstance(dataset, KnowsDepthRays):
            return
        grid = self.density_grid
        origins, directions, depth_ray, sigma_ray = (
            tensor.to(self.device) for tensor in dataset.depth_rays(self.config.free_space_rays)
        )
        grid.clear(free_cells(origins, directions, depth_ray, sigma_ray, grid.aabb, grid.resolution))

    @torch.no_grad()
    def update_density_grid(self) -> None:
        """Let the density grid look at the field again."""
        self.density_grid.update(
            lambda positions: self.field.density_and_geometry(positions)[0],
            self.config.density_grid_fraction,
            self.config.density_grid_decay,
        )

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor | Any]:
        """Render rays: where they end, and what colour they see there."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        origins, directions = ray_bundle.origins, ray_bundle.directions
        near, far = self.near_far(ray_bundle)
        known = self.known_depth(ray_bundle)
        if self.training:
            edges = training_edges(
                origins.detach(),
                directions.detach(),
                near,
                far,
                None if known is None else known.guide_ray,
                None if known is None else known.sigma_ray,
                self.density_grid,
                self.shares,
            )
        else:
            edges = self._evaluation_edges(origins, directions, near, far)
        weights, rgb = self._render(origins, directions, edges)
        outputs: dict[str, Any] = self.ray_outputs(ray_bundle, rgb, weights, edges)
        if self.training:
            outputs.update(weights=weights, edges=edges, near=near, far=far, known_depth=known)
        return outputs

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

    def _render(self, origins: Tensor, directions: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Termination probabilities [N, S] of the intervals between edges, and colour [N, 3]."""

        def render(*rays: Tensor) -> tuple[Tensor, Tensor]:
            origins, directions, edges = rays
            weights, geometry = self._weights(origins, directions, edges)
            return weights, self.composite_color(self.field, weights, geometry, directions)

        if not (self.training and self.config.gradient_checkpointing):
            return render(origins, directions, edges)
        weights, rgb = in_checkpointed_chunks(render, (origins, directions, edges), self.config.checkpoint_rays)
        return weights, rgb

    def _weights(self, origins: Tensor, directions: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Termination probabilities [N, S] and geometry features [N * S, G] of the intervals between edges."""
        positions = sample_positions(origins, directions, edges)
        density, geometry = self.field.density_and_geometry(positions)
        if self.training:
            self.density_grid.observe(positions.detach(), density.detach())
        return render_weights(density.view(len(edges), -1), edges), geometry
