"""How well a capture's views tell each one's depth: errors of what the sensor measured, of that without its bias, of
that without what other views look through, and of the surface fused from all.

    python -m scripts.measure_multiview CAPTURE --reference-depth-folder depth_ref
    python -m scripts.measure_multiview CAPTURE_WITH_EXACT_DEPTH --corrupt-with redwood

Depth that is missing is taken from the nearest pixel that has some. Frames kept for evaluation are left out; frames and
noise are those of `diffnerf refine-report`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.sensor_noise import SensorKind
from diffnerf_ns.evaluation.depth_baselines import fill_with_nearest
from diffnerf_ns.evaluation.refinement_report.frames import open_report_frames
from diffnerf_ns.evaluation.refinement_report.scoring import mean_over_images, score_depth
from diffnerf_ns.refinement.depth_bias import without_bias
from diffnerf_ns.refinement.view_evidence import evidence_from_views
from diffnerf_ns.refinement.view_votes import without_contradicted

WRONG_M = 0.05
"""Error from which on a measurement is no measurement of the surface that is there, metres."""

REGIONS = ("all", "observed", "hole", "edge")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.measure_multiview", description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--reference-depth-folder", type=Path, help="folder of the capture with depth to score against")
    parser.add_argument(
        "--corrupt-with",
        choices=get_args(SensorKind),
        help="score what this sensor makes of exact depth",
    )
    parser.add_argument("--engine", choices=("auto", "open3d", "torch"), default="auto")
    options = parser.parse_args()
    try:
        frames = open_report_frames(options.capture, options.reference_depth_folder, options.corrupt_with, seed=0)
    except CaptureError as error:
        sys.exit(f"Error: {error}")
    depth, truth = (
        torch.from_numpy(np.stack(maps))
        for maps in zip(*((frame.seen.read_depth_z_m(), frame.read_truth_z_m()) for frame in frames), strict=True)
    )
    intrinsics, poses = (
        torch.from_numpy(np.stack([getattr(frame.seen, name) for frame in frames])).float()
        for name in ("intrinsics", "camera_to_world")
    )
    started = time.monotonic()
    unbiased = torch.stack(without_bias(depth, intrinsics, poses))
    kept = torch.stack(without_contradicted(unbiased, intrinsics, poses))
    found = evidence_from_views(kept, intrinsics, poses, options.engine)
    seconds = time.monotonic() - started
    print("| MAE m, mean over images | " + " | ".join(REGIONS) + " |")
    print("| --- " * (len(REGIONS) + 1) + "|")
    rows = {
        "sensor": depth,
        "without its bias": unbiased,
        "without what other views look through": kept,
        "fused from all views": found.fused_z_m,
    }
    for name, predicted in rows.items():
        print(f"| {name} | " + " | ".join(f"{error:.4f}" for error in mean_errors(predicted, truth, depth)) + " |")
    unknown = float((found.fused_z_m == 0).float().mean())
    contradicted = (kept == 0) & (depth > 0)
    wrong_by = (unbiased - truth).abs()[contradicted & (truth > 0)]
    print(f"{len(depth)} views in {seconds:.1f} s; no surface known at {unknown:.1%} of the pixels")
    print(
        f"other views look through {float(contradicted.sum() / (depth > 0).sum()):.2%} of what was measured: "
        f"{float((wrong_by > WRONG_M).float().mean()):.0%} of that is off by more than {WRONG_M} m"
    )


def mean_errors(predicted: Tensor, truth: Tensor, sensor: Tensor) -> list[float]:
    images = zip(predicted.numpy(), truth.numpy(), sensor.numpy(), strict=True)
    means = mean_over_images([score_depth(fill_with_nearest(depth), exact, seen) for depth, exact, seen in images])
    return [means[region]["mae_m"] if region in means else float("nan") for region in REGIONS]


if __name__ == "__main__":
    main()
