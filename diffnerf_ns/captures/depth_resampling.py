"""Brings depth to another size without ever averaging across a hole or an edge."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

SAME_SURFACE = 0.03
"""Largest relative spread of neighbouring depths that still counts as one surface."""


def resample_depth(depth: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """Depth [height', width'] of any unit (0 where missing) at another size of the same field of view.

    Pixels take their nearest neighbour, so holes and edges stay where they are. Where depth is enlarged and its 3x3
    neighbourhood is one surface without holes, it is interpolated: a slanted wall must not become stairs.
    """
    if depth.shape == (height, width):
        return depth
    nearest = resample_nearest(depth, width, height)
    if width < depth.shape[1] or height < depth.shape[0]:
        return nearest
    neighbourhood = np.ones((3, 3), np.uint8)
    lowest, highest = cv2.erode(depth, neighbourhood), cv2.dilate(depth, neighbourhood)
    smooth = (lowest > 0) & (highest - lowest < SAME_SURFACE * highest)
    smooth = resample_nearest(smooth.astype(np.uint8), width, height) > 0
    return np.where(smooth, cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR), nearest)


def resample_nearest(values: npt.NDArray, width: int, height: int) -> npt.NDArray:
    """Values [height', width'] at another size of the same field of view, each from its nearest pixel."""
    if values.shape == (height, width):
        return values
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
