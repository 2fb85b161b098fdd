"""The frames of a capture as transforms.json lists them, without nerfstudio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.capture_checks import check_transforms, open_transforms
from diffnerf_ns.captures.depth_checks import RgbdFiles, check_frame_files
from diffnerf_ns.captures.lens import Lens
from diffnerf_ns.depth_units import metres_per_unit_of

CAMERA_KEYS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model", "k1", "k2", "k3", "k4", "p1", "p2")
"""What transforms.json may say of the camera for all frames at once."""


@dataclass(frozen=True)
class CaptureFrame:
    """One frame of a capture on disk."""

    entry: dict[str, Any]
    """What transforms.json says of it."""
    files: RgbdFiles
    """Its files and its camera's size."""
    intrinsics: npt.NDArray[np.float64]
    """Pinhole matrix [3, 3], pixels."""
    lens: Lens
    """Its distortion."""
    camera_to_world: npt.NDArray[np.float64]
    """Rigid pose [4, 4], OpenGL axes."""
    held_out: bool
    """Whether a split keeps it for evaluation."""


@dataclass(frozen=True)
class Capture:
    """A checked capture."""

    folder: Path
    """Where its file names start."""
    meta: dict[str, Any]
    """What transforms.json holds."""
    frames: list[CaptureFrame]
    """In the order of transforms.json."""
    metres_per_unit: float
    """Metres per stored depth unit."""


def open_capture(data: Path) -> Capture:
    """Reads transforms.json and checks all it names; raises CaptureError for what cannot be used.

    Args:
        data: the capture's folder, or the JSON file itself.
    """
    file, meta = open_transforms(data)
    check_transforms(file, meta)
    names = {key: {str(Path(name)) for name in meta.get(f"{key}_filenames", ())} for key in ("train", "val", "test")}
    held_out = (names["val"] | names["test"]) - names["train"]
    frames = [_frame(file.parent, {**entry, **_shared(meta)}, entry, held_out) for entry in meta["frames"]]
    unit = metres_per_unit_of(meta)
    check_frame_files([frame.files for frame in frames], unit)
    return Capture(file.parent, meta, frames, unit)


def _shared(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: meta[key] for key in CAMERA_KEYS if key in meta}


def _frame(folder: Path, values: dict[str, Any], entry: dict[str, Any], held_out: set[str]) -> CaptureFrame:
    return CaptureFrame(
        entry=entry,
        files=RgbdFiles(
            folder / entry["file_path"], folder / entry["depth_file_path"], int(values["w"]), int(values["h"])
        ),
        intrinsics=np.array(
            [[values["fl_x"], 0, values["cx"]], [0, values["fl_y"], values["cy"]], [0, 0, 1]], dtype=np.float64
        ),
        lens=Lens.of_transforms(values),
        camera_to_world=np.array(entry["transform_matrix"], dtype=np.float64),
        held_out=str(Path(entry["file_path"])) in held_out,
    )
