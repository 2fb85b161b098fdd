"""How well a capture's views tell each one's depth: errors of the sensor's depth and of the surface fused from all.

    python -m scripts.measure_multiview CAPTURE --reference-depth-folder depth_ref
    python -m scripts.measure_multiview CAPTURE_WITH_EXACT_DEPTH --sensor redwood

Depth that is missing is taken from the nearest pixel that has some. Frames kept for evaluation are left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffnerf_ns.captures.capture_frames import Capture, open_capture
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.captures.image_files import read_image
from diffnerf_ns.captures.sensor_noise import simulate_sensor
from diffnerf_ns.evaluation.depth_metrics import depth_errors_by_region
from diffnerf_ns.refinement.tsdf import pixel_rays
from diffnerf_ns.refinement.view_evidence import evidence_from_views

REGIONS = ("all", "observed", "hole", "edge")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.measure_multiview", description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--reference-depth-folder", help="folder of the capture with depth to score against")
    parser.add_argument(
        "--sensor", help="corrupt the capture's exact depth with this sensor model, and score against it"
    )
    parser.add_argument("--engine", choices=("auto", "open3d", "torch"), default="auto")
    options = parser.parse_args()
    if (options.sensor is None) == (options.reference_depth_folder is None):
        parser.error("give either --reference-depth-folder or --sensor")
    capture = open_capture(options.capture)
    frames = [frame for frame in capture.frames if not frame.held_out]
    depth = read_depths(capture, [frame.files.depth_file for frame in frames])
    intrinsics = torch.from_numpy(np.stack([frame.intrinsics for frame in frames])).float()
    poses = torch.from_numpy(np.stack([frame.camera_to_world for frame in frames])).float()
    if options.sensor:
        truth = depth
        images = np.stack([read_image(f.files.image_file, depth.shape[2], depth.shape[1]) for f in frames])
        depth = corrupted(options.sensor, truth, torch.from_numpy(images), intrinsics[0])
    else:
        folder = capture.folder / options.reference_depth_folder
        truth = read_depths(capture, [folder / frame.files.depth_file.name for frame in frames])
    started = time.monotonic()
    found = evidence_from_views(depth, intrinsics, poses, options.engine)
    seconds = time.monotonic() - started
    print("| MAE m, mean over images | " + " | ".join(REGIONS) + " |")
    print("| --- " * (len(REGIONS) + 1) + "|")
    for name, predicted in (("sensor", depth), ("fused from all views", found.fused_z_m)):
        print(f"| {name} | " + " | ".join(f"{error:.4f}" for error in mean_errors(predicted, truth, depth)) + " |")
    unknown = float((found.fused_z_m == 0).float().mean())
    print(f"{len(depth)} views in {seconds:.1f} s; no surface known at {unknown:.1%} of the pixels")


def read_depths(capture: Capture, files: list[Path]) -> Tensor:
    return torch.from_numpy(np.stack([read_depth_z_m(file, capture.metres_per_unit) for file in files]))


def corrupted(sensor: str, truth: Tensor, images: Tensor, intrinsics: Tensor) -> Tensor:
    """What a sensor makes of exact depth; colour stands for reflectance, and nothing mirrors."""
    linear = (images.float() / 255) ** 2.2
    height, width = truth.shape[1:]
    points = pixel_rays(height, width, intrinsics) * truth[..., None]
    along, down = torch.gradient(points, dim=(2, 1))
    normals = torch.nn.functional.normalize(torch.cross(along, down, dim=-1), dim=-1)
    cosine = (normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1).abs()
    generator = torch.Generator().manual_seed(0)
    focal_px = float(intrinsics[0, 0])
    return simulate_sensor(sensor, truth, focal_px, linear, cosine, torch.zeros_like(truth), generator)  # pyright: ignore[reportArgumentType]


def mean_errors(predicted: Tensor, truth: Tensor, sensor: Tensor) -> list[float]:
    by_region: dict[str, list[float]] = {region: [] for region in REGIONS}
    for depth, exact, measured in zip(predicted, truth, sensor, strict=True):
        filled = torch.from_numpy(filled_from_nearest(depth.numpy()))
        for region, errors in depth_errors_by_region(filled, exact, measured).items():
            if errors.count:
                by_region[region].append(errors.mae_m)
    return [float(np.mean(values)) if values else float("nan") for values in by_region.values()]


def filled_from_nearest(depth_z_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    missing = (depth_z_m <= 0).astype(np.uint8)
    if missing.all() or not missing.any():
        return depth_z_m
    _, labels = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = labels.astype(np.intp)
    of_label = np.zeros(int(labels.max()) + 1, np.float32)
    of_label[labels[missing == 0]] = depth_z_m[missing == 0]
    return of_label[labels]


if __name__ == "__main__":
    main()
