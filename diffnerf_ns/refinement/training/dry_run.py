"""What a training would do, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.room_clips import render_clip
from diffnerf_ns.refinement.training.sensed_clips import sense_clip
from diffnerf_ns.refinement.training.sources import clip_reuse, make_sources, renderer_count, worker_count

if TYPE_CHECKING:
    from diffnerf_ns.refinement.training.loop import RefinerTraining

Result = TypeVar("Result")
TIMED_STEPS = 3
SHOWN_OPERATIONS = 5


def explain(training: RefinerTraining) -> str:
    """Describes a training after timing one clip and a few steps; writes nothing."""
    settings, device = training.settings, training.device
    data = settings.data
    sources = make_sources(data, settings.seed, settings.out, device)
    pool = training.sample_pool()
    processes, precision = training.accelerator.num_processes, training.accelerator.mixed_precision
    reuse, workers = clip_reuse(data, device), worker_count(data, device)
    renderers = renderer_count(data, device, processes)
    place = torch.device("cpu") if renderers else device
    clip, render_s = _timed(lambda: render_clip(data.rooms, settings.seed, 0, place).to(device), device)
    views, fuse_s = _timed(lambda: sense_clip(clip, data.sensors, settings.seed, 0), device)
    pool.add(views)
    batch, cut_s = _timed(lambda: pool.batch(0), device)
    sensed_s, rendered_s = (1 - data.dropout.evidence / 2) * fuse_s, render_s / reuse
    if renderers:
        pass_s = max(sensed_s / max(workers, 1), rendered_s / renderers)
    else:
        pass_s = (sensed_s + rendered_s) / max(workers, 1)
    step_s, memory, slowest = _time_steps(training, batch)
    step_s += cut_s
    data_s = settings.batch_size * pass_s / pool.samples_per_pass
    hours = settings.max_steps * (max(step_s, data_s) if workers else step_s + data_s) / 3600
    parameters = sum(parameter.numel() for parameter in training.unet.parameters())
    total = sum(weight for _, weight in sources.values())
    mixture = ", ".join(f"{name} {weight / total:.0%}" for name, (_, weight) in sources.items())
    limit = f", ended after {settings.max_hours:g} h" if settings.max_hours else ""
    width, height = data.crop
    lines = (
        f"This would train a {settings.objective} refiner of {parameters / 1e6:.2f} million parameters into",
        f"{settings.out}, on {processes} x {device} ({precision} precision).",
        f"Data: {mixture}; {pool.samples_per_pass:g} samples of {width} x {height} pixels from each pass over a clip,",
        f"  out of the latest {data.pool_passes} passes, a new clip every {reuse} passes, {workers} workers,",
        f"  {renderers} processes that render ahead.",
        f"  The first clip {tuple(clip.depth_z_m.shape)}: rendering {render_s:.2f} s, noise and fusion {fuse_s:.2f} s,",
        f"  {pool.samples_per_pass / pass_s:.0f} samples/s in all.",
        f"Steps: {settings.max_steps} of {settings.batch_size} samples, {step_s:.3f} s each without new data{memory};",
        f"  most of the time for {slowest};",
        f"  validation every {settings.validate_every} steps, a checkpoint every {settings.checkpoint_every} steps or",
        f"  {settings.checkpoint_minutes:g} minutes.",
        f"Time: about {hours:.1f} h{limit}. Nothing was written.",
    )
    return "\n".join(lines)


def _time_steps(training: RefinerTraining, batch: PosedViews) -> tuple[float, str, str]:
    """Seconds of a step, memory on a GPU, and the operations that take most of the time."""

    def steps() -> None:
        for _ in range(TIMED_STEPS):
            training.train_step(batch)

    on_gpu = training.device.type == "cuda"
    training.train_step(batch)
    _, seconds = _timed(steps, training.device)
    memory = f", {torch.cuda.max_memory_allocated(training.device) / 2**30:.1f} GiB of GPU memory" if on_gpu else ""
    with torch.profiler.profile(acc_events=True) as profile:
        _timed(steps, training.device)
    return seconds / TIMED_STEPS, memory, _slowest_operations(profile, on_gpu)


def _slowest_operations(profile: torch.profiler.profile, on_gpu: bool) -> str:
    """The operations that computed longest, with their shares of all computing."""
    own_us = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    spent = {found.key: float(getattr(found, own_us)) for found in profile.key_averages() if "::" in found.key}
    largest = sorted(spent, key=lambda name: -spent[name])[:SHOWN_OPERATIONS]
    total = sum(spent.values()) or 1.0
    return ", ".join(f"{name.removeprefix('aten::')} {spent[name] / total:.0%}" for name in largest)


def _timed(function: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """What a function gives, and its seconds."""
    started = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - started
