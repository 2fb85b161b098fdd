"""Lens distortion: pictures as a pinhole camera with the same matrix would have taken them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

CORNER_TO_CENTRE = np.array([[0.0, 0.0, -0.5], [0.0, 0.0, -0.5], [0.0, 0.0, 0.0]])
"""From matrices in which (0, 0) is the first pixel's corner to OpenCV's, in which it is its centre."""


@dataclass(frozen=True)
class Lens:
    """How far a camera is from a pinhole, in the coefficients of OpenCV and transforms.json."""

    radial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """k1 to k4; k4 counts for fisheye lenses alone."""
    tangential: tuple[float, float] = (0.0, 0.0)
    """p1 and p2; none for fisheye lenses."""
    is_fisheye: bool = False
    """Whether the angle to the axis counts in place of its tangent (OPENCV_FISHEYE)."""

    @classmethod
    def of_transforms(cls, values: Mapping[str, Any]) -> Lens:
        """The lens that transforms.json gives, for all frames or for one."""
        radial = tuple(float(values.get(name, 0.0)) for name in ("k1", "k2", "k3", "k4"))
        tangential = tuple(float(values.get(name, 0.0)) for name in ("p1", "p2"))
        return cls(radial, tangential, values.get("camera_model") == "OPENCV_FISHEYE")  # type: ignore[arg-type]

    @property
    def is_pinhole(self) -> bool:
        """Whether there is nothing to undo."""
        return not (self.is_fisheye or any(self.radial) or any(self.tangential))


NO_DISTORTION = Lens()


class LensMaps:
    """Where pixels of one size of image go when distortion is undone, and where they come from."""

    def __init__(self, lens: Lens, intrinsics: npt.NDArray[np.float64], width: int, height: int) -> None:
        """Works the maps out.

        Args:
            lens: its distortion.
            intrinsics: pinhole matrix [3, 3] for that size, pixels; (0, 0) is the first pixel's corner.
            width: columns, pixels.
            height: rows, pixels.
        """
        camera = intrinsics + CORNER_TO_CENTRE
        k1, k2, k3, _ = lens.radial
        size, kind = (width, height), cv2.CV_32FC1
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        if lens.is_fisheye:
            distortion = np.array(lens.radial)
            self._to_pinhole = cv2.fisheye.initUndistortRectifyMap(camera, distortion, np.eye(3), camera, size, kind)
            undone = cv2.fisheye.undistortPoints(pixels, camera, distortion, P=camera)
        else:
            distortion = np.array([k1, k2, *lens.tangential, k3])
            self._to_pinhole = cv2.initUndistortRectifyMap(camera, distortion, np.eye(3), camera, size, kind)
            undone = cv2.undistortPoints(pixels, camera, distortion, P=camera)
        undone = undone.reshape(height, width, 2).astype(np.float32)
        self._from_pinhole = undone[..., 0], undone[..., 1]

    def pinhole_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Colour without distortion, interpolated; black where the camera saw nothing."""
        return np.asarray(cv2.remap(image, *self._to_pinhole, cv2.INTER_LINEAR), np.uint8)

    def pinhole_depth(self, depth_z_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Depth without distortion, never interpolated; 0 where the camera saw nothing."""
        return np.asarray(cv2.remap(depth_z_m, *self._to_pinhole, cv2.INTER_NEAREST), np.float32)

    def distorted(self, values: npt.NDArray) -> npt.NDArray:
        """Values of pinhole pixels, as the camera sees them, never interpolated; 0 where the pinhole shows nothing."""
        return cv2.remap(values, *self._from_pinhole, cv2.INTER_NEAREST)
