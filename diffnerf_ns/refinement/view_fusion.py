"""Fuses posed depth frames into one surface, one by one, and shows it from any camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement.tsdf import BlockTsdf
from diffnerf_ns.refinement.tsdf_open3d import Open3dTsdf
from diffnerf_ns.refinement.tsdf_torch_cast import cast_with_torch

VOXEL_PIXELS = 0.8
"""Edge of a voxel in pixels' footprints at the median depth."""

TRUNCATION_VOXELS = 4.0
"""Smallest truncation of the field, in voxels."""

TRUNCATION_SIGMAS = 2.5
"""Smallest truncation of the field, in the sensor's sigmas at the median depth."""

LEAST_WEIGHT = 0.9
"""Measurements of a voxel below which it counts as unknown; below 1, so that one is enough."""

VOXELS_ACROSS = 1000
"""Voxels along the capture's longest side at most, so that memory is bounded."""

SMALLEST_VOXEL_M = 0.004


class ViewFusion:
    """A surface that grows with every frame; frames are not kept.

    A frame carves what it looks through out of the surface as known so far. To let every frame carve what any other
    measured, `reserve` all frames before the first is added, or `add_all` at once.
    """

    def __init__(
        self,
        voxel_m: float,
        truncation_m: float,
        engine: Literal["open3d", "torch"] = "open3d",
        device: torch.device | str = "cpu",
    ) -> None:
        """Starts empty.

        Args:
            voxel_m: resolution of the surface, metres; see `fusion_scale`.
            truncation_m: how far from a measurement the surface may be, metres.
            engine: what to compute with; "open3d" needs Open3D and a CPU.
            device: where to compute with "torch".
        """
        if engine == "open3d":
            self._volume = Open3dTsdf(voxel_m, truncation_m)
        else:
            self._volume = BlockTsdf(voxel_m, truncation_m, device)

    def reserve(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Announces a frame that will be added; arguments as in `add`."""
        self._volume.reserve(depth_z_m, intrinsics, camera_to_world)

    def add(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Fuses one frame.

        Args:
            depth_z_m: z-depth [height, width], metres, 0 where missing.
            intrinsics: [3, 3], pixels; (0, 0) is the first pixel's corner.
            camera_to_world: [4, 4], metres, OpenGL axes.
        """
        self._volume.add(depth_z_m, intrinsics, camera_to_world)

    def add_all(self, depth_z_m: Sequence[Tensor] | Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Fuses frames that carve from each other; arguments as in `add`, one for each frame."""
        frames = list(zip(depth_z_m, intrinsics, camera_to_world, strict=True))
        for frame in frames:
            self.reserve(*frame)
        for frame in frames:
            self.add(*frame)

    def cast(self, intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int) -> Tensor:
        """z-depth [cameras, height, width] of the surface, metres, seen from cameras; 0 where none is known.

        Args:
            intrinsics: [cameras, 3, 3], as in `add`.
            camera_to_world: [cameras, 4, 4], as in `add`.
            height: rows.
            width: columns.
        """
        if isinstance(self._volume, BlockTsdf):
            return cast_with_torch(self._volume, intrinsics, camera_to_world, height, width, LEAST_WEIGHT)
        cameras = zip(intrinsics, camera_to_world, strict=True)
        return torch.stack([self._volume.cast(*camera, height, width, LEAST_WEIGHT) for camera in cameras])


def fusion_scale(depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> tuple[float, float]:
    """Voxel and truncation, metres, for a capture, from some or all of its frames.

    Args:
        depth_z_m: [views, height, width], metres, 0 where missing.
        intrinsics: [views, 3, 3], pixels.
        camera_to_world: [views, 4, 4], metres.
    """
    measured = depth_z_m[depth_z_m > 0]
    median = measured.median() if len(measured) else depth_z_m.new_tensor(1.0)
    eyes = camera_to_world[:, :3, 3]
    extent = (eyes.amax(0) - eyes.amin(0)).max() + 4 * median
    footprint = median / intrinsics[:, 0, 0].median()
    voxel = max(VOXEL_PIXELS * float(footprint), float(extent) / VOXELS_ACROSS, SMALLEST_VOXEL_M)
    return voxel, max(TRUNCATION_VOXELS * voxel, TRUNCATION_SIGMAS * float(sensor_sigma_z_m(median)))
