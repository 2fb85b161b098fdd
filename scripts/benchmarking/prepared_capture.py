"""Captures as all methods of one run see them: the same views, the same split, the same reference depth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from diffnerf_ns.captures.capture_files import SPLITS, TRANSFORMS_FILE, write_json_atomically
from diffnerf_ns.captures.capture_frames import Capture, CaptureFrame, open_capture

HELD_OUT_SHARE = 0.1
"""Share of the views that is held out where the capture names no split."""


def chosen_views(count: int, wanted: int | None) -> list[int]:
    """Up to `wanted` of `count` indices, evenly spaced, both ends included; all where none are wanted in particular.

    Not `even_spread`, which gives the first where one is wanted, and may round otherwise between two that are as near:
    benchmarks would score other views than they did.
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    if wanted == 1:
        return [count // 2]
    return [round(index * (count - 1) / (wanted - 1)) for index in range(wanted)]


def write_benchmark_capture(
    source: Path, out: Path, reference_depth_folder: str | None = None, views: int | None = None
) -> Path:
    """Writes a transforms.json that refers to the files of another capture.

    Args:
        source: the capture's folder, or its transforms.json.
        out: folder of the new transforms.json.
        reference_depth_folder: folder of the capture with depth to score against, named as the sensor's.
        views: training views to keep, evenly spaced; None for all.

    Returns:
        The new folder.
    """
    capture = open_capture(source)
    train, held_out = _split(capture)
    train = [train[index] for index in chosen_views(len(train), views)]
    entries = {
        "train": [_entry(capture, frame, out, reference_depth_folder) for frame in train],
        "val": [_entry(capture, frame, out, reference_depth_folder) for frame in held_out],
    }
    entries["test"] = entries["val"]
    meta = _meta_without_points(capture)
    meta |= {f"{split}_filenames": [entry["file_path"] for entry in entries[split]] for split in SPLITS}
    meta["frames"] = entries["train"] + entries["val"]
    write_json_atomically(out / TRANSFORMS_FILE, meta)
    return out


def write_capture_with_reference_depth(source: Path, out: Path, reference_depth_folder: str | None = None) -> Path:
    """Writes a transforms.json as if the sensor of another capture had measured the reference depth.

    Args:
        source: the capture's folder, or its transforms.json.
        out: folder of the new transforms.json.
        reference_depth_folder: folder of the capture with reference depth, named as the sensor's; None for the
            `depth_truth_file_path` of its frames.

    Returns:
        The new folder.
    """
    capture = open_capture(source)
    entries = [_entry(capture, frame, out, reference_depth_folder) for frame in capture.frames]
    for entry, frame in zip(entries, capture.frames, strict=True):
        if "depth_truth_file_path" not in entry:
            raise SystemExit(
                f"{source}: {frame.entry['file_path']} has no depth_truth_file_path: "
                "name the folder of the reference depth with --reference-depth-folder."
            )
    moved = {frame.entry["file_path"]: entry["file_path"] for frame, entry in zip(capture.frames, entries, strict=True)}
    meta = _meta_without_points(capture)
    for key in (f"{split}_filenames" for split in SPLITS):
        if key in meta:
            meta[key] = [moved[name] for name in meta[key]]
    meta["frames"] = [{**entry, "depth_file_path": entry["depth_truth_file_path"]} for entry in entries]
    write_json_atomically(out / TRANSFORMS_FILE, meta)
    return out


def _meta_without_points(capture: Capture) -> dict[str, Any]:
    """What transforms.json says, but for its point cloud, which is named relative to another folder."""
    return {key: value for key, value in capture.meta.items() if key != "ply_file_path"}


def _split(capture: Capture) -> tuple[list[CaptureFrame], list[CaptureFrame]]:
    frames = sorted(capture.frames, key=lambda frame: frame.entry["file_path"])
    held_out = [frame for frame in frames if frame.held_out]
    if not held_out:
        chosen = chosen_views(len(frames), max(1, round(HELD_OUT_SHARE * len(frames))))
        held_out = [frames[index] for index in chosen]
    kept = {id(frame) for frame in held_out}
    return [frame for frame in frames if id(frame) not in kept], held_out


def _entry(capture: Capture, frame: CaptureFrame, out: Path, reference_depth_folder: str | None) -> dict[str, Any]:
    entry = dict(frame.entry)
    if reference_depth_folder is not None:
        entry["depth_truth_file_path"] = str(Path(reference_depth_folder) / Path(entry["depth_file_path"]).name)
    for key in ("file_path", "mask_path", "depth_file_path", "depth_truth_file_path"):
        if key in entry:
            entry[key] = os.path.relpath((capture.folder / entry[key]).resolve(), out.resolve())
    return entry
