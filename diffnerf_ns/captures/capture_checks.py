"""Checks transforms.json before anything is trained or written; what cannot work is refused with its remedy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import SPLITS, TRANSFORMS_FILE

RIGID_TOLERANCE = 1e-2
"""Largest deviation of R^T R from the identity: lets rounded poses pass, refuses scaled or sheared ones."""

INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")


def open_transforms(data: Path) -> tuple[Path, dict[str, Any]]:
    """Finds and parses a capture's transforms.json.

    Args:
        data: the capture's folder, or the JSON file itself.

    Returns:
        The file and what it holds.
    """
    file = data if data.suffix == ".json" else data / TRANSFORMS_FILE
    if not file.is_file():
        where = "the folder does not exist" if not file.parent.is_dir() else "there is no such file"
        raise CaptureError(
            file,
            "capture",
            where,
            "Give --data a folder with a transforms.json, as `ns-process-data` or `diffnerf make-room` write it.",
        )
    try:
        meta = json.loads(file.read_text(encoding="utf8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CaptureError(file, "JSON", f"cannot be parsed ({error})", "Write it again.") from error
    if not isinstance(meta, dict):
        raise CaptureError(file, "JSON", "is not an object", "Write it in nerfstudio's transforms.json layout.")
    return file, meta


def check_transforms(file: Path, meta: dict[str, Any]) -> None:
    """Raises CaptureError for the first thing in transforms.json that cannot work. Opens no other file."""
    frames = meta.get("frames")
    if not isinstance(frames, list) or len(frames) < 2:
        count = len(frames) if isinstance(frames, list) else 0
        raise CaptureError(
            file, "frames", f"{count} view(s), at least 2 are needed", "Capture the scene from several places."
        )
    _check_file_names(file, frames)
    for index, frame in enumerate(frames):
        _check_pose(file, index, frame)
        _check_intrinsics(file, index, {**frame, **meta})
    _check_unit(file, meta)
    _check_splits(file, meta)


def _check_file_names(file: Path, frames: Sequence[dict[str, Any]]) -> None:
    names = [frame.get("file_path") for frame in frames]
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise CaptureError(file, f"frames[{index}].file_path", "is missing", "Name the frame's image file.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CaptureError(file, "frames[].file_path", f"{twice} appears twice", "Remove one of the two frames.")
    without_depth = [name for name, frame in zip(names, frames, strict=True) if not frame.get("depth_file_path")]
    if len(without_depth) == len(frames):
        raise CaptureError(
            file,
            "frames[].depth_file_path",
            "no frame has depth",
            "Add a depth file to each frame, or train a method that needs none, e.g. nerfacto.",
        )
    if without_depth:
        raise CaptureError(
            file,
            "frames[].depth_file_path",
            f"{len(without_depth)} of {len(frames)} frames have no depth, the first is {without_depth[0]}",
            "Add their depth files or remove these frames.",
        )


def _check_pose(file: Path, index: int, frame: dict[str, Any]) -> None:
    field = f"frames[{index}].transform_matrix ({frame['file_path']})"
    try:
        pose = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.empty(0)
    if pose.shape != (4, 4):
        raise CaptureError(file, field, "is not a 4x4 matrix", "Give the camera-to-world pose.")
    if not np.isfinite(pose).all():
        raise CaptureError(file, field, "holds NaN or infinity", "Remove the frames that were not localised.")
    rotation = pose[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if error > RIGID_TOLERANCE or np.linalg.det(rotation) < 0 or np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise CaptureError(
            file,
            field,
            f"is not a rigid pose (R^T R is off the identity by {error:.2g}, det R = {np.linalg.det(rotation):.3g})",
            "Give a rotation and a translation in metres, without scale, shear or mirroring.",
        )


def _check_intrinsics(file: Path, index: int, values: dict[str, Any]) -> None:
    for key in INTRINSICS:
        value = values.get(key)
        if not isinstance(value, (int, float)) or not np.isfinite(value) or (value <= 0 and key not in ("cx", "cy")):
            raise CaptureError(
                file,
                f"{key} (frame {index})",
                f"is {value}" if key in values else "is missing",
                "Give it in pixels, for the capture or for each frame.",
            )


def _check_unit(file: Path, meta: dict[str, Any]) -> None:
    unit = meta.get("depth_unit_scale_factor", 1.0)
    if not isinstance(unit, (int, float)) or not np.isfinite(unit) or unit <= 0:
        raise CaptureError(
            file, "depth_unit_scale_factor", f"is {unit}", "Give metres per stored unit, e.g. 0.001 for millimetres."
        )


def _check_splits(file: Path, meta: dict[str, Any]) -> None:
    given = [split for split in SPLITS if f"{split}_filenames" in meta]
    if not given:
        return
    known = {str(Path(frame["file_path"])) for frame in meta["frames"]}
    for split in given:
        field = f"{split}_filenames"
        names = meta[field]
        if not isinstance(names, list) or not names:
            raise CaptureError(file, field, "names no frame", "Name at least one, or remove all *_filenames.")
        if unknown := [name for name in names if str(Path(name)) not in known]:
            raise CaptureError(file, field, f"{unknown[0]} is no frame's file_path", "Use the frames' own names.")
    if "train" not in given or len(given) < 2:
        raise CaptureError(
            file,
            " and ".join(f"{split}_filenames" for split in given),
            "a split needs frames to train on and frames to evaluate",
            "Give train_filenames and val_filenames, or neither: then a tenth of the frames is held out.",
        )
