"""Posed RGB-D frames by their files, and how refiners see them: image and depth at one size, without distortion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.depth_files import depth_file_size, read_depth_z_m
from diffnerf_ns.captures.depth_resampling import resample_depth
from diffnerf_ns.captures.image_files import read_image
from diffnerf_ns.captures.lens import NO_DISTORTION, Lens, LensMaps
from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement.interface import Provenance, RefinedDepth, RefinerFrame


@dataclass(frozen=True)
class StageFrame:
    """One posed RGB-D frame by its files."""

    name: str
    """For messages and manifests; unique."""
    image_file: Path
    """Colour."""
    depth_file: Path
    """Sensor depth of the same view; its size may differ from the image's."""
    metres_per_unit: float
    """Metres per unit that the depth file stores."""
    width: int
    """Columns of the image for which the intrinsics hold, pixels."""
    height: int
    """Rows of that image, pixels."""
    intrinsics: npt.NDArray[np.float64]
    """Pinhole matrix [3, 3], pixels."""
    camera_to_world: npt.NDArray[np.float64]
    """Rigid pose [4, 4], metres, OpenGL axes."""
    lens: Lens = NO_DISTORTION
    """Its distortion: undone for the refiner, and put back into what it gives."""


def refiner_frame(frame: StageFrame) -> RefinerFrame:
    """The frame as refiners see it."""
    width, height = _seen_size(frame, depth_file_size(frame.depth_file))

    def read_pinhole_image() -> npt.NDArray[np.uint8]:
        image, maps = read_image(frame.image_file, width, height), lens_maps(frame, width, height)
        return image if maps is None else maps.pinhole_image(image)

    def read_pinhole_depth_z_m() -> npt.NDArray[np.float32]:
        depth_z_m, maps = sensor_depth_z_m(frame), lens_maps(frame, width, height)
        return depth_z_m if maps is None else maps.pinhole_depth(depth_z_m)

    return RefinerFrame(
        name=frame.name,
        width=width,
        height=height,
        intrinsics=_intrinsics_at(frame, width, height),
        camera_to_world=frame.camera_to_world,
        read_image=read_pinhole_image,
        read_depth_z_m=read_pinhole_depth_z_m,
    )


def sensor_depth_z_m(frame: StageFrame) -> npt.NDArray[np.float32]:
    """What the sensor measured, metres, at the size that refiners see, distorted as the camera is."""
    depth_z_m = read_depth_z_m(frame.depth_file, frame.metres_per_unit)
    rows, columns = depth_z_m.shape
    return resample_depth(depth_z_m, *_seen_size(frame, (columns, rows)))


def as_the_camera_sees(frame: StageFrame, sensor_z_m: npt.NDArray[np.float32], refined: RefinedDepth) -> RefinedDepth:
    """What a refiner gave, with the camera's distortion; the sensor's depth where a pinhole shows nothing of it.

    Args:
        frame: whose camera it is.
        sensor_z_m: from `sensor_depth_z_m`.
        refined: of the same size, without distortion.
    """
    height, width = sensor_z_m.shape
    maps = lens_maps(frame, width, height)
    if maps is None:
        return refined
    depth_z_m, sigma_z_m, provenance = (
        maps.distorted(values) for values in (refined.depth_z_m, refined.sigma_z_m, refined.provenance)
    )
    beyond = maps.distorted(np.ones_like(refined.provenance)) == 0
    measured = np.where(sensor_z_m > 0, np.uint8(Provenance.MEASURED), np.uint8(Provenance.MISSING))
    return RefinedDepth(
        np.where(beyond, sensor_z_m, depth_z_m),
        np.where(beyond, sensor_sigma_z_m(sensor_z_m), sigma_z_m).astype(np.float32),
        np.where(beyond, measured, provenance),
    )


def lens_maps(frame: StageFrame, width: int, height: int) -> LensMaps | None:
    """How to undo the frame's distortion in images of that size, pixels; None for a pinhole."""
    if frame.lens.is_pinhole:
        return None
    (fx, _, cx), (_, fy, cy), _ = _intrinsics_at(frame, width, height).tolist()
    return _lens_maps(frame.lens, fx, fy, cx, cy, width, height)


@lru_cache(maxsize=4)
def _lens_maps(lens: Lens, fx: float, fy: float, cx: float, cy: float, width: int, height: int) -> LensMaps:
    return LensMaps(lens, np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), width, height)


def _seen_size(frame: StageFrame, depth_size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of image or depth, whichever is the smaller."""
    return min(depth_size, (frame.width, frame.height))


def _intrinsics_at(frame: StageFrame, width: int, height: int) -> npt.NDArray[np.float64]:
    return np.diag([width / frame.width, height / frame.height, 1.0]) @ frame.intrinsics
