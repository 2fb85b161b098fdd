"""diffnerf's sampling against nerfstudio's proposal networks: the same field, losses, batches and number of samples.

    python -m scripts.compare_samplers CAPTURE --reference-depth-folder depth_ref

Both are trained with depth and without; prints a table. Time is that of the processor (CPU seconds), so that other
programs count less.
"""

from __future__ import annotations

import argparse
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.fields.density_fields import HashMLPDensityField
from nerfstudio.model_components.losses import interlevel_loss
from nerfstudio.model_components.ray_samplers import ProposalNetworkSampler, UniformSampler
from torch import Tensor, nn
from torch.nn import Parameter

from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.checked_trainer import optimizers_ending_at
from diffnerf_ns.field.diffnerf_model import DiffnerfModel
from diffnerf_ns.method_configs.diffnerf import diffnerf  # pyright: ignore[reportMissingImports]
from scripts.ablate import MODEL, NO_DEPTH
from scripts.benchmarking.child import change
from scripts.benchmarking.held_out_views import HeldOutViews
from scripts.benchmarking.table import markdown_table

PROPOSAL_SAMPLES = (256, 96)
PROPOSAL_NETWORKS = (
    {"hidden_dim": 16, "log2_hashmap_size": 17, "num_levels": 5, "max_res": 128, "use_linear": False},
    {"hidden_dim": 16, "log2_hashmap_size": 17, "num_levels": 5, "max_res": 256, "use_linear": False},
)
"""As in nerfacto."""


class ProposalModel(DiffnerfModel):
    """diffnerf with all samples placed by nerfstudio's proposal networks, which learn from the field's weights."""

    def populate_modules(self) -> None:
        """Adds the proposal networks."""
        super().populate_modules()
        networks = [HashMLPDensityField(self.field.aabb, **settings) for settings in PROPOSAL_NETWORKS]  # type: ignore[arg-type]
        self.proposal_networks = nn.ModuleList(networks)
        self.density_fns = [network.density_fn for network in networks]
        self.training_sampler = self._sampler(self.shares.total)
        self.evaluation_sampler = self._sampler(self.config.eval_grid_samples + self.config.eval_samples + 2)

    def _sampler(self, samples: int) -> ProposalNetworkSampler:
        return ProposalNetworkSampler(
            num_proposal_samples_per_ray=PROPOSAL_SAMPLES,
            num_nerf_samples_per_ray=samples,
            num_proposal_network_iterations=len(PROPOSAL_NETWORKS),
            single_jitter=True,
            initial_sampler=UniformSampler(single_jitter=True),
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The proposal networks learn as fast as the field."""
        groups = super().get_param_groups()
        groups["fields"] += list(self.proposal_networks.parameters())
        return groups

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """There is no density grid to keep."""
        return []

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor | Any]:
        """Render rays from where the proposal networks see matter."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        near, far = self.near_far(ray_bundle)
        known = self.known_depth(ray_bundle)
        at_rest = RayBundle(
            ray_bundle.origins.detach(), ray_bundle.directions.detach(), ray_bundle.pixel_area, nears=near, fars=far
        )
        sampler = self.training_sampler if self.training else self.evaluation_sampler
        samples, proposed_weights, proposed = sampler(at_rest, density_fns=self.density_fns)
        edges = _edges(samples)
        weights, rgb = self._render(ray_bundle.origins, ray_bundle.directions, edges)
        outputs: dict[str, Any] = self.ray_outputs(ray_bundle, rgb, weights, edges)
        if self.training:
            outputs |= {"weights": weights, "edges": edges, "near": near, "far": far}
            outputs["known_depth"] = known
            outputs["levels"] = [*proposed_weights, weights[..., None]], [*proposed, samples]
        return outputs

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """What diffnerf is trained with, and what the proposal networks are."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training:
            losses["interlevel_loss"] = interlevel_loss(*outputs["levels"])
        return losses


def _edges(samples: RaySamples) -> Tensor:
    """Interval bounds [N, S + 1] of ray samples."""
    frustums = samples.frustums
    return torch.cat([frustums.starts[..., 0], frustums.ends[:, -1:, 0]], dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compare_samplers", description="Density grid against proposal networks."
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("--reference-depth-folder", help="folder of the capture with depth to score against")
    parser.add_argument("--iterations", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument("--rays", type=int, default=1024, help="rays of a training step (default: 1024)")
    parser.add_argument("--held-out-views", type=int, default=4, help="held-out views that are scored (default: 4)")
    options = parser.parse_args()
    rows = []
    for regime, settings in {"with depth": [], "without depth": NO_DEPTH[1:]}.items():
        for name, model in {"density grid": DiffnerfModel, "proposal networks": ProposalModel}.items():
            scores = train_and_score(model, settings, options)
            rows.append([regime, name, *(f"{score:.3f}" for score in scores.values())])
            print(markdown_table(["training", "sampler", *scores], rows), flush=True)


def train_and_score(model: type[DiffnerfModel], settings: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Quality over held-out views, and CPU seconds of a training step and of a rendered view."""
    dataparser = DiffnerfDataParserConfig(data=options.capture, reference_depth_folder=options.reference_depth_folder)
    config = deepcopy(diffnerf.config)
    change(config.pipeline.datamanager, "dataparser", dataparser)
    change(config.pipeline.datamanager, "train_num_rays_per_batch", options.rays)
    config.pipeline.model._target = model
    for name, value in zip(settings[::2], settings[1::2], strict=True):
        change(
            config.pipeline.model,
            name.removeprefix(MODEL).replace("-", "_"),
            float(value) if "." in value else int(value),
        )
    torch.manual_seed(config.machine.seed)
    pipeline = config.pipeline.setup(device="cpu", test_mode="val")
    optimizers = Optimizers(optimizers_ending_at(config.optimizers, options.iterations), pipeline.get_param_groups())
    callbacks = pipeline.get_training_callbacks(TrainingCallbackAttributes(optimizers, None, pipeline, None))
    pipeline.train()
    started = time.process_time()
    for step in range(options.iterations):
        torch.manual_seed(step)  # the same pixels for both samplers
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        torch.stack(list(pipeline.get_train_loss_dict(step)[1].values())).sum().backward()
        optimizers.optimizer_step_all()
        optimizers.zero_grad_all()
        optimizers.scheduler_step_all(step)
    trained = time.process_time()
    views = HeldOutViews(dataparser, options.held_out_views)
    scored = time.process_time()
    scores = views.score(pipeline.model)
    return {
        "PSNR dB": scores["psnr"],
        "SSIM": scores["ssim"],
        "depth MAE m": scores["depth_mae_m"],
        "depth RMSE m": scores["depth_rmse_m"],
        "ms per step": 1000 * (trained - started) / options.iterations,
        "s per view": (time.process_time() - scored) / len(views.indices),
    }


if __name__ == "__main__":
    main()
