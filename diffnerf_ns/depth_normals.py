"""Surface normals from depth on the image grid."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 5
"""Side of the square of pixels that a normal is fitted to."""

LARGEST_BEND = 0.03
"""Second difference of inverse depth across the window, as a share of it, beyond which there is no one surface in it.
Inverse depth is affine in pixel coordinates on a plane, however slanted."""


def normals_from_depth(depth_z: Tensor, origins: Tensor, rays_per_z: Tensor) -> Tensor:
    """Unit normals [H, W, 3] that face the camera, in the frame of the rays; 0 where they are unknown.

    They are unknown where a pixel of the window has no depth, and across depth steps.

    Args:
        depth_z: [H, W] z-depth, 0 where missing.
        origins: [H, W, 3] where the rays start, unit of the depth.
        rays_per_z: [H, W, 3] ray directions, as long as one unit of z-depth makes them.
    """
    points = origins + rays_per_z * depth_z[..., None]
    offsets = torch.arange(WINDOW, dtype=depth_z.dtype) - WINDOW // 2
    along = offsets.expand(WINDOW, WINDOW)
    right = _correlate(points, along)
    down = _correlate(points, along.T)
    normals = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    facing = torch.where((normals * rays_per_z).sum(dim=-1, keepdim=True) > 0, -normals, normals)
    return torch.where(_one_surface(depth_z)[..., None], facing, 0.0)


def _correlate(points: Tensor, kernel: Tensor) -> Tensor:
    """Each coordinate [H, W, 3] correlated with a kernel; 0 outside the image."""
    planes = points.permute(2, 0, 1)[:, None]
    return torch.nn.functional.conv2d(planes, kernel[None, None], padding=WINDOW // 2)[:, 0].permute(1, 2, 0)


def _one_surface(depth_z: Tensor) -> Tensor:
    """Pixels [H, W] whose window lies within the image, has depth everywhere, and neither step nor crease in it."""
    height, width = depth_z.shape
    reach = WINDOW // 2
    padded = torch.nn.functional.pad(depth_z, [reach] * 4)
    hole_near = torch.nn.functional.max_pool2d((padded <= 0)[None].to(depth_z), WINDOW, stride=1)[0] > 0
    inverse = 1.0 / padded.clamp(min=1e-6)

    def shifted(down: int, right: int) -> Tensor:
        return inverse[reach + down :, reach + right :][:height, :width]

    bend = torch.zeros_like(depth_z)
    for down, right in ((0, reach), (reach, 0), (reach, reach), (reach, -reach)):
        across = shifted(down, right) + shifted(-down, -right) - 2.0 * shifted(0, 0)
        bend = torch.maximum(bend, across.abs() * depth_z)
    return ~hole_near & (bend < LARGEST_BEND)
