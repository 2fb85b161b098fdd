"""Sigma is fitted to what stage 1 gets wrong in rooms of other seeds, and to the training's sensors alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.training.calibration import (
    SENSORS,
    Calibrated,
    CalibrateRefiner,
    calibrate,
    joined_pixels,
    read_calibration,
    write_calibration,
)
from diffnerf_ns.refinement.training.calibration_card import add_to_card, calibration_text
from diffnerf_ns.refinement.training.refiner_folder import TRAINING_FILE
from diffnerf_ns.refinement.uncertainty import FEWEST_PIXELS, Calibration


@pytest.fixture(scope="module")
def options(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrateRefiner:
    folder = tmp_path_factory.mktemp("calibrated") / "refiner"
    shutil.copytree(tiny_weights, folder)
    return CalibrateRefiner(folder, rooms=2, views=3, refined_views=2, width=48)


@pytest.fixture(scope="module")
def found(options: CalibrateRefiner) -> Calibrated:
    return calibrate(options, lambda _: None)


def of_sensors(found: Calibrated, *sensors: str):
    return joined_pixels([pixels for group, pixels in found.pixels.items() if group[0] in sensors])


def test_what_was_fitted_is_what_the_pipeline_loads(options: CalibrateRefiner, found: Calibrated) -> None:
    assert found.before == Calibration()
    assert found.after != found.before
    assert DepthRefinementPipeline.from_pretrained(options.refiner).calibration == found.after
    again = replace(found.after, measured=replace(found.after.measured, temperature=1.25))
    write_calibration(options.refiner, again)
    assert read_calibration(options.refiner) == again
    write_calibration(options.refiner, found.after)


def test_sigma_covers_68_percent_of_each_class_it_was_fitted_to(found: Calibrated) -> None:
    scores = of_sensors(found, "training").scores(found.after)
    judged = {name: score for name, score in scores.items() if score.count >= FEWEST_PIXELS}
    assert {"all", "measured"} <= set(judged)
    for name, score in judged.items():
        assert score.coverage_68 == pytest.approx(0.683, abs=0.01), name


def test_the_held_out_sensor_is_reported_and_fitted_to_only_when_asked(
    options: CalibrateRefiner, found: Calibrated
) -> None:
    assert set(found.pixels) == {(who, how) for who in ("training", "redwood") for how in ("alone", "with views")}
    assert "redwood" not in SENSORS
    assert found.after == of_sensors(found, "training").fit()
    asked = calibrate(replace(options, rooms=1, fit_held_out=True), lambda _: None)
    assert asked.after == of_sensors(asked, "training", "redwood").fit()
    assert asked.after != of_sensors(asked, "training").fit()


def test_the_card_has_one_section_on_sigma_and_keeps_the_others(
    options: CalibrateRefiner, found: Calibrated, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("# Refiner\n\n## Limits\n\n- Some.\n")
    text = calibration_text(options, found, "the command")
    add_to_card(tmp_path, "an earlier text")
    add_to_card(tmp_path, text)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("# Refiner\n\n## Limits\n\n- Some.\n\n## Sigma\n")
    assert card.count("## Sigma") == 1
    assert "an earlier text" not in card
    for part in ("the command", "training alone", "| redwood (held out) | with views | confirmed |", "-> 68 %"):
        assert part in text.replace("the sensors of the training alone", "training alone")


@pytest.mark.parametrize(
    ("wrong", "said"), [({"seed": 3}, "seed is 3"), ({"ensemble": 1}, "ensemble is 1"), ({"views": 1}, "views is 1")]
)
def test_settings_that_would_mislead_are_refused(tmp_path: Path, wrong: dict[str, int], said: str) -> None:
    (tmp_path / TRAINING_FILE).write_text(json.dumps({"settings": {"seed": 3}}))
    with pytest.raises(ValueError, match=said):
        replace(CalibrateRefiner(tmp_path), **wrong).check()
