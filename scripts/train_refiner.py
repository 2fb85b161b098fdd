"""Trains the depth refiner: `python -m scripts.train_refiner --out runs/refiner`, or with `accelerate launch -m`.

A stopped training goes on with `--resume-from-checkpoint latest`. `--dry-run` says what would be done.
"""

from __future__ import annotations

import shlex
import sys

import tyro

from diffnerf_ns.refinement.training.run import run_training
from diffnerf_ns.refinement.training.settings import TrainRefiner


def main() -> None:
    settings = tyro.cli(TrainRefiner, prog="python -m scripts.train_refiner", description=__doc__)
    try:
        run_training(settings, command=shlex.join(["python", "-m", "scripts.train_refiner", *sys.argv[1:]]))
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
