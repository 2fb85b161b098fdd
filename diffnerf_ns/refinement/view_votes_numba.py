"""The inner loop of `view_votes.count_votes` compiled for a CPU, where torch takes several times as long."""

from __future__ import annotations

import numpy as np
from numba import njit

from diffnerf_ns.depth_units import SENSOR_AXIAL_SIGMA, SENSOR_BIAS_SIGMA
from diffnerf_ns.refinement.view_tolerance import AGREEING_SHARE, AGREEING_SIGMAS, CLEARLY_BEHIND, LEAST_AHEAD_M

_SHARE, _SIGMAS, _BEHIND = np.float32(AGREEING_SHARE), np.float32(AGREEING_SIGMAS), np.float32(CLEARLY_BEHIND)
_BIAS, _AXIAL = np.float32(SENSOR_BIAS_SIGMA), np.float32(SENSOR_AXIAL_SIGMA)
_AHEAD = np.float32(LEAST_AHEAD_M)


@njit(cache=True, nogil=True)
def add_votes(points, rotation, shift, intrinsics, measured_z_m, nearest_z_m, support, violations):
    """Adds one view's votes.

    Args:
        points: [n, 3] in another camera's OpenGL axes, metres; z is 0 where there is no surface.
        rotation: [3, 3] from that camera to this view's.
        shift: [3] likewise, metres.
        intrinsics: [3, 3] of this view, pixels.
        measured_z_m: what it measured [height, width], metres.
        nearest_z_m: nearest around each pixel [height, width], metres.
        support: [n], to be added to where it agrees.
        violations: [n], to be added to where it looks through.
    """
    height, width = measured_z_m.shape
    one = np.float32(1.0)
    for point in range(points.shape[0]):
        x, y, z = points[point, 0], points[point, 1], points[point, 2]
        if z == 0:
            continue
        there = -(rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + shift[2])
        if there <= _AHEAD:
            continue
        right = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + shift[0]
        up = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + shift[1]
        column = np.floor(right / there * intrinsics[0, 0] + intrinsics[0, 2])
        row = np.floor(-up / there * intrinsics[1, 1] + intrinsics[1, 2])
        if not (0 <= column < width and 0 <= row < height):
            continue
        measured = measured_z_m[int(row), int(column)]
        if measured <= 0:
            continue
        relative = _AXIAL * there
        tolerance = there * max(_SHARE, _SIGMAS * np.sqrt(_BIAS * _BIAS + relative * relative))
        if abs(measured - there) <= tolerance:
            support[point] += one
        if nearest_z_m[int(row), int(column)] - there > _BEHIND * tolerance:
            violations[point] += one
