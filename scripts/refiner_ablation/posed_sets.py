"""What variants are scored on: rooms that were not trained on, and captures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.sensor_noise import SensorKind
from diffnerf_ns.evaluation.refinement_report.frames import open_report_frames
from diffnerf_ns.even_spread import evenly_spread
from diffnerf_ns.refinement.interface import RefinerFrame
from diffnerf_ns.refinement.training.calibration import CalibrateRefiner, rooms_to_judge
from diffnerf_ns.refinement.training.data_settings import HELD_OUT_SENSOR

ROOMS_SEED = 200_000
"""Rooms of this seed are in no training and no calibration."""


@dataclass(frozen=True)
class PosedSet:
    """Posed frames that are seen together."""

    frames: Sequence[RefinerFrame]
    """All that the refiner may look at."""
    indices: list[int]
    """Those to score."""
    truths: Sequence[Callable[[], npt.NDArray[np.float32]]]
    """For each frame, gives the true z-depth [height, width], metres, 0 where unknown."""


def room_sets(rooms: int, views: int, width: int, scored: int) -> dict[str, list[PosedSet]]:
    """Rooms as the training's sensors see them, and as the held-out one does, by name.

    Args:
        rooms: how many.
        views: of each room.
        width: of a view, pixels; a multiple of 16.
        scored: views of each room that are scored.
    """
    options = CalibrateRefiner(Path(), rooms=rooms, views=views, width=width, strength=(1.0, 1.0), seed=ROOMS_SEED)
    sets: dict[str, list[PosedSet]] = {}
    for sensors, room in rooms_to_judge(options):
        name = "rooms, held-out sensor" if sensors == HELD_OUT_SENSOR else "rooms, sensors of the training"
        truths = [partial(np.asarray, truth) for truth in room.truth_z_m]
        sets.setdefault(name, []).append(PosedSet(room.frames, evenly_spread(len(truths), scored), truths))
    return sets


def capture_set(folder: Path, reference: str | None, corrupt_with: SensorKind | None, scored: int) -> PosedSet:
    """A capture with reference depth, or with exact depth that a simulated sensor sees.

    Args:
        folder: the capture.
        reference: its folder with reference depth; None for the frames' own.
        corrupt_with: the sensor that takes the place of its own.
        scored: frames to score, spread evenly.
    """
    frames = open_report_frames(folder, Path(reference) if reference else None, corrupt_with, seed=0)
    seen = [frame.seen for frame in frames]
    return PosedSet(seen, evenly_spread(len(seen), scored), [frame.read_truth_z_m for frame in frames])
