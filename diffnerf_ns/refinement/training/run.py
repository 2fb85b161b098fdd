"""A training from beginning to end: the loop, then the refiner's folder with its model card."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from diffnerf_ns.captures.atomic_files import write_bytes_atomically
from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.training.checkpoints import BEST, load_checkpoint
from diffnerf_ns.refinement.training.dry_run import explain
from diffnerf_ns.refinement.training.loop import RefinerTraining, new_network
from diffnerf_ns.refinement.training.model_card import model_card
from diffnerf_ns.refinement.training.settings import TrainRefiner

LARGEST_WEIGHTS_BYTES = 25_000_000
"""Weights that are larger in float32 are written in float16."""


def run_training(settings: TrainRefiner, command: str) -> None:
    """Trains as the settings say and writes OUT/refiner.

    Args:
        settings: what to train, on what and for how long.
        command: the command line, for the model card.
    """
    training = RefinerTraining(settings)
    if settings.dry_run:
        print(explain(training), file=sys.stderr)  # noqa: T201
        return
    training.run()
    if training.accelerator.is_main_process and not training.interrupted:
        folder = write_refiner(training, command)
        print(f"{folder} holds the refiner", file=sys.stderr)  # noqa: T201


def write_refiner(training: RefinerTraining, command: str) -> Path:
    """Writes the averaged weights that validated best (the last ones without any validation) as a pipeline.

    Args:
        training: one that has run.
        command: the command line that trained it.
    """
    settings = training.settings
    unet = new_network(settings.network, settings.seed)
    best = settings.out / BEST
    if best.exists():
        state = load_checkpoint(best)
        for parameter, average in zip(unet.parameters(), state["ema"]["shadow_params"], strict=True):
            parameter.data.copy_(average)
    else:
        state = training.state()
        training.ema.copy_to(unet.parameters())
    if 4 * unet.num_parameters() > LARGEST_WEIGHTS_BYTES:
        unet = unet.half()
    folder = settings.out / "refiner"
    pipeline = DepthRefinementPipeline(unet.eval(), training.scheduler, code=asdict(training.code))
    pipeline.save_pretrained(folder, safe_serialization=True)
    card = model_card(settings, state, unet.num_parameters(), training.hours, _hardware(training.device), command)
    write_bytes_atomically(folder / "README.md", card.encode())
    record = {"settings": settings.fixed(), "step": state["step"], "errors_m": state["last_validation"]}
    write_bytes_atomically(folder / "training.json", (json.dumps(record, indent=1) + "\n").encode())
    return folder


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}"
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{torch.get_num_threads()} CPU threads, {names[0] if names else 'unknown processor'}"


def _cpu_lines() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
