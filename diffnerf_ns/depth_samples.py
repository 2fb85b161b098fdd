"""Some of the pixels that have depth, as rays and points in the scene, and the box around what they show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from diffnerf_ns.depth_units import ray_length_from_z, scene_from_metres

BOX_QUANTILE = 0.002
"""Share of the points beyond each face of the box that count as outliers."""

BOX_MARGIN = 0.05
"""Margin around the points on each side, as a share of the box's extent."""

BOX_MARGIN_M = 0.1
"""Smallest margin on each side, metres."""


def sampled_pixels(cameras: Cameras, index: int, count: float, depth_z_m: npt.NDArray, *others: npt.NDArray) -> Tensor:
    """A regular sample of about `count` of the pixels of one frame, those with depth.

    [n, 4 + others]: frame, row and column in the camera, depth, and what `others` [height, width] hold there.
    """
    height, width = depth_z_m.shape
    step = max(1, round((height * width / count) ** 0.5))
    grid = np.s_[step // 2 :: step, step // 2 :: step]
    row, column = np.nonzero(depth_z_m[grid])
    camera_row = (row * step + step // 2 + 0.5) * int(cameras.height[index].item()) / height
    camera_column = (column * step + step // 2 + 0.5) * int(cameras.width[index].item()) / width
    values = [image[grid][row, column] for image in (depth_z_m, *others)]
    return torch.from_numpy(np.stack([np.full(len(row), index), camera_row, camera_column, *values], axis=1))


def sampled_rays(cameras: Cameras, pixels: Tensor) -> RayBundle:
    """The cameras' own rays through sampled pixels [n, 3+]: lens distortion counts."""
    return cameras.generate_rays(camera_indices=pixels[:, :1].long(), coords=pixels[:, 1:3].float())


def sampled_points(cameras: Cameras, pixels: Tensor, scene_units_per_metre: float) -> Tensor:
    """Sampled pixels [n, 4+] as points [n, 3], scene units."""
    rays = sampled_rays(cameras, pixels)
    depth_z = scene_from_metres(pixels[:, 3:4].float(), scene_units_per_metre)
    return rays.origins + rays.directions * ray_length_from_z(depth_z, rays.metadata["directions_norm"])


def enclosing_box(points: Tensor, centres: Tensor, scene_units_per_metre: float) -> SceneBox:
    """A box around all but the outermost points [n, 3] and around all of the cameras' centres [m, 3], scene units."""
    rank = round(BOX_QUANTILE * (len(points) - 1))
    ordered = points.sort(dim=0).values
    lowest = torch.minimum(ordered[rank], centres.amin(dim=0))
    highest = torch.maximum(ordered[len(points) - 1 - rank], centres.amax(dim=0))
    margin = (BOX_MARGIN * (highest - lowest)).clamp(min=BOX_MARGIN_M * scene_units_per_metre)
    return SceneBox(aabb=torch.stack([lowest - margin, highest + margin]))
