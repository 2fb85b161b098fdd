"""A trained refiner as a folder: the pipeline, its model card, and the settings it was trained with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diffnerf_ns.captures.atomic_files import write_bytes_atomically
from diffnerf_ns.origin import processor_name
from diffnerf_ns.refinement.noise_schedule import default_scheduler
from diffnerf_ns.refinement.normalizer import ResidualCode
from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.training.loop import new_network
from diffnerf_ns.refinement.training.model_card import model_card
from diffnerf_ns.refinement.training.settings import TrainRefiner
from diffnerf_ns.refinement.training.stored_settings import without_own_folders
from diffnerf_ns.refinement.unet import DepthRefinementUNet

TRAINING_FILE = "training.json"
LARGEST_WEIGHTS_BYTES = 25_000_000
"""Weights that are larger in float32 are written in float16 in any case."""


def averaged_network(state: dict[str, Any], settings: TrainRefiner) -> DepthRefinementUNet:
    """The network with a checkpoint's averaged weights.

    Args:
        state: the checkpoint.
        settings: that it was trained with.
    """
    unet = new_network(settings.network, settings.seed)
    for parameter, average in zip(unet.parameters(), state["ema"]["shadow_params"], strict=True):
        parameter.data.copy_(average)
    return unet.eval()


def write_refiner_folder(
    folder: Path,
    state: dict[str, Any],
    settings: TrainRefiner,
    command: str,
    hardware: str,
    float16: bool = False,
) -> Path:
    """Writes the averaged weights of a checkpoint as a pipeline, and returns its folder.

    Args:
        folder: where to; files of an earlier refiner are replaced.
        state: the checkpoint.
        settings: that it was trained with.
        command: that trained it, for the model card.
        hardware: that it was trained on, likewise.
        float16: whether weights are stored in half the space.
    """
    unet = averaged_network(state, settings)
    if float16 or 4 * unet.num_parameters() > LARGEST_WEIGHTS_BYTES:
        unet = unet.half()
    code = ResidualCode()
    pipeline = DepthRefinementPipeline(unet, default_scheduler(code), code=asdict(code))
    pipeline.save_pretrained(folder, safe_serialization=True)
    shown = without_own_folders(settings)
    card = model_card(shown, state, unet.num_parameters(), state["seconds"] / 3600, hardware, command)
    write_bytes_atomically(folder / "README.md", card.encode())
    record = {"settings": shown.fixed(), "step": state["step"], "errors_m": state["last_validation"]}
    write_bytes_atomically(folder / TRAINING_FILE, (json.dumps(record, indent=1) + "\n").encode())
    return folder


def hardware_of(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}"
    return f"{torch.get_num_threads()} CPU threads, {processor_name()}"
