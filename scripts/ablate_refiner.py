"""Variants of the depth refiner side by side: trained for equally many steps, and one refiner used in other ways.

    python -m scripts.ablate_refiner --out runs/ablation --settings-of runs/refiner/checkpoint-best --max-steps 2000
    python -m scripts.ablate_refiner --out runs/ablation --weights runs/refiner/refiner --trained \\
        --reference-captures captures/kitchen --exact-captures captures/livingroom

Every result goes to OUT/ablation.json as it is there, and is not made again; OUT/ablation.md has the tables: means over
the frames. A stopped training goes on from its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import write_json_atomically
from diffnerf_ns.refinement.training.checkpoints import load_checkpoint
from diffnerf_ns.refinement.training.data_settings import HELD_OUT_SENSOR
from diffnerf_ns.refinement.training.refiner_folder import TRAINING_FILE
from diffnerf_ns.refinement.training.run import run_training
from diffnerf_ns.refinement.training.settings import TrainRefiner
from diffnerf_ns.refinement.training.stored_settings import stored_settings, training_command
from diffnerf_ns.refinement.weights_folder import INDEX_FILE, content_of
from scripts.refiner_ablation.posed_sets import PosedSet, capture_set, room_sets
from scripts.refiner_ablation.scores import AblatedRefiner, score_refiner, score_sensor
from scripts.refiner_ablation.table import tables
from scripts.refiner_ablation.variants import SAMPLINGS, TRAINED, Sampling

BASE = "diffusion"
"""The trained variant that lacks nothing."""


@dataclass(frozen=True)
class AblateRefiner:
    """Score variants of the depth refiner on fixed rooms and on captures."""

    out: Path
    """Folder for trainings, results and tables."""
    trained: tuple[str, ...] = tuple(TRAINED)
    """Variants to train."""
    samplings: tuple[str, ...] = tuple(SAMPLINGS)
    """Uses of one refiner to score."""
    weights: Path | None = None
    """That refiner's folder; None for the trained variant that lacks nothing."""
    settings_of: Path | None = None
    """Checkpoint or refiner's folder whose settings the trainings have; None for the defaults."""
    max_steps: int = 2000
    """Steps of each training."""
    crops_per_view: int | None = None
    """Samples cut from each view of a pass in training; None as in those settings. More make data cheaper."""
    clip_reuse: int | None = None
    """How often a training uses a clip; None as in those settings."""
    rooms: int = 4
    """Rooms to score on; 0 for none."""
    views: int = 20
    """Views of a room."""
    width: int = 192
    """Width of a room's views, pixels; a multiple of 16."""
    reference_captures: tuple[Path, ...] = ()
    """Captures with reference depth to score on."""
    reference_depth_folder: str = "depth_ref"
    """Folder with the reference depth in each of them."""
    exact_captures: tuple[Path, ...] = ()
    """Captures with exact depth to score on, as the held-out sensor model sees them."""
    frames: int = 8
    """Frames to score of each capture, and views of each room at most."""
    device: str = "auto"
    """Where refiners run: `cpu`, `cuda`, or `auto`."""

    def check(self) -> None:
        """Raises ValueError for names that there are not."""
        for field, names, known in (
            ("trained", self.trained, TRAINED),
            ("samplings", self.samplings, SAMPLINGS),
        ):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"{field} names {', '.join(unknown)}: give some of {', '.join(known)}")
        if self.samplings and self.weights is None and BASE not in self.trained:
            raise ValueError(f"samplings need a refiner: give its folder as weights, or train {BASE}")


def ablate(options: AblateRefiner) -> str:
    """Makes what is missing of the results and returns all of them as tables."""
    options.check()
    file = options.out / "ablation.json"
    results: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    sets = posed_sets(options)
    for group, refiner, uses in _refiners(options):
        weights = content_of(refiner.folder) if refiner else ""
        for name, posed in sets.items():
            frames = sum(len(part.indices) for part in posed)
            for variant, sampling in uses.items():
                key = {"group": group, "variant": variant, "set": name, "frames": frames, "weights": weights}
                if any(key.items() <= result.items() for result in results):
                    continue
                scores = score_refiner(refiner, sampling, posed) if refiner else score_sensor(posed)
                results.append({**key, **scores})
                write_json_atomically(file, results)
                (options.out / "ablation.md").write_text(tables(results))
    return tables(results)


def posed_sets(options: AblateRefiner) -> dict[str, list[PosedSet]]:
    """What is scored on, by name."""
    sets = room_sets(options.rooms, options.views, options.width, min(options.frames, options.views))
    for folder in options.reference_captures:
        posed = capture_set(folder, options.reference_depth_folder, None, options.frames)
        sets[folder.name] = [posed]
    for folder in options.exact_captures:
        sets[f"{folder.name}, {HELD_OUT_SENSOR}"] = [capture_set(folder, None, HELD_OUT_SENSOR, options.frames)]
    return sets


def _refiners(options: AblateRefiner) -> Iterator[tuple[str, AblatedRefiner | None, dict[str, Sampling]]]:
    """Group, refiner, and its uses by variant; no refiner stands for the sensor itself."""
    sensor = {"sensor, nearest": Sampling()}
    group, weights = f"trained for {options.max_steps} steps", options.weights
    if options.trained:
        yield group, None, sensor
    for variant in options.trained:
        folder = train(options, variant)
        weights = folder if weights is None and variant == BASE else weights
        refiner = AblatedRefiner(folder, options.device, variant == "regression")
        yield group, refiner, {variant: TRAINED[variant].sampling}
    if options.samplings and weights is not None:
        refiner = AblatedRefiner(weights, options.device)
        group = f"uses of refiner {content_of(weights)[:8]}"
        yield group, None, sensor
        yield group, refiner, {name: SAMPLINGS[name] for name in options.samplings}


def train(options: AblateRefiner, variant: str) -> Path:
    """The folder of a variant's refiner, trained unless it is there."""
    out = options.out / f"{variant} {options.max_steps} steps".replace(" ", "-")
    folder = out / "refiner"
    if not (folder / INDEX_FILE).is_file():
        settings = TRAINED[variant].change(common_settings(options, out))
        run_training(settings, training_command(settings))
    if not (folder / INDEX_FILE).is_file():
        raise OSError(f"the training in {out} was stopped: start again to go on")
    return folder


def common_settings(options: AblateRefiner, out: Path) -> TrainRefiner:
    """What all trainings share: random weights, the same rooms, rendered once, equally many steps, one validation."""
    settings = TrainRefiner(out) if options.settings_of is None else _settings_of(options.settings_of, out)
    chosen = {"crops_per_view": options.crops_per_view, "clip_reuse": options.clip_reuse}
    given = {name: value for name, value in chosen.items() if value is not None}
    return replace(
        settings,
        data=replace(settings.data, clip_cache=options.out / "clips", **given),
        initial_weights=None,
        max_steps=options.max_steps,
        anneal_by="steps",
        validate_every=options.max_steps,
        resume_from_checkpoint="latest",
    )


def _settings_of(folder: Path, out: Path) -> TrainRefiner:
    file = folder / TRAINING_FILE
    stored = json.loads(file.read_text()) if file.is_file() else load_checkpoint(folder)
    return stored_settings(stored["settings"], out)


def main() -> None:
    options = tyro.cli(AblateRefiner, prog="python -m scripts.ablate_refiner", description=__doc__)
    try:
        print(ablate(options))
    except (CaptureError, ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
