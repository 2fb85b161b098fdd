"""What a training step of diffnerf costs over rays, samples and levels, what gradient checkpointing saves, and how long
it takes to the first step.

    python -m scripts.benchmark_scaling CAPTURE

Writes OUT/scaling.json, scaling.md and scaling.png. Run it alone on the machine: it measures time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffnerf_ns.captures.capture_files import write_json_atomically
from scripts.benchmarking.jobs import Job, capture_hash, run_or_load
from scripts.benchmarking.machine import commit, machine
from scripts.benchmarking.plot import draw_scaling
from scripts.benchmarking.prepared_capture import write_benchmark_capture
from scripts.benchmarking.table import markdown_table

RAYS = (1024, 2048, 4096, 8192)
LEVELS = (4, 8, 12, 16)
SAMPLE_FACTORS = (0.5, 1.0, 2.0, 4.0)
SAMPLES = {"samples_in_band": 12, "samples_in_free_space": 4, "samples_from_grid": 8, "samples_anywhere": 8}
"""Training samples of a ray by the name of their setting, at a factor of 1."""
BASE_RAYS = 4096
WARM_UP_STEPS = 16
STARTUPS = 3
STARTED_METHODS = ("diffnerf", "diffnerf-raw")
"""With refinement of the capture's depth ahead of the first step, and without."""
CHECKPOINTED_RAYS = (4096, 16384)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark_scaling", description="Cost per training step.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmark_scaling"), help="folder for everything")
    parser.add_argument("--seconds", type=float, default=8.0, help="time for which every setting is timed (default: 8)")
    options = parser.parse_args()
    capture = write_benchmark_capture(options.capture, options.out / "capture")
    startups = {
        method: [startup_s(capture, method, options.out / "startup" / f"{method}-{n}") for n in range(STARTUPS)]
        for method in STARTED_METHODS
    }
    memory = [
        memory_of(capture, rays, checkpointing, options.seconds, options.out / "memory")
        for rays in CHECKPOINTED_RAYS
        for checkpointing in (False, True)
    ]
    axes = {}
    for axis, jobs in scaling_jobs(capture).items():
        costs = {size: step_ms(job, options.out / "steps", options.seconds) for size, job in jobs.items()}
        axes[axis] = {"sizes": list(costs), "step_ms": list(costs.values()), "exponent": fitted_exponent(costs)}
        print(f"{axis}: {axes[axis]}", flush=True)
    summary = {"commit": commit(), "machine": machine(), "axes": axes, "memory": memory, "startup_s": startups}
    write_json_atomically(options.out / "scaling.json", summary)
    text = scaling_table(axes, memory, startups)
    (options.out / "scaling.md").write_text(text)
    draw_scaling(axes, startups, options.out / "scaling.png")
    print(text)


def scaling_jobs(capture: Path) -> dict[str, dict[int, Job]]:
    """Jobs by axis and size; along an axis, everything else is as diffnerf has it on a CPU."""
    rays = {count: diffnerf_job(capture, count, {}) for count in RAYS}
    samples = {}
    for factor in SAMPLE_FACTORS:
        counts = {name: round(factor * count) for name, count in SAMPLES.items()}
        settings = {f"pipeline.model.{name}": count for name, count in counts.items()}
        samples[sum(counts.values())] = diffnerf_job(capture, BASE_RAYS, settings)
    levels = {count: diffnerf_job(capture, BASE_RAYS, {"pipeline.model.num_levels": count}) for count in LEVELS}
    return {"rays": rays, "samples per ray": samples, "levels": levels}


def diffnerf_job(capture: Path, rays: int, settings: dict[str, Any]) -> Job:
    """diffnerf as registered, apart from these, and with all rays from the first step on."""
    return Job(
        method="diffnerf",
        base="diffnerf",
        settings={"rays_per_batch.first_rays": None, **settings},
        refined_depth=False,
        cache_of=None,
        capture=str(capture.resolve()),
        capture_hash=capture_hash(capture),
        iterations=None,
        rays_per_batch=rays,
        seed=42,
        evaluation_ratio=2.0,
        first_evaluation=1,
        held_out_views=1,
        rays_to_time=(),
        seconds_to_time=0.0,
    )


def startup_s(capture: Path, method: str, folder: Path) -> float:
    """Seconds from the start of a process to its first training step, refinement of the capture's depth included."""
    job = replace(diffnerf_job(capture, BASE_RAYS, {}), method=method, base=method, iterations=1)
    return run_or_load(job, folder)["startup_s"]


def memory_of(capture: Path, rays: int, checkpointing: bool, seconds: float, folder: Path) -> dict[str, Any]:
    """Peak memory of a process that trains with so many rays per step, and what a step costs."""
    settings = {"pipeline.model.gradient_checkpointing": checkpointing}
    job = replace(
        diffnerf_job(capture, rays, settings),
        method="diffnerf-raw",
        base="diffnerf-raw",
        iterations=WARM_UP_STEPS,
        first_evaluation=WARM_UP_STEPS,
        rays_to_time=(rays,),
        seconds_to_time=seconds,
    )
    result = run_or_load(job, folder / f"{rays}-rays{'-checkpointed' if checkpointing else ''}")
    return {
        "rays": rays,
        "gradient_checkpointing": checkpointing,
        "peak_memory_mb": result["peak_memory_before_evaluation_mb"],
        "step_ms": 1000 * rays / result["rays_per_s_by_batch"][str(rays)],
    }


def step_ms(job: Job, folder: Path, seconds: float) -> float:
    """Mean cost of a training step in this process, milliseconds, after a few steps that do not count."""
    from scripts.benchmarking.child import trainer_config
    from scripts.benchmarking.measured_trainer import MeasuredTrainer

    trainer = trainer_config(job.as_json(), folder.resolve(), Path(job.capture)).setup(local_rank=0, world_size=1)
    assert isinstance(trainer, MeasuredTrainer)
    trainer.setup()
    for _ in range(WARM_UP_STEPS):
        trainer.one_more_step()
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        trainer.one_more_step()
        steps += 1
    return 1000 * (time.perf_counter() - started) / steps


def fitted_exponent(costs: Mapping[int, float]) -> float:
    """The power of the size with which the cost grows: the slope of a line through the logarithms."""
    x, y = [math.log(size) for size in costs], [math.log(cost) for cost in costs.values()]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def scaling_table(
    axes: Mapping[str, Mapping[str, Any]], memory: Sequence[Mapping[str, Any]], startups: Mapping[str, Sequence[float]]
) -> str:
    """The results as Markdown."""
    rows = []
    for axis, measured in axes.items():
        pairs = zip(measured["sizes"], measured["step_ms"], strict=True)
        steps = ", ".join(f"{size}: {milliseconds:.0f}" for size, milliseconds in pairs)
        rows.append([axis, steps, f"{measured['exponent']:.2f}"])
    started = "; ".join(
        f"{method} {', '.join(f'{seconds:.1f}' for seconds in measured)} s" for method, measured in startups.items()
    )
    steps = markdown_table(["over", "ms per step", "grows with the power"], rows)
    checkpointed = markdown_table(
        ["rays per step", "gradient checkpointing", "peak memory MB", "ms per step"],
        [
            [
                str(row["rays"]),
                "on" if row["gradient_checkpointing"] else "off",
                f"{row['peak_memory_mb']:.0f}",
                f"{row['step_ms']:.0f}",
            ]
            for row in memory
        ],
    )
    return f"{steps}\n\n{checkpointed}\n\nFrom the start of a process to its first step: {started}.\n"


if __name__ == "__main__":
    main()
