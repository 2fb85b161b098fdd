"""Views of captures on disk that have exact or reference depth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_frames import Capture, CaptureFrame, open_capture
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.captures.image_files import read_image
from diffnerf_ns.depth_normals import normals_from_depth
from diffnerf_ns.refinement.training.data_settings import SensorMixture
from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.room_clips import CleanClip
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator
from diffnerf_ns.refinement.training.sensed_clips import sense_clip, with_evidence

WIDEST_PX = 320
"""Wider images are made smaller."""


class CaptureSource:
    """Consecutive training frames of one capture: its own sensor depth, or its reference depth with simulated noise."""

    def __init__(
        self,
        folder: Path,
        depth: Literal["sensor", "renoised"],
        sensors: SensorMixture,
        views: int,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.capture: Capture = open_capture(Path(folder))
        self.depth, self.sensors, self.seed, self.device = depth, sensors, seed, device
        self.frames = [
            frame for frame in self.capture.frames if not frame.held_out and "depth_truth_file_path" in frame.entry
        ]
        if not self.frames:
            raise CaptureError(
                self.capture.folder / "transforms.json",
                "depth_truth_file_path",
                "no training frame has exact or reference depth",
                "Train on captures whose frames name it.",
            )
        self.view_count = min(views, len(self.frames))

    def views(self, number: int) -> PosedViews:
        draw = numpy_generator(Stream.CHOICE, self.seed, number, 2)
        start = int(draw.integers(len(self.frames) - self.view_count + 1))
        frames = self.frames[start : start + self.view_count]
        height, width = self._size(frames[0])
        image = np.stack([read_image(frame.files.image_file, width, height) for frame in frames])
        image = torch.from_numpy(image).to(self.device)
        truth = self._depths([self.capture.folder / frame.entry["depth_truth_file_path"] for frame in frames])
        intrinsics = torch.from_numpy(np.stack([self._intrinsics(frame) for frame in frames])).float().to(self.device)
        poses = torch.from_numpy(np.stack([frame.camera_to_world for frame in frames])).float().to(self.device)
        if self.depth == "renoised":
            return sense_clip(_clean_clip(image, truth, intrinsics[0], poses), self.sensors, self.seed, number)
        sensor = self._depths([frame.files.depth_file for frame in frames])
        weight = (truth > 0).float()
        return with_evidence(image.permute(0, 3, 1, 2) / 255.0, sensor, truth, weight, intrinsics, poses, poses)

    def _size(self, frame: CaptureFrame) -> tuple[int, int]:
        factor = min(1.0, WIDEST_PX / frame.files.width)
        return round(factor * frame.files.height), round(factor * frame.files.width)

    def _intrinsics(self, frame: CaptureFrame) -> np.ndarray:
        height, width = self._size(frame)
        return np.diag([width / frame.files.width, height / frame.files.height, 1.0]) @ frame.intrinsics

    def _depths(self, files: list[Path]) -> Tensor:
        size = self._size(self.frames[0])
        maps = [torch.from_numpy(read_depth_z_m(file, self.capture.metres_per_unit)) for file in files]
        return torch.cat([F.interpolate(found[None, None], size, mode="nearest-exact")[0] for found in maps]).to(
            self.device
        )


def _clean_clip(image: Tensor, truth_z_m: Tensor, intrinsics: Tensor, poses: Tensor) -> CleanClip:
    """What noise models ask for, as far as depth and colour tell: colour stands for albedo, nothing mirrors."""
    cosine = torch.stack([_view_cosine(depth, intrinsics) for depth in truth_z_m])
    albedo = (255.0 * (image / 255.0) ** 2.2).round().to(torch.uint8)
    return CleanClip(image, truth_z_m, albedo, cosine, torch.zeros_like(cosine), intrinsics, poses)


def _view_cosine(depth_z_m: Tensor, intrinsics: Tensor) -> Tensor:
    """Cosine between surface and viewing direction [H, W] in 8 bit; 0.7 where the surface is not known."""
    height, width = depth_z_m.shape
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([column, row, torch.ones_like(row)], dim=-1).to(depth_z_m)
    rays = pixels @ torch.linalg.inv(intrinsics).T
    normals = normals_from_depth(depth_z_m, torch.zeros_like(rays), rays)
    cosine = -(normals * F.normalize(rays, dim=-1)).sum(-1)
    known = normals.abs().sum(-1) > 0
    return (255.0 * torch.where(known, cosine, 0.7).clamp(0, 1)).round().to(torch.uint8)
