"""Reads depth files of any kind a capture may hold, and says clearly why one cannot be read."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.depth_units import metres_from_stored

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".pgm")
ARRAY_SUFFIXES = (".npy", ".npz")
DEPTH_SUFFIXES = (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES, ".exr")
NPZ_DEPTH_KEYS = ("depth", "depth_z_m", "arr_0")
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, cv2.error)


def read_depth_z_m(file: Path, metres_per_unit: float) -> npt.NDArray[np.float32]:
    """Depth along the optical axis [height, width] in metres, 0 where missing.

    Args:
        file: 16-bit PNG/TIFF/PGM, .npy, .npz (key "depth" or its only array) or float .exr.
        metres_per_unit: metres per stored unit.
    """
    return metres_from_stored(read_depth_stored(file), metres_per_unit)


def read_depth_stored(file: Path) -> npt.NDArray:
    """What a depth file holds, [height, width], undecoded."""
    file = Path(file)
    if not file.is_file():
        raise CaptureError(file, "depth file", "there is no such file", "Restore it or remove its frame.")
    suffix = file.suffix.lower()
    if suffix not in DEPTH_SUFFIXES:
        raise CaptureError(
            file, "depth file", f"{suffix or 'no'} suffix", f"Depth is read from {', '.join(DEPTH_SUFFIXES)}."
        )
    try:
        stored = _read_array(file) if suffix in ARRAY_SUFFIXES else _read_picture(file)
    except UNREADABLE as error:
        raise _unreadable(file, str(error)) from error
    return _single_channel(file, stored)


def depth_file_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels; from the header alone where the format allows."""
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return image_file_size(file)
    if file.suffix.lower() == ".npy":
        try:
            shape = np.load(file, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError) as error:
            raise _unreadable(file, str(error)) from error
        if len(shape) >= 2:
            return shape[1], shape[0]
    height, width = read_depth_stored(file).shape
    return width, height


def image_file_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels from the header of an image file."""
    try:
        with Image.open(file) as image:
            return image.size
    except FileNotFoundError as error:
        raise CaptureError(file, "file", "there is no such file", "Restore it or remove its frame.") from error
    except OSError as error:
        raise _unreadable(file, "empty, truncated or not an image", "file") from error


def _read_picture(file: Path) -> npt.NDArray:
    if file.suffix.lower() == ".exr":
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    encoded = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    stored = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if stored is None:
        raise ValueError("empty, truncated or not an image")
    return stored


def _read_array(file: Path) -> npt.NDArray:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        keys = [key for key in NPZ_DEPTH_KEYS if key in loaded.files] or loaded.files
        if len(keys) != 1 and keys[0] not in NPZ_DEPTH_KEYS:
            raise ValueError(f"several arrays ({', '.join(loaded.files)}) and none is called 'depth'")
        return loaded[keys[0]]


def _single_channel(file: Path, stored: npt.NDArray) -> npt.NDArray:
    if stored.ndim == 3 and 1 in (stored.shape[0], stored.shape[2]):
        stored = stored[0] if stored.shape[0] == 1 else stored[..., 0]
    if stored.ndim != 2 or stored.size == 0:
        raise CaptureError(
            file,
            "depth file",
            f"array of shape {stored.shape}, not one channel",
            "Give the depth itself, not a coloured picture of it.",
        )
    if stored.dtype == np.uint8 or stored.dtype.kind not in "uif":
        raise CaptureError(
            file, "depth file", f"values of type {stored.dtype}", "Depth needs 16-bit integers or floating point."
        )
    return stored


def _unreadable(file: Path, reason: str, field: str = "depth file") -> CaptureError:
    return CaptureError(file, field, f"cannot be read ({reason})", "Copy it again or remove its frame.")
