"""A training from beginning to end: the loop, then the refiner's folder with its model card."""

from __future__ import annotations

import sys
from pathlib import Path

from diffnerf_ns.refinement.training.checkpoints import BEST, load_checkpoint
from diffnerf_ns.refinement.training.dry_run import explain
from diffnerf_ns.refinement.training.loop import RefinerTraining
from diffnerf_ns.refinement.training.refiner_folder import hardware_of, write_refiner_folder
from diffnerf_ns.refinement.training.settings import TrainRefiner


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
    best = settings.out / BEST
    state = load_checkpoint(best) if best.exists() else training.state()
    state["seconds"] = 3600 * training.hours
    return write_refiner_folder(settings.out / "refiner", state, settings, command, hardware_of(training.device))
