"""Reads colour images of captures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.capture_errors import CaptureError


def read_image(file: Path, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Colour [height, width, 3], RGB, at the size asked for.

    Args:
        file: any image that OpenCV reads.
        width: columns of the result, pixels.
        height: rows of the result, pixels.
    """
    encoded = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if encoded.size else None
    if image is None:
        raise CaptureError(file, "image", "cannot be read", "Copy it again or remove its frame.")
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)
