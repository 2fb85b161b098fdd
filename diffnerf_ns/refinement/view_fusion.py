"""Fuses posed depth frames into one surface, one by one, and shows it from any camera."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement.tsdf import BlockTsdf
from diffnerf_ns.refinement.tsdf_open3d_cast import Open3dCaster
from diffnerf_ns.refinement.tsdf_torch_cast import cast_with_torch

LARGEST_JUMP = 0.05
"""Relative depth range among a pixel and its neighbours from which on it may lie between two surfaces."""

TRUNCATION_VOXELS = 4.0
"""Smallest truncation of the field, in voxels."""

TRUNCATION_SIGMAS = 3.0
"""Smallest truncation of the field, in the sensor's sigmas at the median depth."""

LEAST_WEIGHT = 0.1
"""Weight (1: one frontal measurement from a metre or less) below which the surface counts as unknown."""

VOXELS_ACROSS = 1000
"""Voxels along the capture's longest side at most, so that memory is bounded."""

SMALLEST_VOXEL_M = 0.004


class ViewFusion:
    """A surface that grows with every frame; frames are not kept."""

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
            engine: what to look at the surface with.
            device: where to compute.
        """
        self.volume = BlockTsdf(voxel_m, truncation_m, device)
        self.engine = engine
        self._caster: Open3dCaster | None = None

    def add(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Fuses one frame.

        Args:
            depth_z_m: z-depth [height, width], metres, 0 where missing.
            intrinsics: [3, 3], pixels; (0, 0) is the first pixel's corner.
            camera_to_world: [4, 4], metres, OpenGL axes.
        """
        self._caster = None
        weight = measurement_weight(depth_z_m)
        self.volume.add(torch.where(weight > 0, depth_z_m, 0), weight, intrinsics, camera_to_world)

    def cast(self, intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int) -> Tensor:
        """z-depth [height, width] of the surface, metres, seen from a camera as in `add`; 0 where none is known."""
        if self.engine == "torch":
            return cast_with_torch(self.volume, intrinsics, camera_to_world, height, width, LEAST_WEIGHT)
        self._caster = self._caster or Open3dCaster(self.volume, LEAST_WEIGHT)
        return self._caster.cast(intrinsics, camera_to_world, height, width)


def measurement_weight(depth_z_m: Tensor) -> Tensor:
    """How much each pixel [height, width] of a depth map (metres) counts: less when far, nothing at depth edges."""
    far = torch.where(depth_z_m > 0, depth_z_m, torch.inf)[None, None]
    nearest = -F.max_pool2d(-far, 3, stride=1, padding=1)[0, 0]
    farthest = F.max_pool2d(depth_z_m[None, None], 3, stride=1, padding=1)[0, 0]
    on_surface = (depth_z_m > 0) & (farthest - nearest < LARGEST_JUMP * depth_z_m)
    return torch.where(on_surface, depth_z_m.clamp_min(1.0).square().reciprocal(), 0)


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
    voxel = max(float(footprint), float(extent) / VOXELS_ACROSS, SMALLEST_VOXEL_M)
    return voxel, max(TRUNCATION_VOXELS * voxel, TRUNCATION_SIGMAS * float(sensor_sigma_z_m(median)))
