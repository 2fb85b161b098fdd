"""The classical methods on arrays small enough to see what they should do."""

from __future__ import annotations

import numpy as np
import pytest

from diffnerf_ns.evaluation.depth_baselines import (
    BASELINES,
    fill_with_nearest,
    guided_filter,
    joint_bilateral,
    median_filter,
    telea_inpainting,
)


@pytest.fixture
def two_walls() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red wall at 1 m beside a blue one at 2 m; truth, image, and depth with a hole across the edge."""
    truth = np.full((24, 32), 2.0, np.float32)
    truth[:, :14] = 1.0
    image = np.zeros((24, 32, 3), np.uint8)
    image[..., 2] = 200
    image[:, :14] = (200, 0, 0)
    depth = truth.copy()
    depth[8:16, 8:22] = 0
    return truth, image, depth


def test_missing_pixels_take_the_depth_of_the_nearest() -> None:
    depth = np.array([[1, 0, 0, 0, 3], [0, 0, 0, 0, 0]], np.float32)
    filled = fill_with_nearest(depth)
    np.testing.assert_array_equal(filled[:, [0, 1, 3, 4]], [[1, 1, 3, 3]] * 2)
    np.testing.assert_array_equal(fill_with_nearest(filled), filled)
    np.testing.assert_array_equal(fill_with_nearest(np.zeros((3, 4), np.float32)), 0)


def test_the_median_removes_a_speck() -> None:
    depth = np.full((9, 9), 2.0, np.float32)
    depth[4, 4] = 3.0
    np.testing.assert_array_equal(median_filter(depth), 2.0)


def test_inpainting_keeps_what_was_measured_and_fills_in_metres() -> None:
    depth = np.full((12, 12), 2.5, np.float32)
    depth[5:7, 5:7] = 0
    depth[0, 0] = 2.4567
    filled = telea_inpainting(depth)
    assert filled[0, 0] == np.float32(2.4567)
    np.testing.assert_allclose(filled[5:7, 5:7], 2.5, atol=0.01)


def test_the_joint_bilateral_filter_fills_by_colour(two_walls: tuple[np.ndarray, ...]) -> None:
    truth, image, depth = two_walls
    np.testing.assert_allclose(joint_bilateral(image, depth), truth, atol=1e-3)


def test_the_guided_filter_follows_the_image_where_a_window_shows_both_walls(
    two_walls: tuple[np.ndarray, ...],
) -> None:
    truth, image, depth = two_walls
    away_from_the_hole = np.s_[:6]
    np.testing.assert_allclose(guided_filter(image, depth)[away_from_the_hole], truth[away_from_the_hole], atol=0.1)


@pytest.mark.parametrize("name", BASELINES)
def test_every_method_fills_every_pixel_and_leaves_a_wall_alone(name: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 28, 3), dtype=np.uint8)
    depth = np.full((20, 28), 1.5, np.float32)
    depth[rng.random((20, 28)) < 0.3] = 0
    result = BASELINES[name](image, depth)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, 1.5, atol=2e-3)


@pytest.mark.parametrize("name", BASELINES)
def test_no_method_invents_depth_from_nothing(name: str) -> None:
    image = np.zeros((20, 28, 3), np.uint8)
    np.testing.assert_array_equal(BASELINES[name](image, np.zeros((20, 28), np.float32)), 0)
