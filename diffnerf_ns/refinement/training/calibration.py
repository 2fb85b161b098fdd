"""Fits sigma to the errors that stage 1 makes in rooms that its refiner was not trained on."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from diffnerf_ns.captures.atomic_files import write_bytes_atomically
from diffnerf_ns.evaluation.uncertainty_metrics import UncertaintyScores, uncertainty_scores
from diffnerf_ns.even_spread import evenly_spread
from diffnerf_ns.refinement.diffusion_refiner import DiffusionRefiner
from diffnerf_ns.refinement.interface import Provenance
from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.training.data_settings import HELD_OUT_SENSOR, RoomClips, SensorMixture
from diffnerf_ns.refinement.training.refiner_folder import TRAINING_FILE
from diffnerf_ns.refinement.training.room_clips import ClipStore
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator
from diffnerf_ns.refinement.training.sensed_rooms import SensedRoom, sensed_room
from diffnerf_ns.refinement.training.validation import VALIDATION_SEED
from diffnerf_ns.refinement.uncertainty import Calibration, SigmaModel, fit_calibration, pixels_by_class
from diffnerf_ns.refinement.weights_folder import INDEX_FILE, weights_folder

PIXELS_PER_VIEW = 5000
"""Random pixels of each view that are enough to fit."""

SENSORS = tuple(kind for kind in SensorMixture().weights() if kind != "none")
"""The sensor models of the training that err."""


@dataclass(frozen=True)
class CalibrateRefiner:
    """Fit sigma in rooms that a refiner was not trained on, and write it into the refiner's folder."""

    refiner: Path
    """Folder of the refiner; its model_index.json and README.md are rewritten."""
    rooms: int = 6
    """Rooms, each seen by one sensor model after the other."""
    views: int = 20
    """Views of a room; all of them are fused."""
    refined_views: int = 4
    """Views of a room that are refined, spread evenly."""
    width: int = 192
    """Width of a view, pixels; a multiple of 16. Views are 4:3."""
    strength: tuple[float, float] = (0.5, 1.5)
    """Least and largest strength of the sensors; 1 is as published."""
    steps: int = RefinerConfig.steps
    """Denoising steps that sigma is to be right for."""
    ensemble: int = RefinerConfig.ensemble
    """Samples per frame that it is to be right for."""
    seed: int = 100_000
    """Seed of rooms and noise; not the training's."""
    fit_held_out: bool = False
    """Whether the sensor model that was kept from the training is fitted to as well; it is reported in any case."""

    def check(self) -> None:
        """Raises ValueError for what cannot be met, by name."""
        file = self.refiner / TRAINING_FILE
        trained_with = json.loads(file.read_text())["settings"]["seed"] if file.exists() else None
        for is_met, name, value, accepted in (
            (self.rooms >= 1, "rooms", self.rooms, "1 or more"),
            (self.views >= 2, "views", self.views, "2 or more"),
            (1 <= self.refined_views <= self.views, "refined_views", self.refined_views, "1 to views"),
            (self.width >= 32 and self.width % 16 == 0, "width", self.width, "a multiple of 16 from 32 on"),
            (0 <= self.strength[0] <= self.strength[1], "strength", self.strength, "from the least to the largest"),
            (self.ensemble >= 2, "ensemble", self.ensemble, "2 or more: one sample has no spread"),
            (self.seed not in (trained_with, VALIDATION_SEED), "seed", self.seed, "one that the training did not use"),
        ):
            if not is_met:
                raise ValueError(f"{name} is {value}: it must be {accepted}")


@dataclass(frozen=True)
class JudgedPixels:
    """Pixels with known truth, each [pixels]."""

    spread_z_m: npt.NDArray[np.float32]
    """Standard deviation of the ensemble's members, metres."""
    error_z_m: npt.NDArray[np.float32]
    """Result minus truth, metres."""
    depth_z_m: npt.NDArray[np.float32]
    """The result, metres."""
    provenance: npt.NDArray[np.uint8]
    """Whose depth it is, as in `Provenance`."""
    disagreement_z_m: npt.NDArray[np.float32]
    """From `local_disagreement`, metres."""

    def fit(self) -> Calibration:
        return fit_calibration(self.spread_z_m, self.error_z_m, self.depth_z_m, self.provenance, self.disagreement_z_m)

    def scores(self, calibration: Calibration) -> dict[str, UncertaintyScores]:
        """Scores of a calibration by class, `all` first; without the empty ones."""
        spread, error, depth, provenance, disagreement = (
            torch.from_numpy(getattr(self, field.name)) for field in fields(self)
        )
        sigma = calibration.sigma_z_m(spread, depth, provenance, disagreement)
        chosen = {"all": provenance > 0, **pixels_by_class(provenance, disagreement)}
        found = {name: uncertainty_scores(error[pixels], sigma[pixels]) for name, pixels in chosen.items()}
        return {name: scores for name, scores in found.items() if scores is not None}


