"""Losses on the shape of surfaces: smooth where the picture is, and turned as the known depth says.

Every loss is a mean over what is valid, and a differentiable 0 where nothing is.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST_SIDE = 3
"""Pixels of a patch's side below which it has no second differences."""

_EDGE_SHARPNESS = 10.0
"""A colour difference of 0.1 between neighbouring pixels lowers the penalty there to 1/e."""

_FLATTEST_LOG_DENSITY = 1e-2
"""Difference of log-density below which a field has no direction that a normal could be read from."""


def edge_aware_smoothness_loss(depth_z: Tensor, image: Tensor, valid_mask: Tensor) -> Tensor:
    """Second differences of inverse depth over patches, less where the picture has an edge.

    Inverse depth is affine in pixel coordinates on every plane, so planes cost nothing, however slanted. It is divided
    by its mean over the patch, so the scene's scale does not matter.

    Args:
        depth_z: [P, s, s] rendered z-depth of P square patches, positive.
        image: [P, s, s, 3] their colours in [0, 1].
        valid_mask: [P, s, s] pixels with a depth; a difference counts where all its three pixels are valid.
    """
    inverse = torch.where(valid_mask, 1.0 / depth_z.clamp(min=1e-6), 0.0)
    count = valid_mask.sum(dim=(1, 2), keepdim=True)
    mean = inverse.sum(dim=(1, 2), keepdim=True) / count.clamp(min=1)
    relative = inverse / mean.clamp(min=1e-6)
    total, valid_count = relative.sum() * 0.0, 0
    for _ in range(2):
        bend = (relative[:, 2:] - 2.0 * relative[:, 1:-1] + relative[:, :-2]).abs()
        step = (image[:, 1:] - image[:, :-1]).abs().mean(dim=-1)
        calm = torch.exp(-_EDGE_SHARPNESS * torch.maximum(step[:, 1:], step[:, :-1]))
        valid = valid_mask[:, 2:] & valid_mask[:, 1:-1] & valid_mask[:, :-2]
        total = total + torch.where(valid, bend * calm, 0.0).sum()
        valid_count = valid_count + valid.sum()
        relative, image, valid_mask = relative.mT, image.transpose(1, 2), valid_mask.mT
    return total / torch.clamp(torch.as_tensor(valid_count), min=1)


def normals_of_density(log_density: Tensor) -> Tensor:
    """Normals [N, 3] against the density's gradient, from the log-density around N points.

    Where density hardly changes, the result is shorter than one.

    Args:
        log_density: [N, 6] at equal steps from a point along +x, +y, +z, -x, -y, -z.
    """
    gradient = log_density[:, :3] - log_density[:, 3:]
    return -gradient / (gradient.square().sum(dim=-1, keepdim=True) + _FLATTEST_LOG_DENSITY**2).sqrt()


def normal_loss(normals: Tensor, known_normals: Tensor) -> Tensor:
    """One minus the cosine between the field's normals and the known ones.

    Args:
        normals: [N, 3] of the field, at most one long.
        known_normals: [N, 3] unit vectors in the same frame; 0 where unknown.
    """
    known = known_normals.square().sum(dim=-1) > 0.25
    cosine = (normals * known_normals).sum(dim=-1)
    return torch.where(known, 1.0 - cosine, 0.0).sum() / known.sum().clamp(min=1)
