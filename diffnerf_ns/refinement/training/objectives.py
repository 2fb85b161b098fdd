"""What the network has to predict: v of the noisy depth code, or for comparison the code itself in one go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from diffnerf_ns.refinement.normalizer import ResidualCode, base_depth, condition_channels
from diffnerf_ns.refinement.training.posed_views import PosedViews

Objective = Literal["diffusion", "regression"]


@dataclass(frozen=True)
class Task:
    """A batch as the network sees it."""

    conditions: Tensor
    """[N, C, H, W]."""
    base_z_m: Tensor
    """First guess [N, H, W], metres."""
    truth_code: Tensor
    """What is to be found [N, H, W]."""


def make_task(code: ResidualCode, batch: PosedViews) -> Task:
    """Conditions and codes of a batch."""
    base = base_depth(batch.sensor_z_m, batch.fused_z_m)
    conditions = condition_channels(
        code, batch.image, batch.sensor_z_m, base, batch.fused_z_m, batch.support, batch.violations
    )
    return Task(conditions, base, code.encode(batch.truth_z_m, base))


def draw_timesteps(count: int, steps: int, last_share: float, generator: torch.Generator) -> Tensor:
    """Random steps [count]; a share of them is the last one."""
    drawn = torch.randint(steps, (count,), generator=generator, device=generator.device)
    last = torch.rand(count, generator=generator, device=generator.device) < last_share
    return torch.where(last, steps - 1, drawn)


@dataclass(frozen=True)
class NoisyTask:
    """A task at random noise levels; `regression` is its last level with 0 in place of the noise."""

    noisy_code: Tensor
    """[N, 1, H, W]."""
    timesteps: Tensor
    """[N]."""
    signal: Tensor
    """Share of the signal's amplitude [N, 1, 1]."""
    noise: Tensor
    """Share of the noise's amplitude [N, 1, 1]."""
    target_v: Tensor
    """[N, H, W]."""

    def clean_code(self, predicted_v: Tensor) -> Tensor:
        """The depth code [N, H, W] that a predicted v stands for."""
        return self.signal * self.noisy_code[:, 0] - self.noise * predicted_v


def add_noise(
    scheduler: DDIMScheduler, truth_code: Tensor, objective: Objective, last_share: float, generator: torch.Generator
) -> NoisyTask:
    """Draws noise levels and noise for a batch of codes [N, H, W]."""
    steps = int(scheduler.config["num_train_timesteps"])
    share = 1.0 if objective == "regression" else last_share
    timesteps = draw_timesteps(len(truth_code), steps, share, generator).to(truth_code.device)
    noise = torch.randn(truth_code.shape, generator=generator, device=generator.device).to(truth_code)
    if objective == "regression":
        noise = torch.zeros_like(noise)
    power = scheduler.alphas_cumprod.to(truth_code)[timesteps][:, None, None]
    signal_share, noise_share = power.sqrt(), (1.0 - power).sqrt()
    noisy = signal_share * truth_code + noise_share * noise
    target = signal_share * noise - noise_share * truth_code
    return NoisyTask(noisy[:, None], timesteps, signal_share, noise_share, target)


@torch.no_grad()
def sample_code(unet: nn.Module, scheduler: DDIMScheduler, conditions: Tensor, start: Tensor, steps: int) -> Tensor:
    """The depth code [N, H, W] after some steps of DDIM.

    Args:
        unet: predicts v.
        scheduler: its noise schedule.
        conditions: [N, C, H, W].
        start: the noise to start from [N, 1, H, W]; zeros for a regression.
        steps: number of steps.
    """
    scheduler.set_timesteps(steps, device=conditions.device)
    sample = start
    for timestep in scheduler.timesteps:
        predicted = unet(sample, timestep, conditions).to(sample.dtype)
        sample = scheduler.step(predicted, timestep, sample).prev_sample  # pyright: ignore
    return sample[:, 0]
