"""A training from beginning to end: the dry run, or the loop and the refiner's folder."""

from __future__ import annotations

from diffnerf_ns.refinement.training.loop import RefinerTraining
from diffnerf_ns.refinement.training.settings import TrainRefiner


def run_training(settings: TrainRefiner, command: str) -> None:
    """Trains as the settings say.

    Args:
        settings: what to train, on what and for how long.
        command: the command line, for the model card.
    """
    training = RefinerTraining(settings)
    training.run()
