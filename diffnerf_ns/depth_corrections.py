"""What refined depth changes where the sensor has measured too: its bias, and what is close enough to be followed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from diffnerf_ns.depth_units import sensor_sigma_z_m

FloatMap = npt.NDArray[np.float32]

NEIGHBOURHOOD_SHARE = 0.125
"""Window over which differences are averaged, twice, as a share of the picture's width."""

LARGEST_BIAS = 0.03
"""Differences beyond this share of the depth are no bias of the sensor, but another surface."""

LEAST_COMPARED = 0.02
"""Share of a neighbourhood that must be comparable."""


def in_line_with_refined(sensor_z_m: FloatMap, refined_z_m: FloatMap) -> FloatMap:
    """Measured depth [height, width], metres, without what it is off by over whole areas, in the refiner's eyes.

    A sensor's bias is smooth over the picture (Teichman et al. 2013) and does not average out where few views see a
    surface. Its details, edges above all, stay as they were measured.

    Args:
        sensor_z_m: what the sensor measured [height, width], metres, 0 where missing.
        refined_z_m: refined depth of the same pixels, metres, 0 where missing.
    """
    both = (sensor_z_m > 0) & (refined_z_m > 0)
    log_ratio = np.log(np.where(both, refined_z_m, 1.0) / np.where(both, sensor_z_m, 1.0), dtype=np.float32)
    comparable = (both & (np.abs(log_ratio) < LARGEST_BIAS)).astype(np.float32)
    total, share = _blurred(log_ratio * comparable), _blurred(comparable)
    bias = np.where(share > LEAST_COMPARED, total / np.maximum(share, LEAST_COMPARED), 0.0)
    return (sensor_z_m * np.exp(bias)).astype(np.float32)


def _blurred(image: FloatMap) -> FloatMap:
    """Means over the window, twice, with zeros around the picture."""
    side = 2 * round(0.5 * NEIGHBOURHOOD_SHARE * image.shape[1]) + 1
    for _ in range(2):
        image = np.asarray(cv2.blur(image, (side, side), borderType=cv2.BORDER_CONSTANT), dtype=np.float32)
    return image


def with_small_corrections(
    sensor_z_m: FloatMap, refined_z_m: FloatMap, refined_sigma_z_m: FloatMap, largest_sigmas: float
) -> tuple[FloatMap, FloatMap]:
    """Depth and its standard deviation, metres: refined, unless that corrects a measurement by too much, or is less
    certain than the measurement was.

    What the refiner took away stays away, and what it filled in stays.

    Args:
        sensor_z_m: what the sensor measured [height, width], metres, 0 where missing.
        refined_z_m: refined depth of the same pixels, metres, 0 where missing.
        refined_sigma_z_m: its standard deviation, metres.
        largest_sigmas: corrections beyond so many of the sensor's standard deviations are not made.
    """
    sensor_sigma = sensor_sigma_z_m(sensor_z_m)
    too_far = np.abs(refined_z_m - sensor_z_m) > largest_sigmas * np.maximum(sensor_sigma, 1e-6)
    unsure = refined_sigma_z_m > sensor_sigma
    kept = (sensor_z_m > 0) & (refined_z_m > 0) & (too_far | unsure)
    return np.where(kept, sensor_z_m, refined_z_m), np.where(kept, sensor_sigma, refined_sigma_z_m).astype(np.float32)
