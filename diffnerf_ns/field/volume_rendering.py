"""Quadrature along rays: a ray is cut at sorted edges, density is constant between them."""

from __future__ import annotations

import torch
from torch import Tensor


def box_near_far(origins: Tensor, directions: Tensor, aabb: Tensor, near_plane: float) -> tuple[Tensor, Tensor]:
    """Ray lengths [N, 1] where rays enter and leave the box [2, 3]; a ray that misses it gets a sliver."""
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    first = (aabb[0] - origins) * inverse
    second = (aabb[1] - origins) * inverse
    near = torch.minimum(first, second).amax(dim=-1, keepdim=True).clamp(min=near_plane)
    far = torch.maximum(first, second).amin(dim=-1, keepdim=True)
    return near, torch.maximum(far, near + near_plane)


def render_weights(densities: Tensor, edges: Tensor) -> Tensor:
    """Probability [N, S] that a ray ends in each interval, from densities [N, S] and interval edges [N, S + 1]."""
    optical_depth = densities * (edges[:, 1:] - edges[:, :-1])
    total = torch.cumsum(optical_depth, dim=-1)
    return torch.exp(optical_depth - total) - torch.exp(-total)


def midpoints(edges: Tensor) -> Tensor:
    """Centres [N, S] of the intervals between edges [N, S + 1]."""
    return 0.5 * (edges[:, 1:] + edges[:, :-1])


def sample_positions(origins: Tensor, directions: Tensor, edges: Tensor) -> Tensor:
    """Points [N * S, 3] at the centres of the intervals between edges [N, S + 1] of rays [N, 3]."""
    return (origins[:, None, :] + directions[:, None, :] * midpoints(edges)[..., None]).view(-1, 3)


def stratified(near: Tensor, far: Tensor, count: int, jitter: bool) -> Tensor:
    """`count` sorted ray lengths [N, count], one in each equal part of [near, far]: at random, or its centre."""
    offset = torch.rand(len(near), count, device=near.device) if jitter else 0.5
    fraction = (torch.arange(count, device=near.device) + offset) / count
    return near + (far - near) * fraction


def sample_from_histogram(edges: Tensor, weights: Tensor, count: int, jitter: bool) -> Tensor:
    """`count` sorted ray lengths [N, count], distributed like `weights` [N, S] between `edges` [N, S + 1]."""
    cumulative = torch.cumsum(weights, dim=-1)
    cumulative = torch.cat([torch.zeros_like(cumulative[:, :1]), cumulative / cumulative[:, -1:].clamp(min=1e-12)], -1)
    offset = torch.rand(len(edges), 1, device=edges.device) if jitter else 0.5
    wanted = ((torch.arange(count, device=edges.device) + offset) / count).expand(len(edges), count).contiguous()
    right = torch.searchsorted(cumulative, wanted, right=True).clamp(1, weights.shape[1])
    left = right - 1
    cdf_left, cdf_right = cumulative.gather(1, left), cumulative.gather(1, right)
    fraction = ((wanted - cdf_left) / (cdf_right - cdf_left).clamp(min=1e-9)).clamp(0.0, 1.0)
    edge_left, edge_right = edges.gather(1, left), edges.gather(1, right)
    return edge_left + fraction * (edge_right - edge_left)


def expected_ray_length(weights: Tensor, edges: Tensor) -> Tensor:
    """Mean ray length [N, 1] of where the part of a ray ends that ends at all."""
    return (weights * midpoints(edges)).sum(dim=-1, keepdim=True) / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)


def median_ray_length(weights: Tensor, edges: Tensor) -> Tensor:
    """Ray length [N, 1] at which half of a ray has ended, interpolated within its interval."""
    cumulative = torch.cumsum(weights, dim=-1)
    half = 0.5 * cumulative[:, -1:].clamp(min=1e-9)
    index = torch.searchsorted(cumulative, half.contiguous()).clamp(max=weights.shape[1] - 1)
    before = cumulative.gather(1, index) - weights.gather(1, index)
    fraction = ((half - before) / weights.gather(1, index).clamp(min=1e-9)).clamp(0.0, 1.0)
    left, right = edges.gather(1, index), edges.gather(1, index + 1)
    return left + fraction * (right - left)
