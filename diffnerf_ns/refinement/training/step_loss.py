"""The loss of one batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from diffnerf_ns.refinement.normalizer import ResidualCode
from diffnerf_ns.refinement.training.losses import consistency_loss, edge_loss, snr_weight, v_loss, weighted_mean
from diffnerf_ns.refinement.training.objectives import Objective, add_noise, make_task
from diffnerf_ns.refinement.training.perceptual import perceptual_loss
from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.settings import Losses


def batch_losses(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor],
    scheduler: DDIMScheduler,
    code: ResidualCode,
    batch: PosedViews,
    settings: Losses,
    objective: Objective,
    generator: torch.Generator,
    features: nn.Module | None = None,
) -> dict[str, Tensor]:
    """The losses by name; `total` is what is minimised.

    Args:
        predict: the network: noisy code, timesteps and conditions give v.
        scheduler: the noise schedule.
        code: how depth is coded.
        batch: samples.
        settings: weights of the losses.
        objective: what the network learns.
        generator: source of noise levels and noise.
        features: from `perceptual.load_features`.
    """
    task = make_task(code, batch)
    noisy = add_noise(scheduler, task.truth_code, objective, settings.last_step_share, generator)
    predicted = predict(noisy.noisy_code, noisy.timesteps, task.conditions)[:, 0].float()
    level_weight = snr_weight(noisy.signal[:, 0, 0].square(), settings.min_snr_gamma)
    losses = {"v": v_loss(predicted, noisy.target_v, batch.weight, level_weight)}
    losses["total"] = losses["v"]
    if not (settings.depth or settings.edge or settings.consistency or features is not None):
        return losses
    depth = code.decode(noisy.clean_code(predicted).clamp(-code.limit, code.limit), task.base_z_m)
    log_depth, log_truth = torch.log(depth), torch.log(torch.where(batch.truth_z_m > 0, batch.truth_z_m, depth))
    if settings.depth:
        losses["depth"] = weighted_mean((log_depth - log_truth).abs(), batch.weight)
        losses["total"] = losses["total"] + settings.depth * losses["depth"]
    if settings.edge:
        losses["edge"] = edge_loss(log_depth, log_truth, batch.weight)
        losses["total"] = losses["total"] + settings.edge * losses["edge"]
    if settings.consistency:
        cameras = (batch.intrinsics, batch.camera_to_world)
        losses["consistency"] = consistency_loss(depth, batch.truth_z_m, *cameras)
        losses["total"] = losses["total"] + settings.consistency * losses["consistency"]
    if features is not None:
        losses["perceptual"] = perceptual_loss(features, log_depth, log_truth, batch.weight)
        losses["total"] = losses["total"] + settings.perceptual * losses["perceptual"]
    return losses
