"""How far what a refiner says of a pixel is followed where the sensor has measured it too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diffnerf_ns.depth_units import sensor_sigma_z_m

FloatMap = npt.NDArray[np.float32]


def with_small_corrections(
    sensor_z_m: FloatMap, refined_z_m: FloatMap, refined_sigma_z_m: FloatMap, largest_sigmas: float
) -> tuple[FloatMap, FloatMap]:
    """Depth and its standard deviation, metres: refined, unless that corrects a measurement by too much.

    What the refiner took away stays away, and what it filled in stays.

    Args:
        sensor_z_m: what the sensor measured [height, width], metres, 0 where missing.
        refined_z_m: refined depth of the same pixels, metres, 0 where missing.
        refined_sigma_z_m: its standard deviation, metres.
        largest_sigmas: corrections beyond so many of the sensor's standard deviations are not made.
    """
    sensor_sigma = sensor_sigma_z_m(sensor_z_m)
    too_far = np.abs(refined_z_m - sensor_z_m) > largest_sigmas * np.maximum(sensor_sigma, 1e-6)
    kept = (sensor_z_m > 0) & (refined_z_m > 0) & too_far
    return np.where(kept, sensor_z_m, refined_z_m), np.where(kept, sensor_sigma, refined_sigma_z_m).astype(np.float32)
