"""Writes captures: posed RGB-D frames on disk, in nerfstudio's transforms.json layout.

ROOT/images/NAME.png        colour, 8 bit
ROOT/depth/NAME.png         sensor z-depth, 16-bit millimetres, 0 where missing
ROOT/depth_truth/NAME.png   exact or reference z-depth, the same way; read only for scoring
ROOT/transforms.json        cameras, poses, file names and splits; written last: if it is there, all is
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.atomic_files import write_bytes_atomically
from diffnerf_ns.depth_units import METRES_PER_STORED_UNIT, millimetres_from_metres

TRANSFORMS_FILE = "transforms.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class PinholeIntrinsics:
    """A camera without distortion. All values are pixels; (0, 0) is the corner of the first pixel, not its centre."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class FrameToWrite:
    """One posed RGB-D frame."""

    name: str
    """File stem, unique in the capture."""
    image: npt.NDArray[np.uint8]
    """Colour [height, width, 3], RGB."""
    depth_z_m: npt.NDArray[np.float32]
    """Sensor depth along the optical axis [height, width], metres, 0 where missing."""
    camera_to_world: npt.NDArray[np.float64]
    """Rigid pose [4, 4], metres, OpenGL axes (x right, y up, z backwards)."""
    depth_truth_z_m: npt.NDArray[np.float32] | None = None
    """Exact or reference depth [height, width], metres, 0 where unknown; read only for scoring."""


def write_capture(
    root: Path,
    frames: Iterable[FrameToWrite],
    intrinsics: PinholeIntrinsics,
    splits: Mapping[str, Sequence[str]],
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a capture that nerfstudio reads without conversion.

    Frames are written as they arrive, so they may come from a generator. An older transforms.json in `root` is removed
    first: a capture that is being rewritten must not look complete.

    Args:
        root: the capture's folder; made if needed.
        frames: what to write, in order.
        intrinsics: the camera that all frames share.
        splits: frame names by split ("train", "val", "test"); without "test", "val" serves for it, and the other way
            round. Empty for nerfstudio's own split by fraction.
        extra: further top-level entries of transforms.json, e.g. how the capture was made.

    Returns:
        The capture's folder, ready for `ns-train diffnerf --data`.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / TRANSFORMS_FILE).unlink(missing_ok=True)
    entries = {}
    for frame in frames:
        if frame.name in entries:
            raise ValueError(f"frame {frame.name!r} was given twice: names must be unique in a capture")
        entries[frame.name] = _write_frame(root, frame, intrinsics)
    if not entries:
        raise ValueError(f"no frames to write into {root}")

    transforms = {
        "camera_model": "OPENCV",
        "w": intrinsics.width,
        "h": intrinsics.height,
        "fl_x": intrinsics.fx,
        "fl_y": intrinsics.fy,
        "cx": intrinsics.cx,
        "cy": intrinsics.cy,
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "depth_unit_scale_factor": METRES_PER_STORED_UNIT,
        "frames": list(entries.values()),
        **_split_filenames(splits, entries),
    }
    extra = dict(extra or {})
    if clash := transforms.keys() & extra.keys():
        raise ValueError(f"extra may not replace what the writer writes: {sorted(clash)}")
    write_json_atomically(root / TRANSFORMS_FILE, {**transforms, **extra}, durable=True)
    return root


def write_json_atomically(path: Path, content: Any, durable: bool = False) -> None:
    """Writes strict JSON (no NaN or infinity) as a whole file or not at all."""
    write_bytes_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(), durable)


def write_depth_png(path: Path, depth_z_m: npt.NDArray[np.floating]) -> None:
    """Writes metres as a 16-bit PNG in millimetres; what is missing or farther than 65.534 m becomes 0."""
    _write_png(path, millimetres_from_metres(depth_z_m))


def write_image_png(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Writes an RGB image [height, width, 3]."""
    _write_png(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _write_png(path: Path, pixels: npt.NDArray) -> None:
    encoded, content = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not encoded:
        raise ValueError(f"{path}: an array of shape {pixels.shape} and type {pixels.dtype} cannot be written as PNG")
    write_bytes_atomically(path, content.tobytes())


def _write_frame(root: Path, frame: FrameToWrite, intrinsics: PinholeIntrinsics) -> dict[str, Any]:
    _check_frame(frame, intrinsics)
    entry: dict[str, Any] = {
        "file_path": f"images/{frame.name}.png",
        "depth_file_path": f"depth/{frame.name}.png",
        "transform_matrix": np.asarray(frame.camera_to_world, dtype=np.float64).tolist(),
    }
    write_image_png(root / entry["file_path"], frame.image)
    write_depth_png(root / entry["depth_file_path"], frame.depth_z_m)
    if frame.depth_truth_z_m is not None:
        entry["depth_truth_file_path"] = f"depth_truth/{frame.name}.png"
        write_depth_png(root / entry["depth_truth_file_path"], frame.depth_truth_z_m)
    return entry


def _check_frame(frame: FrameToWrite, intrinsics: PinholeIntrinsics) -> None:
    if frame.name != Path(frame.name).name or not frame.name or frame.name.startswith("."):
        raise ValueError(f"frame name {frame.name!r} is not a plain file stem")
    size = (intrinsics.height, intrinsics.width)
    if frame.image.shape != (*size, 3) or frame.image.dtype != np.uint8:
        raise ValueError(f"frame {frame.name!r}: image is {frame.image.shape}, not {(*size, 3)} of uint8")
    for label, depth in (("depth_z_m", frame.depth_z_m), ("depth_truth_z_m", frame.depth_truth_z_m)):
        if depth is not None and depth.shape != size:
            raise ValueError(f"frame {frame.name!r}: {label} is {depth.shape}, not {size}")
    pose = np.asarray(frame.camera_to_world)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f"frame {frame.name!r}: camera_to_world must be a finite 4x4 matrix")


def _split_filenames(splits: Mapping[str, Sequence[str]], entries: Mapping[str, Mapping]) -> dict[str, list[str]]:
    if unknown := splits.keys() - set(SPLITS):
        raise ValueError(f"unknown splits {sorted(unknown)}: nerfstudio knows {', '.join(SPLITS)}")
    if not splits:
        return {}
    held_out = splits.get("val") or splits.get("test") or ()
    complete = {"train": splits.get("train", ()), "val": held_out, "test": splits.get("test") or held_out}
    for split, names in complete.items():
        if not names:
            raise ValueError(f"the {split} split is empty: name at least one frame, or give no splits at all")
        if missing := [name for name in names if name not in entries]:
            raise ValueError(f"the {split} split names frames that were not written: {missing}")
    return {f"{split}_filenames": [entries[name]["file_path"] for name in names] for split, names in complete.items()}
