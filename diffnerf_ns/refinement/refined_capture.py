"""Writes a capture again with refined depth, for any tool that reads nerfstudio's layout."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import SPLITS, TRANSFORMS_FILE, write_depth_png, write_json_atomically
from diffnerf_ns.captures.capture_frames import Capture, CaptureFrame, open_capture
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.depth_units import METRES_PER_STORED_UNIT
from diffnerf_ns.refinement.cache import RefinementCache
from diffnerf_ns.refinement.frame_files import StageFrame
from diffnerf_ns.refinement.interface import DepthRefiner
from diffnerf_ns.refinement.stage import refine_frames

METRES_PER_SIGMA_UNIT = 1e-4
"""Metres per unit of the sigma files: tenths of a millimetre."""

COPIED_KEYS = ("file_path", "mask_path")
"""Files of a frame that are taken over unchanged."""


def write_refined_capture(
    data: Path, out: Path, refiner: DepthRefiner, cache: RefinementCache, console: Console | None = None
) -> Path:
    """Refines a capture's depth into a new capture.

    Frames that a split keeps for evaluation stay as the sensor saw them. All depth is written as 16-bit millimetres;
    sigma as 16-bit tenths of a millimetre under `depth_sigma_file_path`.

    Args:
        data: the capture's folder, or its transforms.json.
        out: folder of the new capture; must not hold a capture yet.
        refiner: what to refine with.
        cache: where refined depth is looked up and stored.
        console: where to show progress.

    Returns:
        The new capture's folder.
    """
    if (out / TRANSFORMS_FILE).exists():
        raise CaptureError(out / TRANSFORMS_FILE, "output", "there is a capture already", "Choose another folder.")
    capture = open_capture(data)
    refined_frames = [frame for frame in capture.frames if not frame.held_out]
    stage_frames = [stage_frame(frame, capture.metres_per_unit) for frame in refined_frames]
    result = refine_frames(stage_frames, refiner, cache, str(capture.folder.resolve()), console)
    key_by_name = {frame.entry["file_path"]: key for frame, key in zip(refined_frames, result.keys, strict=True)}
    entries = []
    for frame in capture.frames:
        entries.append(_write_frame(capture, frame, out, cache, key_by_name.get(frame.entry["file_path"])))
    meta = {
        **capture.meta,
        "frames": entries,
        **_renamed_splits(capture, entries),
        "depth_unit_scale_factor": METRES_PER_STORED_UNIT,
        "depth_sigma_unit_scale_factor": METRES_PER_SIGMA_UNIT,
        "depth_refiner": refiner.fingerprint(),
    }
    write_json_atomically(out / TRANSFORMS_FILE, meta, durable=True)
    return out


def _write_frame(
    capture: Capture, frame: CaptureFrame, out: Path, cache: RefinementCache, key: str | None
) -> dict[str, Any]:
    entry = dict(frame.entry)
    for name in COPIED_KEYS:
        if name in entry:
            entry[name] = _take_over(capture.folder, entry[name], out)
    stem = _path_inside(entry["file_path"]).with_suffix(".png")
    entry["depth_file_path"] = str(Path("depth") / stem)
    if key is None:
        depth_z_m = read_depth_z_m(frame.files.depth_file, capture.metres_per_unit)
    else:
        depth_z_m, sigma_z_m, _ = cache.load_again(key, entry["file_path"])
        entry["depth_sigma_file_path"] = str(Path("depth_sigma") / stem)
        levels_per_metre = METRES_PER_STORED_UNIT / METRES_PER_SIGMA_UNIT
        write_depth_png(out / entry["depth_sigma_file_path"], sigma_z_m * levels_per_metre)
    write_depth_png(out / entry["depth_file_path"], depth_z_m)
    if truth := frame.entry.get("depth_truth_file_path"):
        entry["depth_truth_file_path"] = str(Path("depth_truth") / stem)
        truth_z_m = read_depth_z_m(capture.folder / truth, capture.metres_per_unit)
        write_depth_png(out / entry["depth_truth_file_path"], truth_z_m)
    return entry


def _take_over(folder: Path, name: str, out: Path) -> str:
    """Copies a file of the capture and says how the new capture names it; files outside the capture stay there."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return str((folder / name).resolve())
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / name, out / name)
    return name


def _renamed_splits(capture: Capture, entries: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    new_name = {
        str(Path(frame.entry["file_path"])): entry["file_path"]
        for frame, entry in zip(capture.frames, entries, strict=True)
    }
    keys = [f"{split}_filenames" for split in SPLITS if f"{split}_filenames" in capture.meta]
    return {key: [new_name[str(Path(name))] for name in capture.meta[key]] for key in keys}


def _path_inside(file_path: str) -> Path:
    """Where a frame's depth lies below the depth folder: as its image lies below the image folder."""
    path = Path(file_path)
    if path.is_absolute():
        return Path(path.name)
    inside = [part for part in path.parts if part != ".."]
    return Path(*inside[1:]) if len(inside) > 1 and inside[0] == "images" else Path(*inside)


def stage_frame(frame: CaptureFrame, metres_per_unit: float) -> StageFrame:
    """A capture's frame as stage 1 takes it."""
    return StageFrame(
        name=str(frame.files.image_file),
        image_file=frame.files.image_file,
        depth_file=frame.files.depth_file,
        metres_per_unit=metres_per_unit,
        width=frame.files.width,
        height=frame.files.height,
        intrinsics=frame.intrinsics.astype(np.float32).astype(np.float64),  # as nerfstudio has them: one cache for both
        camera_to_world=frame.camera_to_world,
        lens=frame.lens,
    )
