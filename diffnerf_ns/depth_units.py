"""What a depth is: its unit, its direction, and when it is missing.

Names used across the package: `depth_z_m` is metres along the optical axis, `depth_ray_scene` is scene units along the
ray, `depth_stored` is whatever number a file holds. A depth of 0 is missing, and 0 is the only way to say so once a
file has been decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

METRES_PER_STORED_UNIT = 1e-3
"""Metres per stored unit where a capture does not say: millimetres, as in nerfstudio."""

SATURATED_UINT16 = 65535
"""What 7-Scenes, Kinect SDKs and others write into a 16-bit file where nothing was measured."""

SENSOR_AXIAL_SIGMA = 1.425e-3
"""Random axial noise of a structured-light sensor, metres at one metre; grows with the square of the distance
(Khoshelham and Elberink 2012)."""

SENSOR_BIAS_SIGMA = 6e-3
"""Standard deviation of the systematic errors (calibration, registration, time stamps) as a share of the distance.
With it, 68 % of the errors of a Kinect on flat surfaces between 0.8 and 4 m lie within one sigma."""

Array = TypeVar("Array", npt.NDArray, torch.Tensor)


def metres_per_unit_of(metadata: Mapping[str, Any]) -> float:
    """Metres per stored unit, from a transforms.json or a dataparser's metadata."""
    return float(metadata.get("depth_unit_scale_factor", METRES_PER_STORED_UNIT))


def missing_as_zero(depth: Array) -> Array:
    """Float depth of any unit with every way of being missing (NaN, infinite, negative) turned into 0."""
    if isinstance(depth, torch.Tensor):
        return torch.where(torch.isfinite(depth) & (depth > 0), depth, torch.zeros_like(depth))
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.zeros_like(depth))


def metres_from_stored(
    depth_stored: npt.NDArray, metres_per_unit: float = METRES_PER_STORED_UNIT
) -> npt.NDArray[np.float32]:
    """Decodes what a depth file holds into metres, 0 where missing.

    Missing are 0, NaN, infinities, negative numbers, and 65535 in a 16-bit file.
    """
    depth_m = missing_as_zero(depth_stored.astype(np.float32) * np.float32(metres_per_unit))
    if depth_stored.dtype == np.uint16:
        depth_m[depth_stored == SATURATED_UINT16] = 0.0
    return depth_m


def millimetres_from_metres(depth_m: npt.NDArray) -> npt.NDArray[np.uint16]:
    """Encodes metres as 16-bit millimetres; what is missing or farther than 65.534 m becomes 0."""
    millimetres = np.rint(missing_as_zero(depth_m).astype(np.float64) * 1000.0)
    return np.where(millimetres < SATURATED_UINT16, millimetres, 0.0).astype(np.uint16)


def scene_from_metres(length_m: Array, scene_units_per_metre: float) -> Array:
    """Lengths (depth or sigma) in metres to scene units; `scene_units_per_metre` is nerfstudio's dataparser_scale."""
    return length_m * scene_units_per_metre


def metres_from_scene(length_scene: Array, scene_units_per_metre: float) -> Array:
    """Lengths (depth or sigma) in scene units to metres; `scene_units_per_metre` is nerfstudio's dataparser_scale."""
    return length_scene / scene_units_per_metre


def ray_length_from_z(depth_z: Array, directions_norm: Array) -> Array:
    """Distance along the ray from depth along the optical axis, same unit.

    Args:
        depth_z: depth along the optical axis, 0 where missing (and 0 in the result).
        directions_norm: ray length per unit of z-depth, as nerfstudio's cameras put it into
            `ray_bundle.metadata["directions_norm"]`: 1 on the optical axis, larger away from it.
    """
    return depth_z * directions_norm


def z_from_ray_length(depth_ray: Array, directions_norm: Array) -> Array:
    """Depth along the optical axis from distance along the ray, same unit. See `ray_length_from_z`."""
    return depth_ray / directions_norm


def pinhole_directions_norm(
    width: int, height: int, fx: float, fy: float, cx: float, cy: float
) -> npt.NDArray[np.float32]:
    """Ray length per unit of z-depth at every pixel centre [height, width] of a pinhole camera (pixels)."""
    x = (np.arange(width, dtype=np.float64) + 0.5 - cx) / fx
    y = (np.arange(height, dtype=np.float64) + 0.5 - cy) / fy
    return np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2).astype(np.float32)


def sensor_sigma_z_m(depth_z_m: Array) -> Array:
    """One standard deviation of what a consumer depth sensor measures, metres; 0 where depth is missing."""
    return depth_z_m * (SENSOR_BIAS_SIGMA**2 + (SENSOR_AXIAL_SIGMA * depth_z_m) ** 2) ** 0.5
