"""Rays grow as planned, follow their target in bounded steps, and shrink for good where memory ran out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from diffnerf_ns.rays_per_batch import LARGEST_GROWTH, LARGEST_SHRINKAGE, RaysPerBatch, RaysPerBatchConfig


def _course(policy: RaysPerBatch, start: int, steps: int, seconds_of=lambda rays: 0.0, gib_of=lambda rays: 0.0):
    """Numbers of rays over `steps` steps whose time and memory follow the given models."""
    rays = [start]
    for _ in range(steps):
        rays.append(policy.after_step(rays[-1], seconds_of(rays[-1]), gib_of(rays[-1])))
    return rays


@pytest.mark.parametrize("start", [256, 1 << 16])
def test_step_time_comes_within_ten_percent_of_its_target_despite_outliers(start):
    rng = np.random.default_rng(0)

    def seconds_of(rays: int) -> float:
        outlier = 3.0 if rng.random() < 0.1 else 1.0
        return (0.01 + 2e-5 * rays) * rng.normal(1.0, 0.03) * outlier

    rays = _course(RaysPerBatch(RaysPerBatchConfig(target_step_seconds=0.2)), start, 400, seconds_of)
    assert 0.01 + 2e-5 * np.median(rays[-100:]) == pytest.approx(0.2, rel=0.1)


def test_memory_comes_within_ten_percent_of_its_target_over_a_fixed_part():
    policy = RaysPerBatch(RaysPerBatchConfig(target_memory_gib=2.0))
    rays = _course(policy, 512, 400, gib_of=lambda rays: 0.8 + rays / 20000)
    assert 0.8 + rays[-1] / 20000 == pytest.approx(2.0, rel=0.1)


def test_of_two_targets_the_one_with_fewer_rays_counts():
    policy = RaysPerBatch(RaysPerBatchConfig(target_step_seconds=0.2, target_memory_gib=1.0))
    rays = _course(policy, 512, 400, seconds_of=lambda rays: 1e-5 * rays, gib_of=lambda rays: rays / 4096)
    assert rays[-1] == pytest.approx(4096, rel=0.1)


@pytest.mark.parametrize("start", [300, 100_000])
def test_one_change_is_bounded_and_waits_for_its_steps(start):
    settings = RaysPerBatchConfig(target_step_seconds=0.1, steps_between_changes=5)
    rays = _course(RaysPerBatch(settings), start, 60, seconds_of=lambda rays: rays * 1e-5)
    ratios = [later / earlier for earlier, later in itertools.pairwise(rays)]
    assert min(ratios) >= LARGEST_SHRINKAGE - 0.01
    assert max(ratios) <= LARGEST_GROWTH + 0.01
    changes = [step for step, ratio in enumerate(ratios, 1) if ratio != 1.0]
    assert changes
    assert all(step % 5 == 0 for step in changes)


def test_limits_hold_whatever_the_target():
    settings = {"min_rays": 500, "max_rays": 3000}
    fast = _course(RaysPerBatch(RaysPerBatchConfig(target_step_seconds=99.0, **settings)), 1000, 100, lambda rays: 0.1)
    slow = _course(RaysPerBatch(RaysPerBatchConfig(target_step_seconds=1e-4, **settings)), 1000, 100, lambda rays: 0.1)
    assert (fast[-1], slow[-1]) == (3000, 500)


def test_without_a_target_nothing_changes():
    assert set(_course(RaysPerBatch(RaysPerBatchConfig()), 4096, 50, lambda rays: 9.0)) == {4096}


def test_growth_stays_below_what_did_not_fit():
    policy = RaysPerBatch(RaysPerBatchConfig(target_step_seconds=99.0))
    assert policy.after_running_out(8000) == 4000
    assert max(_course(policy, 4000, 200, lambda rays: 0.1)) == 6400


def test_fewer_than_the_fewest_rays_are_not_tried():
    assert RaysPerBatch(RaysPerBatchConfig(min_rays=256)).after_running_out(511) is None


def test_rays_double_in_equal_intervals_until_they_are_all():
    policy = RaysPerBatch(RaysPerBatchConfig(first_rays=1000, growth_share=0.3))
    rays = [policy.planned(step, 100, 7000) for step in range(101)]
    assert rays == [1000] * 10 + [2000] * 10 + [4000] * 10 + [7000] * 71


@pytest.mark.parametrize(
    "settings",
    [{}, {"first_rays": 4096}, {"first_rays": 9999}, {"first_rays": 16, "target_step_seconds": 1.0}],
    ids=["off", "as many", "more", "with a target"],
)
def test_rays_that_are_not_to_grow_are_all_from_the_start(settings):
    policy = RaysPerBatch(RaysPerBatchConfig(**settings))
    assert {policy.planned(step, 100, 4096) for step in range(100)} == {4096}


def test_a_growth_of_no_length_is_over_after_a_few_steps():
    policy = RaysPerBatch(RaysPerBatchConfig(first_rays=1024, growth_share=0.0))
    assert [policy.planned(step, 1000, 4096) for step in range(4)] == [1024, 2048, 4096, 4096]


@pytest.mark.parametrize(
    ("settings", "named"), [({"first_rays": 0}, "first-rays is 0"), ({"growth_share": 1.5}, "growth-share is 1.5")]
)
def test_settings_that_make_no_sense_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        RaysPerBatch(RaysPerBatchConfig(**settings))
