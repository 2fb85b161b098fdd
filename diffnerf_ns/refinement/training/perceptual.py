"""How alike two depth images look to VGG16, if torchvision's weights of it are on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

WEIGHTS_FILE = "vgg16-397923af.pth"
LAYERS = 9
"""Layers of VGG16 that are used: up to the second block."""


def load_features(hub_folder: Path | None = None) -> nn.Module | None:
    """The first layers of VGG16; None where its weights are not on disk. Nothing is downloaded.

    Args:
        hub_folder: torch hub's folder; None for the usual one.
    """
    file = Path(hub_folder or torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE
    if not file.is_file():
        return None
    from torchvision.models import vgg16

    features = nn.Sequential(*list(vgg16(weights=None).features.children())[:LAYERS])
    stored = torch.load(file, map_location="cpu", weights_only=True)
    names = features.state_dict()
    features.load_state_dict({name: stored[f"features.{name}"] for name in names})
    return features.eval().requires_grad_(False)


def perceptual_loss(features: nn.Module, predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference of features of log depth [N, H, W]; unknown truth is taken from the prediction."""
    truth = torch.where(weight > 0, truth, predicted)
    low, high = truth.amin((1, 2), keepdim=True), truth.amax((1, 2), keepdim=True)
    pair = torch.stack([predicted, truth.detach()])
    grey = 4.0 * ((pair - low) / (high - low).clamp(min=0.05)).clamp(-0.5, 1.5) - 2.0
    seen, wanted = (features(image[:, None].expand(-1, 3, -1, -1)) for image in grey)
    return (seen - wanted).square().mean()
