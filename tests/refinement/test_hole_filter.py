"""The classical refiner: what it smooths, what it distrusts, what it closes, what it leaves open."""

from __future__ import annotations

import numpy as np
import pytest

from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement.hole_filter import HoleFilter
from diffnerf_ns.refinement.interface import Provenance, RefinedDepth

GREY = np.full((48, 64, 3), 128, np.uint8)


def noisy_wall(z_m: float = 2.0, noise_m: float = 0.01) -> np.ndarray:
    return (z_m + np.random.default_rng(0).normal(0, noise_m, (48, 64))).astype(np.float32)


def box_before_wall() -> np.ndarray:
    depth = np.full((48, 64), 3.0, np.float32)
    depth[:, :32] = 1.5
    return depth


def test_noise_on_a_surface_shrinks() -> None:
    depth = noisy_wall()
    refined = HoleFilter().refine_one(GREY, depth)
    assert np.abs(refined.depth_z_m - 2).mean() < 0.4 * np.abs(depth - 2).mean()
    assert (refined.provenance == Provenance.MEASURED).all()


def test_edges_stay_where_they_are() -> None:
    np.testing.assert_allclose(HoleFilter().refine_one(GREY, box_before_wall()).depth_z_m, box_before_wall(), rtol=1e-6)


def test_flying_pixels_between_two_surfaces_are_distrusted() -> None:
    depth = box_before_wall()
    depth[10:30, 32] = 2.2
    sigma = HoleFilter().refine_one(GREY, depth).sigma_z_m
    assert sigma[10:30, 32].min() > 0.5
    assert sigma[:, 50].max() < 0.025
    assert sigma[:, 10].max() < 0.015


def test_a_small_hole_is_closed_with_a_larger_sigma() -> None:
    depth = noisy_wall()
    depth[20:23, 30:34] = 0
    refined = HoleFilter().refine_one(GREY, depth)
    hole = depth == 0
    np.testing.assert_allclose(refined.depth_z_m[hole], 2.0, atol=0.02)
    assert (refined.provenance[hole] == Provenance.GENERATED).all()
    assert refined.sigma_z_m[hole].min() > 1.5 * np.median(refined.sigma_z_m[~hole])


def test_a_small_hole_between_two_surfaces_is_left_open_where_it_may_be_either() -> None:
    depth = box_before_wall()
    depth[20:23, 30:34] = 0
    refined = HoleFilter().refine_one(GREY, depth)
    hole = depth == 0
    filled = hole & (refined.depth_z_m > 0)
    error = np.abs(refined.depth_z_m - box_before_wall())
    assert (error[filled] <= refined.sigma_z_m[filled]).all()
    assert (hole & ~filled).sum() >= 8


def test_a_gap_that_shows_another_colour_is_left_open() -> None:
    """As between the slats of a chair, where only the slats around it were measured."""
    depth = np.full((48, 64), 1.5, np.float32)
    depth[20:23, 30:34] = 0
    image = np.full((48, 64, 3), 128, np.uint8)
    filled = HoleFilter().refine_one(image, depth).depth_z_m[20:23, 30:34]
    np.testing.assert_allclose(filled, 1.5, atol=0.01)
    image[20:23, 30:34] = (60, 128, 128)
    assert (HoleFilter().refine_one(image, depth).depth_z_m[20:23, 30:34] == 0).all()


def test_a_large_hole_stays_missing() -> None:
    depth = noisy_wall()
    depth[10:30, 20:40] = 0
    refined = HoleFilter().refine_one(GREY, depth)
    assert (refined.depth_z_m[10:30, 20:40] == 0).all()
    assert (refined.sigma_z_m[10:30, 20:40] == 0).all()
    assert (refined.provenance[10:30, 20:40] == Provenance.MISSING).all()


def test_depth_does_not_leak_across_colour_edges_on_a_surface() -> None:
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, 32:] = 2.03
    image = GREY.copy()
    image[:, 32:] = 250
    refined = HoleFilter().refine_one(image, depth)
    np.testing.assert_allclose(refined.depth_z_m, depth, atol=1e-3)


@pytest.mark.parametrize("depth", [np.zeros((48, 64), np.float32), noisy_wall()])
def test_sigma_is_positive_exactly_where_there_is_depth(depth: np.ndarray) -> None:
    refined = HoleFilter().refine_one(GREY, depth)
    assert ((refined.sigma_z_m > 0) == (refined.depth_z_m > 0)).all()
    assert ((refined.provenance > 0) == (refined.depth_z_m > 0)).all()


def test_sigma_never_falls_below_the_sensor_s_own() -> None:
    refined = HoleFilter().refine_one(GREY, noisy_wall())
    assert (refined.sigma_z_m >= 0.999 * sensor_sigma_z_m(refined.depth_z_m)).all()


def test_the_same_input_gives_the_same_result() -> None:
    first, second = (HoleFilter().refine_one(GREY, noisy_wall()) for _ in range(2))
    np.testing.assert_array_equal(first.depth_z_m, second.depth_z_m)


def test_the_fingerprint_names_every_setting() -> None:
    assert HoleFilter().fingerprint() == HoleFilter().fingerprint()
    for other in (HoleFilter(radius=3), HoleFilter(largest_hole=0.02), HoleFilter(colour_tolerance=5)):
        assert other.fingerprint() != HoleFilter().fingerprint()


def test_results_on_a_real_sensor_are_honest(kitchen_small) -> None:
    from diffnerf_ns.captures.depth_files import read_depth_z_m
    from diffnerf_ns.captures.image_files import read_image

    within, total = 0, 0
    for file in sorted((kitchen_small / "depth").glob("*.png"))[::6]:
        sensor, truth = read_depth_z_m(file, 0.001), read_depth_z_m(kitchen_small / "depth_ref" / file.name, 0.001)
        refined = HoleFilter().refine_one(read_image(kitchen_small / "images" / file.name, 160, 120), sensor)
        known = (truth > 0) & (refined.depth_z_m > 0)
        within += (np.abs(refined.depth_z_m - truth) <= refined.sigma_z_m)[known].sum()
        total += known.sum()
    assert 0.6 < within / total < 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_z_m": np.ones((2, 2), np.float64)}, "float32"),
        ({"sigma_z_m": np.ones((3, 2), np.float32)}, "one size"),
        ({"depth_z_m": np.full((2, 2), np.nan, np.float32)}, "NaN"),
        ({"sigma_z_m": np.zeros((2, 2), np.float32)}, "above 0"),
        ({"provenance": np.ones((2, 2), np.float32)}, "uint8"),
    ],
)
def test_results_that_break_the_interface_are_refused(change: dict, message: str) -> None:
    good = {
        "depth_z_m": np.ones((2, 2), np.float32),
        "sigma_z_m": np.ones((2, 2), np.float32),
        "provenance": np.ones((2, 2), np.uint8),
    }
    RefinedDepth(**good)
    with pytest.raises(ValueError, match=message):
        RefinedDepth(**{**good, **change})
