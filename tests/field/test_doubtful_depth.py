"""Doubtful depth counts like any other at the beginning of a training alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation

from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.field.doubtful_depth import DoubtfulDepth, DoubtfulDepthConfig

DEPTH = torch.tensor([[1.0], [1.0], [4.0], [0.0]])
SIGMA = torch.tensor([[0.005], [0.05], [0.05], [0.02]])


def _at(step: int, steps: int | None = 10, **settings) -> DoubtfulDepth:
    doubtful = DoubtfulDepthConfig(**settings).setup()
    trainer = None if steps is None else SimpleNamespace(config=SimpleNamespace(max_num_iterations=steps))
    callback = doubtful.training_callback(TrainingCallbackAttributes(None, None, None, trainer))  # type: ignore[arg-type]
    callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
    return doubtful


@pytest.mark.parametrize("scene_units_per_metre", [1.0, 0.25])
def test_doubtful_is_what_is_known_worse_than_a_sensor_measures(scene_units_per_metre):
    depth_m = torch.tensor([0.5, 2.0, 6.0, 20.0])[:, None].repeat(1, 3)
    sigma_m = sensor_sigma_z_m(depth_m) * torch.tensor([1.0, 1.9, 2.1])
    depth, sigma = depth_m * scene_units_per_metre, sigma_m * scene_units_per_metre
    doubtful = _at(step=5, least_sigma=2.0, until=0.5)
    doubtful.scene_units_per_metre = scene_units_per_metre
    over = doubtful.is_over(depth, sigma)
    assert not over[:, :2].any()
    assert over[:, 2].all()


def test_missing_depth_is_not_doubtful():
    assert not _at(step=5, until=0.5).is_over(DEPTH, SIGMA)[3]


@pytest.mark.parametrize(
    ("step", "until", "counts"), [(0, 0.5, True), (4, 0.5, True), (5, 0.5, False), (0, 0.0, False), (9, 1.0, True)]
)
def test_it_counts_until_its_share_of_the_training_is_over(step, until, counts):
    assert _at(step, until=until).is_over(DEPTH, SIGMA).any() != counts


def test_a_training_without_an_end_keeps_it():
    assert not _at(step=10_000, steps=None, until=0.1).is_over(DEPTH, SIGMA).any()


def test_before_the_first_step_it_counts_if_it_ever_does():
    assert not DoubtfulDepthConfig(until=0.1).setup().is_over(DEPTH, SIGMA).any()
    assert DoubtfulDepthConfig(until=0.0).setup().is_over(DEPTH, SIGMA).any()


def test_a_factor_that_would_narrow_it_is_refused():
    with pytest.raises(ValueError, match=r"doubtful-depth\.widening is 0\.5: give 1 or more"):
        DoubtfulDepthConfig(widening=0.5).setup()
