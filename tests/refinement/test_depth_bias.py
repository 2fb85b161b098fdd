"""Smooth errors of depth cameras: planted, and found again from how views disagree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffnerf_ns.captures.sensor_noise import pose_drift
from diffnerf_ns.captures.sensor_noise.distance import axial_noise, low_frequency_bias, nguyen_sigma_z_m
from diffnerf_ns.captures.synthetic_room import Camera, camera_path, generate_room, render
from diffnerf_ns.refinement import depth_bias
from diffnerf_ns.refinement.depth_bias import KNOTS, depth_factors, without_bias

VIEWS = 12
Room = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def room() -> Room:
    """Exact depth of a furnished room from places along a walk, intrinsics and poses."""
    made = generate_room(3)
    camera = Camera.of_size(128, 96, 65.0)
    camera_to_world = camera_path(made, 36, 3)[:VIEWS]
    truth = render(made, camera_to_world, camera, "cpu").depth_z_m
    matrix = torch.tensor([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
    return truth, matrix.expand(VIEWS, 3, 3), camera_to_world.float()


def off_by(depth: Tensor, truth: Tensor) -> float:
    """Median of the relative error."""
    known = (truth > 0) & (depth > 0)
    return float((depth / truth.clamp(min=1e-3) - 1).abs()[known].median())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_bias_that_each_view_has_another_of_is_mostly_taken_off(room: Room) -> None:
    truth, intrinsics, poses = room
    biased = low_frequency_bias(truth, 0.015, generator())
    biased = axial_noise(biased, 0.5 * nguyen_sigma_z_m(biased), generator())
    found = torch.stack(without_bias(biased, intrinsics, poses))
    assert off_by(biased, truth) > 0.004
    assert off_by(found, truth) < 0.6 * off_by(biased, truth)


def test_a_pattern_that_all_views_have_in_common_is_found_too(room: Room) -> None:
    truth, intrinsics, poses = room
    rows, columns = torch.linspace(-1, 1, truth.shape[1]), torch.linspace(-1, 1, truth.shape[2])
    pattern = 0.04 * (rows[:, None] ** 2 + columns**2 - 2.0 / 3.0) / 2.0
    biased = truth * torch.exp(pattern)
    factors = depth_factors(list(biased), intrinsics, poses)
    common = factors.log().mean(dim=0)
    assert abs(float(common.mean())) < 1e-3  # how large the room is, is for the poses to say
    knots = 0.02 * (torch.linspace(-1, 1, KNOTS[0])[:, None] ** 2 + torch.linspace(-1, 1, KNOTS[1]) ** 2)
    assert float(common.std()) > 0.85 * float(knots.std())
    assert float(torch.corrcoef(torch.stack([-knots.flatten(), common.flatten()]))[0, 1]) > 0.97


def test_what_views_are_off_by_independently_is_not_taken_for_a_pattern(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, intrinsics, poses = room
    biased = low_frequency_bias(truth, 0.015, generator())
    found = depth_factors(list(biased), intrinsics, poses)
    monkeypatch.setattr(depth_bias, "LEAST_PATTERN_EVIDENCE", float("inf"))
    assert torch.equal(depth_factors(list(biased), intrinsics, poses), found)
    monkeypatch.setattr(depth_bias, "LEAST_PATTERN_EVIDENCE", float("-inf"))
    with_pattern = depth_factors(list(biased), intrinsics, poses)
    assert float((with_pattern - found).abs().max()) > 1e-3


def test_exact_depth_is_left_alone(room: Room) -> None:
    truth, intrinsics, poses = room
    found = torch.stack(without_bias(truth, intrinsics, poses))
    assert off_by(found, truth) < 0.0005


def test_poses_that_drift_are_not_taken_for_a_bias(room: Room) -> None:
    truth, intrinsics, poses = room
    drifted = pose_drift(poses, 0.003, 0.1, generator())
    found = torch.stack(without_bias(truth, intrinsics, drifted))
    assert off_by(found, truth) < 0.002


def test_what_is_missing_stays_missing_and_edges_stay_where_they_are(room: Room) -> None:
    truth, intrinsics, poses = room
    holes = low_frequency_bias(truth, 0.015, generator())
    holes[:, 20:40, 30:60] = 0.0
    found = torch.stack(without_bias(holes, intrinsics, poses))
    assert torch.equal(found == 0, holes == 0)
    ratio = (found / holes)[holes > 0]
    assert (ratio.log().abs() <= 0.04 + 1e-6).all()
    step = (found[:, :, 1:] / found[:, :, :-1]) / (holes[:, :, 1:] / holes[:, :, :-1])
    assert (step[(holes[:, :, 1:] > 0) & (holes[:, :, :-1] > 0)] - 1).abs().max() < 0.002


def test_views_that_see_nothing_in_common_keep_their_depth(room: Room) -> None:
    truth, intrinsics, poses = (part[:2].clone() for part in room)
    poses[1, :3, 3] += 100.0
    assert all(torch.equal(*pair) for pair in zip(without_bias(truth, intrinsics, poses), truth, strict=True))


def test_one_view_and_views_without_depth_are_given_back(room: Room) -> None:
    truth, intrinsics, poses = room
    (alone,) = without_bias(truth[:1], intrinsics[:1], poses[:1])
    assert torch.equal(alone, truth[0])
    nothing = torch.zeros_like(truth)
    assert torch.equal(torch.stack(without_bias(nothing, intrinsics, poses)), nothing)


def test_views_of_other_sizes_are_compared_as_well(room: Room) -> None:
    truth, intrinsics, poses = room
    biased = low_frequency_bias(truth, 0.015, generator())
    same = depth_factors(list(biased), intrinsics, poses)
    assert same.shape == (VIEWS, *KNOTS)
    halved = [biased[0], *(view[::2, ::2] for view in biased[1:])]
    matrices = intrinsics.clone()
    matrices[1:, :2] *= 0.5
    matrices[1:, :2, 2] += 0.25  # the kept pixels lie half a pixel before the middle of those they stand for
    found = depth_factors(halved, matrices, poses)
    assert float((found / same - 1).abs().median()) < 0.002
