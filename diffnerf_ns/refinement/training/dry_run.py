"""What a training would do, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.room_clips import render_clip
from diffnerf_ns.refinement.training.sensed_clips import sense_clip
from diffnerf_ns.refinement.training.sources import clip_reuse, make_sources, worker_count

if TYPE_CHECKING:
    from diffnerf_ns.refinement.training.loop import RefinerTraining

Result = TypeVar("Result")
TIMED_STEPS = 3


def explain(training: RefinerTraining) -> str:
    """Describes a training after timing one clip and a few steps; writes nothing."""
    settings, device = training.settings, training.device
    data = settings.data
    sources = make_sources(data, settings.seed, settings.out, device)
    pool = training.sample_pool()
    reuse, workers = clip_reuse(data, device), worker_count(data, device)
    clip, render_s = _timed(lambda: render_clip(data.rooms, settings.seed, 0, device), device)
    views, fuse_s = _timed(lambda: sense_clip(clip, data.sensors, settings.seed, 0), device)
    pool.add(views)
    batch, cut_s = _timed(lambda: pool.batch(0), device)
    sample_s = (render_s / reuse + (1 - data.dropout.evidence / 2) * fuse_s) / pool.samples_per_pass
    step_s, memory = _time_steps(training, batch)
    step_s += cut_s
    data_s = sample_s * settings.batch_size / max(workers, 1)
    hours = settings.max_steps * (max(step_s, data_s) if workers else step_s + data_s) / 3600
    parameters = sum(parameter.numel() for parameter in training.unet.parameters())
    total = sum(weight for _, weight in sources.values())
    mixture = ", ".join(f"{name} {weight / total:.0%}" for name, (_, weight) in sources.items())
    limit = f", ended after {settings.max_hours:g} h" if settings.max_hours else ""
    processes, precision = training.accelerator.num_processes, training.accelerator.mixed_precision
    width, height = data.crop
    lines = (
        f"This would train a {settings.objective} refiner of {parameters / 1e6:.2f} million parameters into",
        f"{settings.out}, on {processes} x {device} ({precision} precision).",
        f"Data: {mixture}; {pool.samples_per_pass:g} samples of {width} x {height} pixels from each pass over a clip,",
        f"  out of the latest {data.pool_passes} passes, a new clip every {reuse} passes, {workers} workers.",
        f"  The first clip {tuple(clip.depth_z_m.shape)}: rendering {render_s:.2f} s, noise and fusion {fuse_s:.2f} s,",
        f"  {1 / sample_s:.1f} samples/s from each worker.",
        f"Steps: {settings.max_steps} of {settings.batch_size} samples, {step_s:.3f} s each without new data{memory};",
        f"  validation every {settings.validate_every} steps, a checkpoint every {settings.checkpoint_every} steps or",
        f"  {settings.checkpoint_minutes:g} minutes.",
        f"Time: about {hours:.1f} h{limit}. Nothing was written.",
    )
    return "\n".join(lines)


def _time_steps(training: RefinerTraining, batch: PosedViews) -> tuple[float, str]:
    training.train_step(batch)
    _, seconds = _timed(lambda: [training.train_step(batch) for _ in range(TIMED_STEPS)], training.device)
    memory = ""
    if training.device.type == "cuda":
        memory = f", {torch.cuda.max_memory_allocated(training.device) / 2**30:.1f} GiB of GPU memory"
    return seconds / TIMED_STEPS, memory


def _timed(function: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """What a function gives, and its seconds."""
    started = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - started
