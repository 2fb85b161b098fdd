"""Losses of the refiner: means over what counts, and a differentiable 0 where nothing does.

Depth codes and logarithms are [N, H, W]; `weight` is how far each pixel counts, 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

OCCLUSION = 0.02
"""Relative depth difference above which a point that one view sees is hidden in the other."""


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of the values that count; 0 with a gradient of 0 where none does."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def snr_weight(alphas_cumprod: Tensor, gamma: float = 5.0) -> Tensor:
    """How much the squared error of v counts at a noise level.

    Min-SNR (Hang et al., 2023) weighs the squared error of the clean image by min(SNR, gamma). It is held at 1 or more,
    as in Salimans and Ho, 2022: the last step has an SNR of 0, and sampling in few steps depends on it most.

    Args:
        alphas_cumprod: share of the signal's power at the noise level, 0..1.
        gamma: largest weight.
    """
    snr = alphas_cumprod / (1.0 - alphas_cumprod).clamp(min=1e-8)
    return snr.clamp(1.0, gamma) / (snr + 1.0)


def v_loss(predicted: Tensor, target: Tensor, weight: Tensor, level_weight: Tensor) -> Tensor:
    """Squared error of v, weighted by pixel and by noise level ([N])."""
    return weighted_mean((predicted - target).square() * level_weight[:, None, None], weight)


def sobel(values: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes [N, H - 2, W - 2] of images [N, H, W] per pixel, to the right and down."""
    smooth = values.new_tensor([0.25, 0.5, 0.25])
    slope = values.new_tensor([-0.5, 0.0, 0.5])
    across = F.conv2d(values[:, None], (smooth[:, None] * slope[None, :])[None, None])[:, 0]
    down = F.conv2d(values[:, None], (slope[:, None] * smooth[None, :])[None, None])[:, 0]
    return across, down


def edge_loss(predicted: Tensor, truth: Tensor, weight: Tensor, scales: Sequence[int] = (1, 2, 4)) -> Tensor:
    """Mean absolute difference of slopes, at several scales.

    Args:
        predicted: logarithm of the predicted depth.
        truth: logarithm of the true depth; any value where `weight` is 0.
        weight: how far each pixel counts; a slope counts as far as the least of the pixels it is made of.
        scales: side of the blocks that are averaged before slopes are taken, pixels.
    """
    difference = torch.where(weight > 0, predicted - truth, 0.0)
    total = predicted.new_zeros(())
    for scale in scales:
        coarse = F.avg_pool2d(difference[:, None], scale)[:, 0]
        least = -F.max_pool2d(-weight[:, None], scale)
        least = -F.max_pool2d(-least, 3, stride=1)[:, 0]
        across, down = sobel(coarse)
        total = total + weighted_mean(across.abs() + down.abs(), least)
    return total / len(scales)


def consistency_loss(predicted_z_m: Tensor, truth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> Tensor:
    """Mean absolute difference of log depth between each even sample, seen from the odd one after it, and that one.

    Only points count that both truths know and that neither hides from the other.

    Args:
        predicted_z_m: predicted z-depth [N, H, W], metres, N even.
        truth_z_m: true z-depth [N, H, W], metres, 0 where unknown.
        intrinsics: [N, 3, 3], pixels.
        camera_to_world: [N, 4, 4], metres, OpenGL axes.
    """
    here, there = slice(0, None, 2), slice(1, None, 2)
    cameras = (intrinsics[here], camera_to_world[here], intrinsics[there], camera_to_world[there])
    true_z, true_grid = _seen_from(truth_z_m[here], *cameras)
    z, _ = _seen_from(predicted_z_m[here], *cameras)
    true_there = _look_up(truth_z_m[there], true_grid, "nearest")
    inside = (true_grid.abs() < 1).all(-1) & (truth_z_m[here] > 0) & (true_there > 0) & (z > 0.05) & (true_z > 0.05)
    visible = inside & ((true_z / true_there.clamp(min=1e-3) - 1.0).abs() < OCCLUSION)
    predicted_there = _look_up(predicted_z_m[there], true_grid, "bilinear")
    difference = torch.log(z.clamp(min=0.05)) - torch.log(predicted_there.clamp(min=0.05))
    return weighted_mean(difference.abs(), visible.to(z.dtype))


def _seen_from(
    depth_z_m: Tensor, intrinsics: Tensor, pose: Tensor, other_intrinsics: Tensor, other_pose: Tensor
) -> tuple[Tensor, Tensor]:
    """Depth of points in the other camera [N, H, W], and where it sees them, -1..1 [N, H, W, 2]."""
    height, width = depth_z_m.shape[1:]
    row, column = torch.meshgrid(
        torch.arange(height, device=depth_z_m.device) + 0.5,
        torch.arange(width, device=depth_z_m.device) + 0.5,
        indexing="ij",
    )
    pixels = torch.stack([column, row, torch.ones_like(row)], dim=-1).to(depth_z_m.dtype)
    axes = depth_z_m.new_tensor([1.0, -1.0, -1.0])
    rays = torch.einsum("nij,hwj->nhwi", torch.linalg.inv(intrinsics), pixels) * axes
    points = rays * depth_z_m[..., None]
    relative = torch.linalg.inv(other_pose) @ pose
    points = torch.einsum("nij,nhwj->nhwi", relative[:, :3, :3], points) + relative[:, None, None, :3, 3]
    points = points * axes
    z = points[..., 2]
    projected = torch.einsum("nij,nhwj->nhwi", other_intrinsics, points)[..., :2] / z.clamp(min=1e-3)[..., None]
    return z, 2.0 * projected / projected.new_tensor([width, height]) - 1.0


def _look_up(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(image[:, None], grid, mode=mode, padding_mode="border", align_corners=False)[:, 0]
