"""The classical refiner: an edge-preserving filter that knows about holes. Needs no weights and no other views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement.interface import Provenance, RefinedDepth, RefinerFrame

FloatMap = npt.NDArray[np.float32]

VERSION = 2
"""Raised whenever the results change, so that caches know."""

TRUSTED_SUPPORT = 0.75
"""Share of the neighbourhood on a pixel's surface from which on only the sensor's own noise is left."""

DOUBTED_SUPPORT = 0.5
"""Share of the neighbourhood on a pixel's surface below which it may as well belong to any other surface there."""

SIGMA_AT_EDGES = 0.7
"""Sigma of such a pixel as a share of the depth range around it. These three were calibrated on Kinect frames."""

SIGMA_GROWTH = 4.0
"""How the sensor's noise grows with the share of the neighbourhood that is not on a pixel's surface."""

HOLE_SIGMA = 0.02
"""Sigma of depth that was filled in, beyond the spread of what surrounds it, as a share of the depth."""


@dataclass(frozen=True)
class HoleFilter:
    """Denoises within surfaces, distrusts depth edges, closes small holes within a surface and leaves others open.

    A hole lies within a surface if what surrounds it has one depth and the hole's own colour: gaps of a chair's back
    are holes too, and show what is behind it.
    """

    radius: int = 2
    """Pixels to each side that a pixel is averaged with."""
    surface_tolerance: float = 0.02
    """Relative depth difference up to which neighbours lie on one surface."""
    colour_tolerance: float = 20.0
    """Colour difference (8-bit levels) at which a neighbour counts for 60 %, and beyond which a hole is left open."""
    largest_hole: float = 0.01
    """Largest hole that is closed, as a share of the image."""

    def fingerprint(self) -> str:
        return f"hole-filter {VERSION} {asdict(self)}"

    def context(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[int]:
        return ()

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        for index in indices:
            yield self.refine_one(frames[index].read_image(), frames[index].read_depth_z_m())

    def refine_one(self, image: npt.NDArray[np.uint8], depth_z_m: FloatMap) -> RefinedDepth:
        """Refines one frame.

        Args:
            image: colour [height, width, 3].
            depth_z_m: sensor depth [height, width], metres, 0 where missing.
        """
        measured = depth_z_m > 0
        smooth, support = self._average_on_surface(image, depth_z_m)
        noise = sensor_sigma_z_m(smooth) * (1 + SIGMA_GROWTH * (1 - support))
        doubt = np.clip((TRUSTED_SUPPORT - support) / (TRUSTED_SUPPORT - DOUBTED_SUPPORT), 0, 1)
        measured_sigma = np.hypot(noise, SIGMA_AT_EDGES * doubt * _local_range(depth_z_m, self.radius))

        supported = np.where(support >= DOUBTED_SUPPORT, smooth, 0).astype(np.float32)
        around, spread, colour_difference = _fill_from_around(supported, image)
        within_surface = (spread <= self.surface_tolerance * around) & (colour_difference <= self.colour_tolerance)
        filled = self._small_holes(measured) & (around > 0) & within_surface
        depth = np.where(measured, smooth, np.where(filled, around, 0.0))
        filled_sigma = np.sqrt(sensor_sigma_z_m(around) ** 2 + (HOLE_SIGMA * around) ** 2 + spread**2)
        sigma = np.where(measured, measured_sigma, np.where(filled, filled_sigma, 0.0))
        provenance = np.where(measured, Provenance.MEASURED, np.where(filled, Provenance.GENERATED, Provenance.MISSING))
        return RefinedDepth(depth.astype(np.float32), sigma.astype(np.float32), provenance.astype(np.uint8))

    def _average_on_surface(self, image: npt.NDArray[np.uint8], depth_z_m: FloatMap) -> tuple[FloatMap, FloatMap]:
        """Depth averaged over neighbours on the same surface and of like colour, and the share of such neighbours
        (colour aside) in the window."""
        height, width = depth_z_m.shape
        r = self.radius
        padded = np.pad(depth_z_m, r)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        padded_grey = np.pad(grey, r, mode="edge")
        inside = np.pad(np.ones_like(depth_z_m), r)
        tolerance = self.surface_tolerance * depth_z_m
        total, weights = np.zeros_like(depth_z_m), np.zeros_like(depth_z_m)
        same, possible = np.zeros_like(depth_z_m), np.zeros_like(depth_z_m)
        for row in range(2 * r + 1):
            for column in range(2 * r + 1):
                window = slice(row, row + height), slice(column, column + width)
                on_surface = np.abs(padded[window] - depth_z_m) <= tolerance
                colour = (padded_grey[window] - grey) / self.colour_tolerance
                weight = on_surface * np.exp(-0.5 * colour * colour)
                total += weight * padded[window]
                weights += weight
                same += on_surface
                possible += inside[window]
        measured = depth_z_m > 0
        return np.where(measured, total / np.maximum(weights, 1e-6), 0), np.where(measured, same / possible, 0)

    def _small_holes(self, measured: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        count, labels, statistics, _ = cv2.connectedComponentsWithStats((~measured).astype(np.uint8), connectivity=4)
        small = statistics[:, cv2.CC_STAT_AREA] <= self.largest_hole * measured.size
        small[0] = False  # label 0 is what was measured
        return small[labels.astype(np.intp)] if count > 1 else np.zeros_like(measured)


def _local_range(depth_z_m: FloatMap, radius: int) -> FloatMap:
    """Farthest minus nearest measured depth in the window around each pixel, metres."""
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    farthest = cv2.dilate(depth_z_m, window)
    nearest = cv2.erode(np.where(depth_z_m > 0, depth_z_m, np.float32(np.inf)), window)
    return np.where(farthest > 0, farthest - np.minimum(nearest, farthest), 0)


def _fill_from_around(depth_z_m: FloatMap, image: npt.NDArray[np.uint8]) -> tuple[FloatMap, FloatMap, FloatMap]:
    """Mean and standard deviation of the nearest known depth around each pixel, metres, 0 where there is none; and how
    far (8-bit levels, largest channel) the pixel's colour is from the mean colour there.

    Each pixel takes the smallest blur that reaches known depth.
    """
    known = (depth_z_m > 0).astype(np.float32)
    colour = image.astype(np.float32)
    mean, spread, difference = np.zeros_like(depth_z_m), np.zeros_like(depth_z_m), np.zeros_like(depth_z_m)
    reach = 1.0
    while reach < max(depth_z_m.shape) and (mean == 0).any():
        size = 2 * int(2 * reach) + 1
        moments = (known, depth_z_m, depth_z_m * depth_z_m, colour * known[..., None])
        share, first, second, tint = (cv2.blur(moment, (size, size)) for moment in moments)
        share_or_one = np.maximum(share, 1e-9)
        reached = (mean == 0) & (share * size * size > 2)
        mean = np.where(reached, first / share_or_one, mean)
        spread = np.where(reached, np.sqrt(np.maximum(second / share_or_one - mean * mean, 0)), spread)
        off = np.abs(colour - tint / share_or_one[..., None]).max(axis=-1)
        difference = np.where(reached, off, difference)
        reach *= 2
    return mean, spread, difference
