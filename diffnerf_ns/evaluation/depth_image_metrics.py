"""How alike two depth maps are as pictures: PSNR, SSIM, and whether their edges lie in the same places."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.evaluation.depth_metrics import depth_jumps

DEPTH_RANGE_M = 10.0
"""The peak of PSNR and the range of SSIM, metres: what a room's depth may be."""

LARGEST_PSNR_DB = 100.0
"""What PSNR is where the error is 0 or nearly so, decibels."""

SSIM_WINDOW = 11
"""Width of SSIM's Gaussian window, pixels."""

SSIM_SIGMA = 1.5
"""Standard deviation of that window, pixels."""

EDGE_TOLERANCE = 1
"""Pixels by which an edge may be off and still be found."""


def depth_psnr_db(mse_m2: float) -> float:
    """PSNR for a mean squared error in square metres and a peak of 10 m, decibels, at most 100."""
    if mse_m2 <= 0:
        return LARGEST_PSNR_DB
    return min(10 * math.log10(DEPTH_RANGE_M**2 / mse_m2), LARGEST_PSNR_DB)


def depth_ssim(predicted_m: Tensor, truth_m: Tensor) -> float:
    """Mean SSIM for a range of 10 m, over the pixels where both depths are known; NaN if there are none.

    Unknown pixels have no weight in the windows of their neighbours.

    Args:
        predicted_m: z-depth [height, width], metres, 0 where missing.
        truth_m: exact or reference z-depth [height, width], metres, 0 where unknown.
    """
    known = (predicted_m > 0) & (truth_m > 0)
    predicted, truth = (torch.where(known, depth, 0).double() for depth in (predicted_m, truth_m))
    maps = (known.double(), predicted, truth, predicted**2, truth**2, predicted * truth)
    weight, mean_p, mean_t, square_p, square_t, product = _gaussian_blur(torch.stack(maps))
    mean_p, mean_t, square_p, square_t, product = (
        moment / weight.clamp(min=1e-9) for moment in (mean_p, mean_t, square_p, square_t, product)
    )
    c1, c2 = (0.01 * DEPTH_RANGE_M) ** 2, (0.03 * DEPTH_RANGE_M) ** 2
    variances = (square_p - mean_p**2).clamp(min=0) + (square_t - mean_t**2).clamp(min=0)
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    structure = (2 * (product - mean_p * mean_t) + c2) / (variances + c2)
    return (luminance * structure)[known].mean().item()


def edge_scores(predicted_m: Tensor, truth_m: Tensor) -> dict[str, float]:
    """Precision, recall and F-score of depth edges: an edge counts as found within a pixel of one of the other map.

    Edges are jumps of more than 5 % between adjacent pixels. They are judged where the truth is known all around.
    Empty where neither map has an edge.

    Args:
        predicted_m: z-depth [height, width], metres, 0 where missing.
        truth_m: exact or reference z-depth [height, width], metres, 0 where unknown.
    """
    judged = ~_dilated(truth_m <= 0)
    predicted, truth = depth_jumps(predicted_m), depth_jumps(truth_m)
    near_truth, near_predicted = _dilated(truth), _dilated(predicted)
    predicted, truth = predicted & judged, truth & judged
    if not (predicted.any() or truth.any()):
        return {}
    precision = _share(near_truth, predicted)
    recall = _share(near_predicted, truth)
    total = precision + recall
    return {
        "edge_precision": precision,
        "edge_recall": recall,
        "edge_f_score": 2 * precision * recall / total if total else 0.0,
    }


def _share(found: Tensor, edges: Tensor) -> float:
    return found[edges].double().mean().item() if edges.any() else 0.0


def _dilated(mask: Tensor) -> Tensor:
    size = 2 * EDGE_TOLERANCE + 1
    return F.max_pool2d(mask[None, None].float(), size, stride=1, padding=EDGE_TOLERANCE)[0, 0] > 0


def _gaussian_blur(images: Tensor) -> Tensor:
    """Images [n, height, width] blurred with SSIM's window; nothing lies beyond the border."""
    offsets = torch.arange(SSIM_WINDOW, dtype=images.dtype) - SSIM_WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).to(images.device)
    along_rows = F.conv2d(images[:, None], kernel.view(1, 1, 1, -1), padding=(0, SSIM_WINDOW // 2))
    return F.conv2d(along_rows, kernel.view(1, 1, -1, 1), padding=(SSIM_WINDOW // 2, 0))[:, 0]
