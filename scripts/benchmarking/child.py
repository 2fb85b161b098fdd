"""Trains and measures one method in a process of its own: `python -m scripts.benchmarking.child FOLDER STARTED`.

FOLDER holds job.json and receives result.json; STARTED is when the process was asked for, seconds since the epoch.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.datamanagers.parallel_datamanager import ParallelDataManagerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.scripts.train import _set_random_seed
from torch import nn

from diffnerf_ns.captures.capture_files import write_json_atomically
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.method_configs._build import available_device  # pyright: ignore[reportMissingImports]
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig
from diffnerf_ns.refinement.cache import RefinementCache
from diffnerf_ns.refinement.refined_capture import write_refined_capture
from diffnerf_ns.refinement.refiner_config import RefinerSettings
from diffnerf_ns.refinement.stage import load_refiner
from scripts.benchmarking.curves import evaluation_steps
from scripts.benchmarking.held_out_views import HeldOutViews
from scripts.benchmarking.machine import commit
from scripts.benchmarking.measured_trainer import MeasuredTrainer, TrainingClock, measured, peak_memory_mb


class NoLpips(nn.Module):
    """Takes the place of LPIPS, which nerfstudio's methods build at their start; its weights would be downloaded."""

    def __init__(self, **_: Any) -> None:
        super().__init__()


def leave_out_lpips() -> None:
    """Puts `NoLpips` in its place; imports what nerfstudio's methods import at their start."""
    import torchmetrics.image.lpip

    torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity = NoLpips


def main() -> None:
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    result = run(job, folder, TrainingClock(float(sys.argv[2])))
    write_json_atomically(folder / "result.json", result)


def run(job: dict[str, Any], folder: Path, clock: TrainingClock) -> dict[str, Any]:
    """Trains a job's method and gives what was measured.

    Args:
        job: the fields of `jobs.Job`.
        folder: where working files go.
        clock: started when the process was asked for.
    """
    if not job["base"].startswith("diffnerf"):  # which have it only in their own evaluations
        leave_out_lpips()
    capture = Path(job["capture"])
    trained_on = capture
    if job["refined_depth"]:
        cache = RefinementCache(cache_folder(job, folder))
        trained_on = write_refined_capture(capture, folder / "refined_capture", load_refiner(RefinerSettings()), cache)
    config = trainer_config(job, folder, trained_on)
    _set_random_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    assert isinstance(trainer, MeasuredTrainer)
    trainer.setup()
    with clock.paused():
        views = HeldOutViews(DiffnerfDataParserConfig(data=capture), job["held_out_views"])
    steps = evaluation_steps(config.max_num_iterations, job["evaluation_ratio"], job["first_evaluation"])
    trainer.measure(clock, steps, views.score)
    return result_of(job, trainer)


def result_of(job: dict[str, Any], trainer: MeasuredTrainer) -> dict[str, Any]:
    """The result of a finished training; times other batch sizes."""
    memory_mb = peak_memory_mb()
    last = trainer.curve[-1]
    return {
        "job": job,
        "commit": commit(),
        "threads": torch.get_num_threads(),
        "device": str(trainer.device),
        "iterations": last["step"],
        "rays": last["rays"],
        "startup_s": trainer.first_step_s,
        "training_s": last["training_s"],
        "rays_per_s": last["rays"] / last["training_s"],
        "peak_memory_mb": memory_mb,
        "peak_memory_before_evaluation_mb": trainer.peak_memory_before_evaluation_mb,
        "curve": trainer.curve,
        "rays_per_s_by_batch": {
            str(count): trainer.rays_per_s(count, job["seconds_to_time"]) for count in job["rays_to_time"]
        },
    }


def trainer_config(job: dict[str, Any], folder: Path, capture: Path) -> TrainerConfig:
    """The registered configuration, on this capture, with the job's changes."""
    config = copy.deepcopy(all_methods[job["base"]])
    config._target = measured(config._target)
    config.output_dir, config.experiment_name, config.timestamp = folder / "outputs", "benchmark", "run"
    config.vis = "tensorboard"
    config.machine.seed, config.machine.device_type = job["seed"], available_device()
    config.max_num_iterations = job["iterations"] or config.max_num_iterations
    datamanager = config.pipeline.datamanager
    if isinstance(datamanager, ParallelDataManagerConfig):  # its workers' memory and time would not be counted
        datamanager = VanillaDataManagerConfig(train_num_rays_per_batch=datamanager.train_num_rays_per_batch)
        config.pipeline.datamanager = datamanager
    datamanager.dataparser = DiffnerfDataParserConfig(data=capture)
    datamanager.train_num_rays_per_batch = job["rays_per_batch"] or datamanager.train_num_rays_per_batch
    if isinstance(datamanager, RefinedDepthDataManagerConfig):
        datamanager.refiner.cache_dir = cache_folder(job, folder)
    for name, value in job["settings"].items():
        change(config, name, value)
    return config


def cache_folder(job: dict[str, Any], folder: Path) -> Path:
    """Where refined depth is kept: a row that comes after another finds it there, and any other starts without."""
    return folder.parent / (job["cache_of"] or folder.name) / "cache"


def change(config: Any, name: str, value: Any) -> None:
    """Sets a setting by its dotted name; raises AttributeError where there is none of that name."""
    *path, last = name.split(".")
    for part in path:
        config = getattr(config, part)
    getattr(config, last)
    setattr(config, last, value)


if __name__ == "__main__":
    main()