@dataclass(frozen=True)
class Calibrated:
    """A calibration and what there was before, on the same pixels."""

    before: Calibration
    after: Calibration
    pixels: dict[tuple[str, str], JudgedPixels]
    """By sensors ("training" or the held-out one) and views ("alone" or "with views")."""


def calibrate(options: CalibrateRefiner, say: Callable[[str], None]) -> Calibrated:
    """Refines rooms as stage 1 does, fits the calibration and writes it into the refiner's model_index.json.

    Args:
        options: the refiner, and what to fit on.
        say: takes a line on how far it is.
    """
    options.check()
    before = read_calibration(weights_folder(str(options.refiner)))
    found: dict[tuple[str, str], list[JudgedPixels]] = {}
    with _giving_spread(options.refiner) as folder:
        refiners = {
            "alone": _refiner(folder, options, multiview=False),
            "with views": _refiner(folder, options, multiview=True),
        }
        for number, (sensors, room) in enumerate(rooms_to_judge(options)):
            say(f"room {number // 2 + 1} of {options.rooms}, {sensors} sensors")
            for how, refiner in refiners.items():
                found.setdefault((sensors, how), []).append(judge(refiner, room, options.refined_views))
    pixels = {group: joined_pixels(parts) for group, parts in found.items()}
    used = [part for (sensors, _), part in pixels.items() if options.fit_held_out or sensors != HELD_OUT_SENSOR]
    after = joined_pixels(used).fit()
    write_calibration(options.refiner, after)
    return Calibrated(before, after, pixels)


def rooms_to_judge(options: CalibrateRefiner) -> Iterator[tuple[str, SensedRoom]]:
    """Each room twice: as one of the training's sensors sees it, and as the held-out one does."""
    clips = RoomClips((options.views, options.views), (options.width, options.width), path_views=(60, 160))
    store = ClipStore(clips, options.seed, None, "cpu")
    for number in range(options.rooms):
        clip = store.clip(number)
        strength = float(numpy_generator(Stream.CALIBRATION, options.seed, number).uniform(*options.strength))
        seen_by = {"training": SENSORS[number % len(SENSORS)], HELD_OUT_SENSOR: HELD_OUT_SENSOR}
        for sensors, kind in seen_by.items():
            yield sensors, sensed_room(clip, kind, strength, options.seed, number)


def judge(refiner: DiffusionRefiner, room: SensedRoom, views: int) -> JudgedPixels:
    """Random pixels of some views of a room.

    Args:
        refiner: one whose sigma is the ensemble's spread.
        room: posed frames with their truth.
        views: how many of them to refine, spread evenly.
    """
    indices = evenly_spread(len(room.frames), views)
    parts = []
    for index, refined in zip(indices, refiner.refine(room.frames, indices), strict=True):
        truth = room.truth_z_m[index]
        # What takes the place of a contradicted measurement has the sigma of one of the other classes.
        known = np.flatnonzero((truth > 0) & (refined.depth_z_m > 0) & (refined.provenance != int(Provenance.REPLACED)))
        draw = numpy_generator(Stream.CALIBRATION, index, len(known))
        chosen = draw.permutation(known)[:PIXELS_PER_VIEW]
        disagreement = refiner.disagreement_z_m(room.frames, index)
        parts.append(
            JudgedPixels(
                spread_z_m=refined.sigma_z_m.flat[chosen],
                error_z_m=(refined.depth_z_m - truth).flat[chosen],
                depth_z_m=refined.depth_z_m.flat[chosen],
                provenance=refined.provenance.flat[chosen],
                disagreement_z_m=disagreement.flat[chosen],
            )
        )
    return joined_pixels(parts)


def joined_pixels(parts: Sequence[JudgedPixels]) -> JudgedPixels:
    """All pixels of several parts."""
    names = [field.name for field in fields(JudgedPixels)]
    return JudgedPixels(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def read_calibration(folder: Path) -> Calibration:
    """The calibration in a refiner's folder."""
    return Calibration.from_json(_index(folder)["calibration"])


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Puts another calibration into a refiner's folder."""
    index = {**_index(folder), "calibration": calibration.to_json()}
    write_bytes_atomically(folder / INDEX_FILE, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())


def _index(folder: Path) -> Mapping[str, Mapping]:
    return json.loads((folder / INDEX_FILE).read_text())


@contextmanager
def _giving_spread(folder: Path) -> Iterator[Path]:
    """A copy of the refiner whose sigma is the ensemble's spread and nothing else."""
    bare = SigmaModel(temperature=1.0, relative=0.0, per_metre=0.0)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "refiner"
        shutil.copytree(folder, copy)
        write_calibration(copy, Calibration(bare, bare, bare, bare))
        yield copy


def _refiner(folder: Path, options: CalibrateRefiner, multiview: bool) -> DiffusionRefiner:
    config = RefinerConfig(str(folder), steps=options.steps, ensemble=options.ensemble, multiview=multiview)
    return DiffusionRefiner(config)
