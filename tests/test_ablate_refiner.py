"""Variants of the refiner: what each lacks, each made once, and tables of what came out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.training.data_settings import RoomClips, TrainingData
from diffnerf_ns.refinement.training.settings import Network, TrainRefiner
from scripts import ablate_refiner
from scripts.ablate_refiner import AblateRefiner, ablate, common_settings
from scripts.refiner_ablation.posed_sets import room_sets
from scripts.refiner_ablation.scores import AblatedRefiner, score_refiner
from scripts.refiner_ablation.table import tables
from scripts.refiner_ablation.variants import SAMPLINGS, TRAINED, Sampling


@pytest.fixture
def options(tmp_path: Path) -> AblateRefiner:
    """Trainings of two steps, scored on one view of one room."""
    data = TrainingData(
        rooms=RoomClips(views=(2, 2), width=(32, 32)), crop=(32, 16), crops_per_view=2, pool_passes=1, workers=0
    )
    network = Network(block_out_channels=(8, 8), layers_per_block=1, full_resolution_channels=8)
    settings = TrainRefiner(
        tmp_path, data, network, batch_size=2, mixed_precision="no", cpu=True, validation_clips=1, validation_views=2
    )
    settings = replace(settings, tensorboard=False, initial_weights="shipped")
    (tmp_path / "training.json").write_text(json.dumps({"settings": settings.fixed()}))
    return AblateRefiner(
        tmp_path / "ablation",
        trained=("diffusion", "regression"),
        samplings=("2 steps, 4 samples", "1 step"),
        settings_of=tmp_path,
        max_steps=2,
        rooms=1,
        views=3,
        width=48,
        frames=1,
        device="cpu",
    )


def test_each_variant_is_trained_and_scored_once(options: AblateRefiner, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ablate(options)
    results = json.loads((options.out / "ablation.json").read_text())
    rooms = ("rooms, sensors of the training", "rooms, held-out sensor")
    variants = ("sensor, nearest", "diffusion", "regression", "2 steps, 4 samples", "1 step")
    assert {(result["variant"], result["set"]) for result in results} == {(v, r) for v in variants for r in rooms}
    assert len(results) == 12
    assert all(result["depth"]["all"]["mae_m"] > 0 for result in results)
    trained = json.loads((options.out / "regression-2-steps" / "refiner" / "training.json").read_text())
    assert trained["step"] == 2
    assert trained["settings"]["objective"] == "regression"
    assert trained["settings"]["initial_weights"] is None

    def fail(*_: object) -> None:
        raise AssertionError("made again")

    for name in ("run_training", "score_refiner", "score_sensor"):
        monkeypatch.setattr(ablate_refiner, name, fail)
    assert ablate(options) == said == (options.out / "ablation.md").read_text()


def test_data_of_the_trainings_can_be_made_cheaper(options: AblateRefiner, tmp_path: Path) -> None:
    kept = common_settings(options, tmp_path).data
    changed = common_settings(replace(options, crops_per_view=7, clip_reuse=3), tmp_path).data
    assert (kept.crops_per_view, kept.clip_reuse) == (2, None)
    assert changed == replace(kept, crops_per_view=7, clip_reuse=3)


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        ("diffusion", {}),
        ("no colour", {"data.dropout.image": 1.0}),
        ("no other views", {"data.dropout.evidence": 1.0}),
        ("no enhancement blocks", {"network.feature_enhancement": False}),
        ("no edge loss", {"losses.edge": 0.0}),
        ("no depth loss", {"losses.depth": 0.0}),
        ("regression", {"objective": "regression"}),
    ],
)
def test_a_variant_lacks_one_thing(variant: str, changed: dict[str, object]) -> None:
    def flat(values: dict, prefix: str = "") -> dict[str, object]:
        parts = [flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v} for k, v in values.items()]
        return {name: value for part in parts for name, value in part.items()}

    before = flat(asdict(TrainRefiner(Path("out"))))
    after = flat(asdict(TRAINED[variant].change(TrainRefiner(Path("out")))))
    assert {name: value for name, value in after.items() if value != before[name]} == changed


def test_what_a_use_withholds_does_not_reach_the_pipeline(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = AblatedRefiner(tiny_weights, "cpu")
    given: list[tuple] = []
    call = DepthRefinementPipeline.__call__

    def spy(pipeline: DepthRefinementPipeline, images: list, depths: list, **options: object) -> object:
        given.append((images[0], options))
        return call(pipeline, images, depths, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(DepthRefinementPipeline, "__call__", spy)
    sets = room_sets(1, 3, 48, 1)["rooms, held-out sensor"]
    for name in ("without colour", "without other views", "4 steps", "8 samples"):
        assert score_refiner(refiner, SAMPLINGS[name], sets)["seconds"] > 0
    (grey, seen), (image, alone), (_, four), (_, eight) = given
    assert np.unique(grey).tolist() == [0.5]
    assert len(np.unique(image)) > 10
    assert "fused_z_m" in seen
    assert "fused_z_m" not in alone
    assert (four["num_inference_steps"], four["ensemble_size"]) == (4, 4)
    assert (eight["num_inference_steps"], eight["ensemble_size"]) == (2, 8)


def test_edges_can_be_left_as_sampled(tiny_weights: Path) -> None:
    posed = room_sets(1, 3, 48, 1)["rooms, held-out sensor"][0]
    refiner = AblatedRefiner(tiny_weights, "cpu")

    def refined(name: str) -> np.ndarray:
        refiner.use(replace(SAMPLINGS[name], ensemble=1))
        return next(iter(refiner.refine(posed.frames, posed.indices))).depth_z_m

    changed = refined("edges as sampled") != refined("2 steps, 4 samples")
    assert 0 < changed.mean() < 0.7


def test_a_regression_starts_from_zero_whatever_the_seed(tiny_weights: Path) -> None:
    posed = room_sets(1, 3, 48, 1)["rooms, held-out sensor"][0]

    def refined(seed: int, regression: bool) -> np.ndarray:
        refiner = AblatedRefiner(tiny_weights, "cpu", regression)
        refiner.use(Sampling(steps=1, ensemble=1, other_views=False))
        refiner.config = replace(refiner.config, seed=seed)
        return next(iter(refiner.refine(posed.frames, posed.indices))).depth_z_m

    assert np.array_equal(refined(0, True), refined(1, True))
    assert not np.array_equal(refined(0, False), refined(1, False))


def test_few_steps_are_compared_with_many() -> None:
    def row(variant: str, mae_m: float) -> dict:
        key = {"group": "uses", "set": "kitchen", "frames": 3, "weights": ""}
        return {**key, "variant": variant, "depth": {"all": {"mae_m": mae_m}}, "seconds": 0.5}

    said = tables([row("2 steps, 4 samples", 0.0103), row("50 steps", 0.01), row("8 samples", 0.02)])
    assert "## uses: kitchen (3 frames)" in said
    assert "| 50 steps | 10.0 |  |  |  |  |  |  | 0.50 |" in said
    assert "MAE on all pixels against 50 steps: 2 steps, 4 samples +3.0 %, 50 steps +0.0 %." in said


def test_names_that_there_are_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained names no colours: give some of diffusion"):
        ablate(AblateRefiner(tmp_path, trained=("no colours",)))
    with pytest.raises(ValueError, match="samplings need a refiner"):
        ablate(AblateRefiner(tmp_path, trained=()))
