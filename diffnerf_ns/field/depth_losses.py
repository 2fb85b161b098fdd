"""Losses that tie a ray's termination to a depth that is known to +- sigma.

Every loss is a mean over the rays that have a depth, and a differentiable 0 where none has. Ray lengths, depths and
sigmas share one unit (scene units along the ray). A depth of 0 is missing; sigma is a standard deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor

OUTLIER_SHARE = 1e-2
"""Likelihood of a depth that is plainly wrong: where colour contradicts it by far, the pull of a depth fades."""


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [N, 1] where mask [N, 1]; 0 with a gradient where the mask is empty."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def _disagrees(weights: Tensor, deviation: Tensor) -> Tensor:
    """Rays [N, 1] that end more than one sigma from their depth, or spread over more than one sigma.

    Light that passes through everything counts as ending at the last sample.
    """
    leftover = (1.0 - weights.sum(dim=-1, keepdim=True)).clamp(min=0.0)
    mean = (weights * deviation).sum(dim=-1, keepdim=True) + leftover * deviation[:, -1:]
    second_moment = (weights * deviation**2).sum(dim=-1, keepdim=True) + leftover * deviation[:, -1:] ** 2
    return (mean.abs() > 1.0) | (second_moment - mean**2 > 1.0)


def gated_likelihood_loss(weights: Tensor, ray_lengths: Tensor, depth_ray: Tensor, sigma_ray: Tensor) -> Tensor:
    """Negative log-likelihood of the depth under the ray's termination, on rays that do not yet agree with it.

    The likelihood is that of DS-NeRF (Deng et al. 2022) with two sigmas, whose gradient stays finite where a ray has no
    matter at its depth yet. The gate is that of Dense Depth Priors (Roessle et al. 2022): a ray that ends within one
    sigma and spreads less than one sigma is left to colour.

    Args:
        weights: [N, S] termination probability of each sample.
        ray_lengths: [N, S] where the samples are.
        depth_ray: [N, 1] known depth along the ray.
        sigma_ray: [N, 1] its standard deviation.
    """
    deviation = (ray_lengths - depth_ray) / sigma_ray.clamp(min=1e-6)
    likelihood = (weights * torch.exp(-0.125 * deviation**2)).sum(dim=-1, keepdim=True)
    return _mean_where(-torch.log(likelihood + OUTLIER_SHARE), (depth_ray > 0) & _disagrees(weights, deviation))


def l1_loss(expected_ray: Tensor, depth_ray: Tensor, sigma_ray: Tensor) -> Tensor:
    """Distance between the expected and the known depth, in standard deviations.

    Args:
        expected_ray: [N, 1] mean of where each ray ends.
        depth_ray: [N, 1] known depth along the ray.
        sigma_ray: [N, 1] its standard deviation.
    """
    return _mean_where((expected_ray - depth_ray).abs() / sigma_ray.clamp(min=1e-6), depth_ray > 0)


def berhu_loss(expected_ray: Tensor, depth_ray: Tensor, sigma_ray: Tensor, threshold: float) -> Tensor:
    """Distance in standard deviations that grows with its square beyond `threshold` (Laina et al. 2016).

    Args:
        expected_ray: [N, 1] mean of where each ray ends.
        depth_ray: [N, 1] known depth along the ray.
        sigma_ray: [N, 1] its standard deviation.
        threshold: distance at which the square takes over, in standard deviations.
    """
    distance = (expected_ray - depth_ray).abs() / sigma_ray.clamp(min=1e-6)
    square = 0.5 * (distance**2 / threshold + threshold)
    return _mean_where(torch.where(distance > threshold, square, distance), depth_ray > 0)


def wasserstein_loss(weights: Tensor, edges: Tensor, depth_ray: Tensor, sigma_ray: Tensor) -> Tensor:
    """Earth mover's distance between a ray's end and the normal distribution of its depth, in standard deviations.

    It is the area between the two cumulative distributions. Light that passes through everything ends at the last edge.
    After Rau et al. 2024, with the whole distribution in place of samples from it.

    Args:
        weights: [N, S] termination probability of each interval.
        edges: [N, S + 1] sorted ray lengths between the intervals.
        depth_ray: [N, 1] known depth along the ray.
        sigma_ray: [N, 1] its standard deviation.
    """
    deviation = (edges - depth_ray) / sigma_ray.clamp(min=1e-6)
    known = 0.5 * (1.0 + torch.erf(deviation / 2.0**0.5))
    ended = torch.cat([torch.zeros_like(weights[:, :1]), torch.cumsum(weights, dim=-1)], dim=-1)
    gap = (ended - known).abs()
    area = 0.5 * (gap[:, 1:] + gap[:, :-1]) * (deviation[:, 1:] - deviation[:, :-1])
    return _mean_where(area.sum(dim=-1, keepdim=True), depth_ray > 0)


def free_space_loss(
    weights: Tensor, ray_lengths: Tensor, depth_ray: Tensor, sigma_ray: Tensor, margin: float
) -> Tensor:
    """Squared probability of ending `margin` sigmas before the depth (after Neural RGB-D, Azinovic et al. 2022).

    Args:
        weights: [N, S] termination probability of each sample.
        ray_lengths: [N, S] where the samples are.
        depth_ray: [N, 1] known depth along the ray.
        sigma_ray: [N, 1] its standard deviation.
        margin: width of the band before the depth that is not free, in sigmas.
    """
    before = ray_lengths < depth_ray - margin * sigma_ray
    return _mean_where((torch.where(before, weights, 0.0).sum(dim=-1, keepdim=True)) ** 2, depth_ray > 0)


def distortion_loss(weights: Tensor, edges: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Spread of a ray's end (Mip-NeRF 360, Barron et al. 2022), lengths normalised to [0, 1], in O(samples)."""
    normalised = (edges - near) / (far - near)
    centres = 0.5 * (normalised[:, 1:] + normalised[:, :-1])
    widths = normalised[:, 1:] - normalised[:, :-1]
    weights_before = torch.cumsum(weights, dim=-1) - weights
    moments_before = torch.cumsum(weights * centres, dim=-1) - weights * centres
    pairs = 2.0 * (weights * (centres * weights_before - moments_before)).sum(dim=-1)
    return (pairs + (weights**2 * widths).sum(dim=-1) / 3.0).mean()
