"""The frames that a report is about: what the refiner sees, and the depth it is scored against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import TRANSFORMS_FILE
from diffnerf_ns.captures.capture_frames import Capture, CaptureFrame, open_capture
from diffnerf_ns.captures.depth_checks import check_sizes
from diffnerf_ns.captures.depth_files import DEPTH_SUFFIXES, read_depth_z_m
from diffnerf_ns.captures.depth_resampling import resample_depth
from diffnerf_ns.captures.sensor_noise import SensorKind
from diffnerf_ns.evaluation.refinement_report.corruption import corrupted_depth
from diffnerf_ns.refinement.frame_files import StageFrame, lens_maps, refiner_frame
from diffnerf_ns.refinement.interface import RefinerFrame
from diffnerf_ns.refinement.refined_capture import stage_frame

FloatMap = npt.NDArray[np.float32]

SEEDS_PER_REPORT = 1_000_000
"""Distance between the seeds of two reports; frames take the seeds in between."""


@dataclass(frozen=True)
class ReportFrame:
    """One posed frame with known depth."""

    seen: RefinerFrame
    """What the refiner gets."""
    read_truth_z_m: Callable[[], FloatMap]
    """Gives the exact or reference z-depth [height, width], metres, 0 where unknown."""


def open_report_frames(
    data: Path, reference_folder: Path | None, corrupt_with: SensorKind | None, seed: int
) -> list[ReportFrame]:
    """The frames that stage 1 would refine: all but those that a split keeps for evaluation.

    Args:
        data: the capture's folder, or its transforms.json.
        reference_folder: where reference depth lies under the names of the depth files, relative to the capture; None
            for the frames' own `depth_truth_file_path`.
        corrupt_with: the sensor whose measurements of the exact depth take the place of the capture's depth. Without
            any reference, the capture's own depth is then the exact one.
        seed: decides what that sensor does.
    """
    capture = open_capture(data)
    frames = [frame for frame in capture.frames if not frame.held_out]
    truth_files = _truth_files(capture, frames, reference_folder, corrupt_with is not None)
    result = []
    for index, (frame, truth_file) in enumerate(zip(frames, truth_files, strict=True)):
        staged = stage_frame(frame, capture.metres_per_unit)
        seen = replace(refiner_frame(staged), name=frame.entry["file_path"])
        read_truth = partial(_read_truth, truth_file, staged, seen.width, seen.height)
        if corrupt_with is not None:
            frame_seed = seed * SEEDS_PER_REPORT + index
            seen = replace(seen, read_depth_z_m=partial(_read_corrupted, corrupt_with, read_truth, seen, frame_seed))
        result.append(ReportFrame(seen, read_truth))
    _check_one_size(capture, [frame.seen for frame in result])
    return result


def _check_one_size(capture: Capture, frames: Sequence[RefinerFrame]) -> None:
    first = frames[0]
    for frame in frames:
        if (frame.width, frame.height) != (first.width, first.height):
            raise CaptureError(
                capture.folder / TRANSFORMS_FILE,
                f"size of {frame.name}",
                f"{frame.width}x{frame.height}, but {first.name} is {first.width}x{first.height}",
                "A report needs frames of one size: make a capture of each size.",
            )


def _truth_files(
    capture: Capture, frames: Sequence[CaptureFrame], reference_folder: Path | None, depth_is_exact: bool
) -> list[Path]:
    if reference_folder is not None:
        files = [_in_reference_folder(capture.folder / reference_folder, frame) for frame in frames]
    else:
        names = [frame.entry.get("depth_truth_file_path") for frame in frames]
        if depth_is_exact and not any(names):
            return [frame.files.depth_file for frame in frames]
        if not all(names):
            raise CaptureError(
                capture.folder / TRANSFORMS_FILE,
                "frames[].depth_truth_file_path",
                f"{names.count(None)} of {len(names)} frames have no reference depth to be scored against",
                "Give --reference-depth-folder, or --corrupt-with for a capture whose depth is exact.",
            )
        files = [capture.folder / str(name) for name in names]
    for frame, file in zip(frames, files, strict=True):
        check_sizes(replace(frame.files, depth_file=file))
    return files


def _in_reference_folder(folder: Path, frame: CaptureFrame) -> Path:
    if not folder.is_dir():
        raise CaptureError(
            folder,
            "reference depth folder",
            "there is no such folder",
            "Give --reference-depth-folder a folder inside the capture, or an absolute path.",
        )
    stem = frame.files.depth_file.stem
    found = [file for suffix in DEPTH_SUFFIXES if (file := folder / f"{stem}{suffix}").is_file()]
    if not found:
        raise CaptureError(
            folder / frame.files.depth_file.name,
            "reference depth",
            f"there is no such file (the reference of {frame.entry['file_path']})",
            "Name reference files as the depth files, one for each frame.",
        )
    return found[0]


def _read_truth(file: Path, frame: StageFrame, width: int, height: int) -> FloatMap:
    """Depth as refiners see it: at their size, without distortion."""
    truth_z_m = resample_depth(read_depth_z_m(file, frame.metres_per_unit), width, height)
    maps = lens_maps(frame, width, height)
    return truth_z_m if maps is None else maps.pinhole_depth(truth_z_m)


def _read_corrupted(
    kind: SensorKind, read_exact_z_m: Callable[[], FloatMap], seen: RefinerFrame, seed: int
) -> FloatMap:
    return corrupted_depth(kind, read_exact_z_m(), seen.read_image(), seen.intrinsics, seed)
