"""What refined depth changes where the sensor has measured too: its bias, and what bleeds over edges."""

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

LEAST_CERTAIN = 4.0
"""Refined depth whose standard deviation is so many times that of a measurement replaces none."""


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


def with_large_corrections(
    sensor_z_m: FloatMap, refined_z_m: FloatMap, refined_sigma_z_m: FloatMap, least_sigmas: float
) -> tuple[FloatMap, FloatMap]:
    """Depth and its standard deviation, metres: as measured, unless refined depth is far from that and well known.

    A field averages a sensor's noise over its views, but not what bleeds over edges: that is as wrong in all of them.
    What the refiner took away stays away, and what it filled in stays.

    Args:
        sensor_z_m: what the sensor measured [height, width], metres, 0 where missing.
        refined_z_m: refined depth of the same pixels, metres, 0 where missing.
        refined_sigma_z_m: its standard deviation, metres.
        least_sigmas: corrections of less than so many of the sensor's standard deviations are not made.
    """
    sensor_sigma = sensor_sigma_z_m(sensor_z_m)
    far = np.abs(refined_z_m - sensor_z_m) > least_sigmas * np.maximum(sensor_sigma, 1e-6)
    well_known = refined_sigma_z_m < LEAST_CERTAIN * sensor_sigma
    kept = (sensor_z_m > 0) & (refined_z_m > 0) & ~(far & well_known)
    return np.where(kept, sensor_z_m, refined_z_m), np.where(kept, sensor_sigma, refined_sigma_z_m).astype(np.float32)
