"""Checks the files of a capture before anything is trained or written: images, and what the depth files really hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from diffnerf_ns.captures.capture_errors import CaptureError, CaptureWarning
from diffnerf_ns.captures.depth_files import depth_file_size, image_file_size, read_depth_stored
from diffnerf_ns.depth_units import metres_from_stored

ASPECT_TOLERANCE = 0.02
"""Largest relative difference between the aspects of image and depth that is still the same field of view."""

PLAUSIBLE_MEDIAN_M = (0.05, 100.0)
"""Range of the median depth in metres outside which the unit is most likely wrong."""

COMMON_UNITS = (1e-3, 1.0, 1e-2, 1e-4, 2.5e-4, 1 / 5000, 1e-6)
"""Metres per stored unit seen in the wild: millimetres, metres, centimetres, RealSense, TUM, micrometres."""

TYPICAL_DEPTH_M = 2.0
"""Metres to the middle of what a room capture sees; tells which unit is most likely meant."""

PIXELS_FOR_MEDIAN = 500
"""Pixels per frame that stand for all when the median depth is estimated."""


@dataclass(frozen=True)
class RgbdFiles:
    """The files of one frame and the size that its camera has, pixels."""

    image_file: Path
    depth_file: Path
    width: int
    height: int


@dataclass(frozen=True)
class _DepthContent:
    valid_sample_m: np.ndarray
    valid_count: int
    not_finite_count: int
    pixel_count: int


def check_frame_files(frames: Sequence[RgbdFiles], metres_per_unit: float) -> None:
    """Reads every depth file and every image header; raises CaptureError for what cannot be trained on.

    What can be trained on but is most likely a mistake (a wrong unit, frames without any depth, NaN or infinite
    pixels, which count as missing) gives a CaptureWarning.

    Args:
        frames: the frames' files and camera sizes.
        metres_per_unit: metres per stored depth unit.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(check_sizes, frames))
        contents = list(pool.map(lambda frame: _content_of(frame.depth_file, metres_per_unit), frames))
    _check_emptiness(frames, contents)
    _warn_about_unit(frames[0].depth_file, np.concatenate([c.valid_sample_m for c in contents]), metres_per_unit)


def check_sizes(frame: RgbdFiles) -> None:
    """Raises CaptureError if image or depth are missing or do not show what the camera sees."""
    image_size = image_file_size(frame.image_file)
    if abs(image_size[0] - frame.width) > 1 or abs(image_size[1] - frame.height) > 1:
        raise CaptureError(
            frame.image_file,
            "image size",
            f"{image_size[0]}x{image_size[1]}, but the camera is {frame.width}x{frame.height}",
            "Give w, h, fl_x, fl_y, cx, cy for the size that the image has.",
        )
    if not frame.depth_file.is_file():
        raise CaptureError(
            frame.depth_file,
            "depth file",
            f"there is no such file (the depth of {frame.image_file.name})",
            "Restore it or remove its frame.",
        )
    width, height = depth_file_size(frame.depth_file)
    if abs(width * image_size[1] / (height * image_size[0]) - 1) > ASPECT_TOLERANCE:
        raise CaptureError(
            frame.depth_file,
            "depth size",
            f"{width}x{height} has another aspect than its image, {image_size[0]}x{image_size[1]}",
            "Register the depth to the image, or crop both to the same view.",
        )


def likely_unit(median_m: float, metres_per_unit: float) -> float:
    """The unit (metres per stored unit) under which a median depth would be that of a room."""
    stored_median = median_m / metres_per_unit
    return min(COMMON_UNITS, key=lambda unit: abs(np.log(stored_median * unit / TYPICAL_DEPTH_M)))


def _content_of(depth_file: Path, metres_per_unit: float) -> _DepthContent:
    status = depth_file.stat()
    return _read_content(depth_file, metres_per_unit, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4096)
def _read_content(depth_file: Path, metres_per_unit: float, version: tuple[int, int]) -> _DepthContent:
    """What a depth file holds; `version` tells when it has to be read again."""
    stored = read_depth_stored(depth_file)
    depth_m = metres_from_stored(stored, metres_per_unit)
    sample = depth_m.ravel()[:: max(1, depth_m.size // PIXELS_FOR_MEDIAN)]
    not_finite = int(stored.size - np.isfinite(stored).sum()) if stored.dtype.kind == "f" else 0
    return _DepthContent(sample[sample > 0], int(np.count_nonzero(depth_m)), not_finite, stored.size)


def _check_emptiness(frames: Sequence[RgbdFiles], contents: Sequence[_DepthContent]) -> None:
    empty = [frame.depth_file for frame, content in zip(frames, contents, strict=True) if content.valid_count == 0]
    not_finite = [(f.depth_file, c) for f, c in zip(frames, contents, strict=True) if c.not_finite_count]
    if len(empty) == len(frames):
        problem = "all depth is zero"
        if not_finite and not_finite[0][1].not_finite_count == not_finite[0][1].pixel_count:
            problem = "all depth is NaN or infinite"
        raise CaptureError(
            empty[0],
            "depth values",
            f"{problem} or missing, here and in all {len(frames)} frames",
            "Check that depth was recorded, or train a method that needs none, e.g. nerfacto.",
        )
    if empty:
        _warn(
            f"{empty[0]}: depth values: no pixel has depth, here and in {len(empty) - 1} other of {len(frames)} "
            "frames. These views are trained on colour alone; remove them if that is not meant."
        )
    if not_finite:
        file, content = not_finite[0]
        _warn(
            f"{file}: depth values: {content.not_finite_count} of {content.pixel_count} pixels are NaN or infinite "
            f"(such pixels in {len(not_finite)} of {len(frames)} frames). They count as missing; write 0 there instead."
        )


def _warn_about_unit(file: Path, valid_m: np.ndarray, metres_per_unit: float) -> None:
    if valid_m.size == 0:
        return
    median_m = float(np.median(valid_m))
    if not PLAUSIBLE_MEDIAN_M[0] <= median_m <= PLAUSIBLE_MEDIAN_M[1]:
        unit = likely_unit(median_m, metres_per_unit)
        _warn(
            f"{file}: depth_unit_scale_factor: with {metres_per_unit:g} metres per stored unit the median depth is "
            f"{median_m:.4g} m. If that is wrong, set depth_unit_scale_factor to {unit:g} in transforms.json (or "
            f"--depth-unit-scale-factor {unit:g} after the dataparser's name): the median is then "
            f"{median_m / metres_per_unit * unit:.3g} m."
        )


def _warn(message: str) -> None:
    warnings.warn(message, CaptureWarning, stacklevel=4)
