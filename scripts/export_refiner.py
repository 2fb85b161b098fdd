"""Makes a refiner of a training's checkpoint: a folder that `diffnerf refine` and `ns-train diffnerf` take as a model.

    python -m scripts.export_refiner runs/refiner/checkpoint-best OUT --float16

A training that ends by itself does so on its own; this is for one that was stopped, or for another checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from diffnerf_ns.refinement.training.checkpoints import load_checkpoint
from diffnerf_ns.refinement.training.refiner_folder import hardware_of, write_refiner_folder
from diffnerf_ns.refinement.training.stored_settings import stored_settings, training_command


@dataclass(frozen=True)
class ExportRefiner:
    """Make a refiner of a checkpoint's averaged weights, with its model card."""

    checkpoint: Path
    """Folder of the checkpoint."""
    out: Path
    """Folder for the refiner."""
    float16: bool = False
    """Stores weights in half the space; they are computed with as before."""
    command: str | None = None
    """Command line of the training, for the model card; None for one that follows from the checkpoint's settings."""
    hardware: str | None = None
    """What it was trained on, for the model card; None for this machine's processor."""


def export(options: ExportRefiner) -> Path:
    """Writes the refiner and returns its folder."""
    state = load_checkpoint(options.checkpoint)
    settings = stored_settings(state["settings"], options.checkpoint.parent)
    return write_refiner_folder(
        options.out,
        state,
        settings,
        options.command or training_command(settings),
        options.hardware or hardware_of(torch.device("cpu")),
        options.float16,
    )


def main() -> None:
    options = tyro.cli(ExportRefiner, description=__doc__, config=(tyro.conf.PositionalRequiredArgs,))
    try:
        print(f"{export(options)} holds the refiner")
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
