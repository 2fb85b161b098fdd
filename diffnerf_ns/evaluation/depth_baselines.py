"""Classical ways to clean sensor depth, for comparison. Depth maps are [height, width], metres, 0 where missing."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from diffnerf_ns.depth_units import metres_from_stored, millimetres_from_metres

FloatMap = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

TELEA_RADIUS = 5
"""Pixels around a point of a hole that inpainting looks at."""

BILATERAL_RADIUS = 2
"""Samples to each side of the joint bilateral filter."""

BILATERAL_COLOUR_SIGMA = 25.0
"""Colour difference (8-bit levels, root mean square over the channels) at which a neighbour counts for 60 %."""

BILATERAL_DEPTH_SIGMA = 0.05
"""Relative depth difference at which a measured neighbour counts for 60 %."""

GUIDED_RADIUS = 1
"""Pixels to each side of the guided filter's smallest window."""

GUIDED_VARIANCE = 1e-3
"""Variance of the grey image (0..1) below which a window is smoothed."""


def fill_with_nearest(depth_z_m: FloatMap) -> FloatMap:
    """Missing pixels take the depth of the nearest pixel that has one; all 0 if none has."""
    missing = depth_z_m <= 0
    if missing.all() or not missing.any():
        return depth_z_m
    _, labels = cv2.distanceTransformWithLabels(
        missing.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depth_of_label = np.zeros(int(labels.max()) + 1, np.float32)
    depth_of_label[np.asarray(labels)[~missing]] = depth_z_m[~missing]
    return depth_of_label[np.asarray(labels, np.intp)]


def median_filter(depth_z_m: FloatMap) -> FloatMap:
    """The median of 5x5 pixels, after holes were filled by their nearest pixel."""
    return cv2.medianBlur(fill_with_nearest(depth_z_m), 5).astype(np.float32)


def telea_inpainting(depth_z_m: FloatMap) -> FloatMap:
    """Holes filled by Telea's fast marching (2004), in millimetres; measured depth stays as it is."""
    holes = depth_z_m <= 0
    filled = cv2.inpaint(millimetres_from_metres(depth_z_m), holes.astype(np.uint8), TELEA_RADIUS, cv2.INPAINT_TELEA)
    return fill_with_nearest(np.where(holes, metres_from_stored(filled), depth_z_m))


def joint_bilateral(image: Image, depth_z_m: FloatMap) -> FloatMap:
    """Mean of the neighbours of like colour, and of like depth where depth was measured. Holes take the smallest
    reach (pixels between samples doubled each time) in which they meet measured depth of their colour."""
    measured = depth_z_m > 0
    result = np.zeros_like(depth_z_m)
    result[measured] = _bilateral_mean(image, depth_z_m, measured, 1, depth_z_m[measured])
    step = 1
    while step < max(depth_z_m.shape) and not result.all():
        missing = result == 0
        result[missing] = _bilateral_mean(image, depth_z_m, missing, step, None)
        step *= 2
    return fill_with_nearest(result)


def _bilateral_mean(
    image: Image, depth_z_m: FloatMap, pixels: npt.NDArray[np.bool_], step: int, like_z_m: FloatMap | None
) -> FloatMap:
    """Mean depth around each of the pixels, `step` pixels between samples; 0 where nothing counts.

    Args:
        image: colour [height, width, 3].
        depth_z_m: depth [height, width], metres, 0 where missing.
        pixels: which to compute, n of [height, width].
        step: pixels between samples.
        like_z_m: depth [n] that neighbours should have, metres; None if any will do.
    """
    reach = BILATERAL_RADIUS * step
    depth = np.pad(depth_z_m, reach)
    colours = np.pad(image.astype(np.float32), ((reach, reach), (reach, reach), (0, 0)))
    rows, columns = np.nonzero(pixels)
    total, weights = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
    for row in range(0, 2 * reach + 1, step):
        for column in range(0, 2 * reach + 1, step):
            neighbour = depth[rows + row, columns + column]
            off = colours[rows + row, columns + column] - image[pixels]
            distance = np.square(off).mean(axis=-1) / BILATERAL_COLOUR_SIGMA**2
            if like_z_m is not None:
                distance += np.square((neighbour - like_z_m) / (BILATERAL_DEPTH_SIGMA * like_z_m))
            weight = np.exp(-0.5 * distance) * (neighbour > 0)
            total += weight * neighbour
            weights += weight
    return np.where(weights > 1e-3, total / np.maximum(weights, 1e-12), 0).astype(np.float32)


def guided_filter(image: Image, depth_z_m: FloatMap) -> FloatMap:
    """The guided filter (He et al. 2010) with the grey image as its guide. Missing depth has no weight; holes take the
    smallest window (radius doubled each time) that holds measured depth."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    known = (depth_z_m > 0).astype(np.float32)
    result = np.zeros_like(depth_z_m)
    radius = GUIDED_RADIUS
    while radius < 2 * max(depth_z_m.shape) and (result <= 0).any():
        result = np.where(result > 0, result, _guided_pass(grey, depth_z_m, known, radius))
        radius *= 2
    return fill_with_nearest(result)


def _guided_pass(grey: FloatMap, depth_z_m: FloatMap, known: FloatMap, radius: int) -> FloatMap:
    """One pass over windows of that radius; 0 where no window holds depth, or the line leaves what was measured."""

    def box(values: FloatMap) -> FloatMap:
        size = (2 * radius + 1, 2 * radius + 1)
        return cv2.boxFilter(values, cv2.CV_32F, size, borderType=cv2.BORDER_CONSTANT).astype(np.float32)

    share = box(known)
    reached = (share > 1e-6).astype(np.float32)
    or_one = np.maximum(share, 1e-6)
    mean_guide, mean_depth = box(grey * known) / or_one, box(depth_z_m) / or_one
    covariance = box(grey * depth_z_m) / or_one - mean_guide * mean_depth
    variance = np.maximum(box(grey * grey * known) / or_one - mean_guide**2, 0)
    slope = covariance / (variance + GUIDED_VARIANCE)
    offset = mean_depth - slope * mean_guide
    windows = np.maximum(box(reached), 1e-6)
    depth = box(slope * reached) / windows * grey + box(offset * reached) / windows
    nearest, farthest = depth_z_m[depth_z_m > 0].min(initial=np.inf), depth_z_m.max(initial=0)
    return np.where((box(reached) > 1e-6) & (depth >= nearest) & (depth <= farthest), depth, 0).astype(np.float32)


def _of_depth_alone(method: Callable[[FloatMap], FloatMap]) -> Callable[[Image, FloatMap], FloatMap]:
    return lambda image, depth_z_m: method(depth_z_m)


BASELINES: dict[str, Callable[[Image, FloatMap], FloatMap]] = {
    "raw + nearest": _of_depth_alone(fill_with_nearest),
    "median 5x5": _of_depth_alone(median_filter),
    "Telea inpainting": _of_depth_alone(telea_inpainting),
    "joint bilateral": joint_bilateral,
    "guided filter": guided_filter,
}
"""By their names in reports; each takes an image and depth, and fills every pixel if any is measured."""
