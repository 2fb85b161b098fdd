"""Large corrections of measured depth are followed, small ones are not; holes are the refiner's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffnerf_ns.depth_corrections import in_line_with_refined, with_large_corrections
from diffnerf_ns.depth_units import sensor_sigma_z_m

SENSOR_Z_M = np.array([[2.0, 2.0, 0.0, 2.0]], np.float32)
REFINED_Z_M = np.array([[2.005, 2.6, 3.0, 0.0]], np.float32)
SIGMA_Z_M = np.array([[0.004, 0.01, 0.2, 0.0]], np.float32)
SENSOR_SIGMA_M = float(sensor_sigma_z_m(np.float32(2.0)))


@pytest.mark.parametrize(
    ("least_sigmas", "depth", "sigma"),
    [
        (2.0, [2.0, 2.6, 3.0, 0.0], [SENSOR_SIGMA_M, 0.01, 0.2, 0.0]),
        (0.0, [2.005, 2.6, 3.0, 0.0], [0.004, 0.01, 0.2, 0.0]),
        (math.inf, [2.0, 2.0, 3.0, 0.0], [SENSOR_SIGMA_M, SENSOR_SIGMA_M, 0.2, 0.0]),
    ],
)
def test_corrections_below_the_least_are_not_made(least_sigmas: float, depth: list[float], sigma: list[float]) -> None:
    found_z_m, found_sigma_m = with_large_corrections(SENSOR_Z_M, REFINED_Z_M, SIGMA_Z_M, least_sigmas)
    np.testing.assert_allclose(found_z_m[0], depth)
    np.testing.assert_allclose(found_sigma_m[0], sigma, rtol=1e-6)
    assert (found_z_m.dtype, found_sigma_m.dtype) == (np.float32, np.float32)


def test_a_measurement_stays_where_the_refiner_is_far_less_certain_of_its_own() -> None:
    surer, less_sure = np.float32(3.9 * SENSOR_SIGMA_M), np.float32(4.1 * SENSOR_SIGMA_M)
    for middle, depth, expected in ((surer, 2.6, surer), (less_sure, 2.0, SENSOR_SIGMA_M)):
        sigma = np.array([[less_sure, middle, less_sure, 0.0]], np.float32)
        found_z_m, found_sigma_m = with_large_corrections(SENSOR_Z_M, REFINED_Z_M, sigma, 2.0)
        np.testing.assert_allclose(found_z_m[0], [2.0, depth, 3.0, 0.0])
        np.testing.assert_allclose(found_sigma_m[0], [SENSOR_SIGMA_M, expected, less_sure, 0.0], rtol=1e-6)


def test_a_bias_over_whole_areas_goes_and_details_stay() -> None:
    rows, columns = np.mgrid[:48, :64].astype(np.float32)
    exact = 2.0 + 0.01 * rows
    exact[:, 40:] += 1.0
    sensor = exact * (1 + 0.012 * np.sin(columns / 20))
    sensor[24, 10] *= 1.2
    sensor[:, 30] = 0.0
    aligned = in_line_with_refined(sensor, exact)
    fair = sensor > 0
    fair[24, 10] = False
    assert aligned.dtype == np.float32
    assert np.abs(aligned - exact)[fair].mean() < 0.25 * np.abs(sensor - exact)[fair].mean()
    assert aligned[24, 10] / exact[24, 10] == pytest.approx(1.2, abs=0.01)
    assert (aligned[:, 30] == 0).all()


def test_where_refined_depth_is_another_surface_measurements_stay_as_they_are() -> None:
    sensor = np.full((24, 32), 2.0, np.float32)
    sensor[:4] = 0.0
    for refined in (np.zeros_like(sensor), 1.2 * sensor):
        np.testing.assert_array_equal(in_line_with_refined(sensor, refined), sensor)
