"""Depth of a picture as small planes, in which it can be compared with other views and with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PATCHES = (30, 40)
"""Rows and columns of the patches that a picture's depth is taken as planes in."""

LEAST_MEASURED = 0.7
"""Share of a patch's pixels that have depth."""

LARGEST_ROUGHNESS = 0.015
"""Deviation from its plane up to which a patch is flat, as a share of the depth."""


@dataclass(frozen=True)
class Patches:
    """Planes of V views, P in each; pixels have their (0, 0) at the first one's corner."""

    centre_px: Tensor
    """Column and row [V, P, 2]."""
    inverse_z: Tensor
    """1 / z at the centre and its slope per column and per row, 1/metres [V, P, 3]."""
    flat: Tensor
    """Which of them are planes [V, P]."""
    normals: Tensor
    """Unit normals in the camera's OpenGL axes [V, P, 3]."""


def patches_of_views(depth_z_m: Sequence[Tensor], intrinsics: Tensor) -> Patches:
    """The planes of views of depth [height, width], metres, 0 where missing, and intrinsics [V, 3, 3]."""
    parts = [_patches_of(depth, matrix) for depth, matrix in zip(depth_z_m, intrinsics, strict=True)]
    return Patches(
        *(torch.stack([getattr(one, name) for one in parts]) for name in ("centre_px", "inverse_z", "flat", "normals"))
    )


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """Column and row [height * width, 2] of pixels' centres."""
    rows, columns = torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


def _patches_of(depth_z_m: Tensor, intrinsics: Tensor) -> Patches:
    """The planes of one view, without its axis: least squares of 1 / z, which is linear over the picture of a plane."""
    height, width = depth_z_m.shape
    rows, columns = torch.nonzero(depth_z_m > 0, as_tuple=True)
    inverse = depth_z_m[rows, columns].double().reciprocal()
    place = rows * PATCHES[0] // height * PATCHES[1] + columns * PATCHES[1] // width
    side = depth_z_m.new_tensor([width / PATCHES[1], height / PATCHES[0]])
    centre = pixel_centres(*PATCHES, side.device) * side
    offset = (torch.stack([columns, rows], dim=-1) + 0.5 - centre[place]).double()
    basis = torch.cat([torch.ones_like(offset[:, :1]), offset], dim=-1)

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(len(centre), *values.shape[1:]).index_add_(0, place, values)

    matrix = summed(basis[:, :, None] * basis[:, None]) + 1e-9 * torch.eye(3, dtype=basis.dtype, device=basis.device)
    plane = torch.linalg.solve(matrix, summed(basis * inverse[:, None]))
    roughness = ((basis * plane[place]).sum(-1) / inverse - 1.0).square()
    count = matrix[:, 0, 0]
    measured = count / side.prod()
    rough = (summed(roughness[:, None])[:, 0] / count.clamp(min=1)).sqrt()
    flat = (measured > LEAST_MEASURED) & (count > 3) & (rough < LARGEST_ROUGHNESS) & (plane[:, 0] > 0.01)
    plane = plane.float()
    focal, principal = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    # 1 = z (c + a u + b v) with u = cx + fx x / z and v = cy - fy y / z
    along_z = plane[:, 0] + ((principal - centre) * plane[:, 1:]).sum(-1)
    slopes = plane[:, 1:] * focal * plane.new_tensor([1.0, -1.0])
    normals = F.normalize(torch.cat([slopes, -along_z[:, None]], dim=-1), dim=-1)
    return Patches(centre, plane, flat, normals)
