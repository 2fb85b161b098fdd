"""Units and directions of depth, and what counts as missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffnerf_ns.depth_units import (
    metres_from_scene,
    metres_from_stored,
    millimetres_from_metres,
    missing_as_zero,
    pinhole_directions_norm,
    ray_length_from_z,
    scene_from_metres,
    sensor_sigma_z_m,
    z_from_ray_length,
)


def test_every_way_of_being_missing_becomes_zero() -> None:
    depth = [1.5, 0.0, -1.0, np.nan, np.inf, -np.inf]
    expected = [1.5, 0, 0, 0, 0, 0]
    assert missing_as_zero(np.array(depth, np.float32)).tolist() == expected
    assert missing_as_zero(torch.tensor(depth)).tolist() == expected


def test_65535_is_missing_in_16_bit_files_only() -> None:
    assert metres_from_stored(np.array([1500, 65535, 0], np.uint16)).tolist() == pytest.approx([1.5, 0, 0])
    assert metres_from_stored(np.array([65535.0], np.float32)).tolist() == pytest.approx([65.535])


def test_stored_units_are_metres_per_unit() -> None:
    assert metres_from_stored(np.array([10000], np.uint16), 1 / 5000).tolist() == pytest.approx([2.0])


def test_millimetres_survive_a_round_trip_to_half_a_millimetre() -> None:
    depth_m = np.random.default_rng(0).uniform(0.3, 65, 1000).astype(np.float32)
    assert np.abs(metres_from_stored(millimetres_from_metres(depth_m)) - depth_m).max() <= 0.00051


@pytest.mark.parametrize("depth_m", [0.0, np.nan, np.inf, -2.0, 65.535, 1e9])
def test_what_millimetres_cannot_hold_is_missing(depth_m: float) -> None:
    assert millimetres_from_metres(np.array([depth_m])).tolist() == [0]


def test_ray_length_is_longer_towards_the_corners() -> None:
    norm = pinhole_directions_norm(4, 2, fx=2.0, fy=2.0, cx=2.0, cy=1.0)
    assert norm.shape == (2, 4)
    assert norm[0, 0] == pytest.approx(np.sqrt(1 + 0.75**2 + 0.25**2))
    depth_z = np.full((2, 4), 2.0, np.float32)
    np.testing.assert_allclose(z_from_ray_length(ray_length_from_z(depth_z, norm), norm), depth_z, rtol=1e-6)


def test_missing_stays_missing_through_all_conversions() -> None:
    zero = torch.zeros(3)
    assert ray_length_from_z(zero, torch.full((3,), 1.2)).eq(0).all()
    assert scene_from_metres(zero, 0.3).eq(0).all()
    assert sensor_sigma_z_m(zero).eq(0).all()


def test_scene_units_and_metres_are_inverse() -> None:
    assert metres_from_scene(scene_from_metres(torch.tensor([2.0]), 0.25), 0.25).item() == pytest.approx(2.0)
    assert scene_from_metres(torch.tensor([2.0]), 0.25).item() == pytest.approx(0.5)


def test_sensor_sigma_never_falls_below_the_axial_noise_and_grows_with_distance() -> None:
    depth = torch.tensor([0.5, 1.0, 2.0, 4.0])
    sigma = sensor_sigma_z_m(depth)
    assert (sigma >= 1.4e-3 * depth**2).all()
    assert (sigma.diff() > 0).all()
    assert sigma[1].item() == pytest.approx(6.17e-3, rel=0.01)
