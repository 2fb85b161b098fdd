"""What an evaluation view is measured by, and the pictures that go with it. Needs no network."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from nerfstudio.utils import colormaps
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from diffnerf_ns.evaluation.depth_metrics import depth_errors_by_region

LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"


@functools.lru_cache(maxsize=1)
def _lpips() -> nn.Module | None:
    """LPIPS with AlexNet where torchvision's weights are on disk; otherwise says once that it is left out."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_WEIGHTS
    if not weights.is_file():
        CONSOLE.print(f"[yellow]LPIPS is not reported: {weights} is missing (torchvision's AlexNet weights)")
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)


def colour_scores(rgb: Tensor, photo: Tensor) -> dict[str, float]:
    """PSNR and SSIM of images [H, W, 3], 0..1."""
    # here, because importing it takes a second that training need not wait for
    from torchmetrics.functional import structural_similarity_index_measure

    mse = torch.mean((rgb - photo) ** 2).clamp(min=1e-10)
    ssim = structural_similarity_index_measure(_batch_of_one(rgb), _batch_of_one(photo), data_range=1.0)
    assert isinstance(ssim, Tensor)
    return {"psnr": float(-10.0 * torch.log10(mse)), "ssim": float(ssim)}


def _batch_of_one(image: Tensor) -> Tensor:
    """An image [H, W, C] as [1, C, H, W]."""
    return image.movedim(-1, 0)[None]


class ImageMetrics:
    """PSNR, SSIM and LPIPS of colour; errors of depth in metres, by region.

    Depth is compared as z-depth: with the exact or reference depth where the capture has one, otherwise with the
    sensor's. Regions (observed, hole, edge) need both.

    Args:
        scene_units_per_metre: the dataparser's scale.
    """

    def __init__(self, scene_units_per_metre: float) -> None:
        self.scene_units_per_metre = scene_units_per_metre

    def __call__(
        self, outputs: dict[str, Tensor], truth_rgb: Tensor, batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics and pictures of a rendered view [H, W, ...]."""
        rgb = outputs["rgb"].clamp(0.0, 1.0)
        metrics = colour_scores(rgb, truth_rgb)
        lpips = _lpips()
        if lpips is not None:
            metrics["lpips"] = float(lpips.to(rgb.device)(_batch_of_one(rgb), _batch_of_one(truth_rgb)))
        images = {
            "img": torch.cat([truth_rgb, rgb], dim=1),
            "accumulation": colormaps.apply_colormap(outputs["accumulation"]),
            "normals": outputs["normals"],
        }
        depth_z = outputs["depth"] / outputs["directions_norm"]
        if "depth_image" in batch:
            metrics.update(self._depth_metrics(depth_z, batch))
        images["depth"] = self._depth_picture(depth_z, batch)
        return metrics, images

    def _depth_metrics(self, depth_z: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        predicted = depth_z[..., 0].cpu() / self.scene_units_per_metre
        sensor = batch["depth_image"][..., 0].cpu() / self.scene_units_per_metre
        truth = batch["depth_truth"][..., 0].cpu() / self.scene_units_per_metre if "depth_truth" in batch else sensor
        by_region = depth_errors_by_region(predicted, truth, sensor)
        metrics = by_region["all"].as_dict("depth_")
        for region in ("observed", "hole", "edge") if "depth_truth" in batch else ("edge",):
            if by_region[region].count:
                metrics[f"depth_{region}_mae_m"] = by_region[region].mae_m
        return metrics

    def _depth_picture(self, depth_z: Tensor, batch: dict[str, Any]) -> Tensor:
        """Known depths and rendered depth side by side, on one colour scale."""
        panels = [batch[key].to(depth_z.device) for key in ("depth_truth", "depth_image") if key in batch]
        known = panels[0][panels[0] > 0] if panels else depth_z
        low, high = (float(known.min()), float(known.max())) if known.numel() else (0.0, float(depth_z.max()))
        return torch.cat(
            [colormaps.apply_depth_colormap(panel, near_plane=low, far_plane=high) for panel in [*panels, depth_z]],
            dim=1,
        )
