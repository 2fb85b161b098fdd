"""Where sensors return nothing. Depths are z-depths in metres [N, H, W], 0 missing; functions add missing pixels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from diffnerf_ns.captures.sensor_noise.random_fields import uniform_like


def shadow_band(
    depth_z_m: Tensor, focal_px: float, baseline_m: float, side: Literal["left", "right"] = "left"
) -> Tensor:
    """Loses the background beside near things that the projector (or the other camera) cannot see.

    The band is f b (1/z_near - 1/z_far) pixels wide, on the `side` of the near thing that is away from the projector.
    Geometry of triangulation: Yu, Song, Zhao, Zhu, "A Shadow Repair Approach for Kinect Depth Maps", 2013.
    """
    depth = depth_z_m if side == "left" else depth_z_m.flip(2)
    disparity = focal_px * baseline_m / depth.clamp_min(1e-3)
    column = torch.arange(depth.shape[2], device=depth.device, dtype=depth.dtype)
    in_projector = torch.where(depth > 0, column - disparity, math.inf)
    nearest_to_the_right = in_projector.flip(2).cummin(2).values.flip(2)
    beyond = torch.full_like(in_projector[:, :, :1], math.inf)
    covered = torch.cat([nearest_to_the_right[:, :, 1:], beyond], 2) <= in_projector
    result = torch.where(covered, 0.0, depth)
    return result if side == "left" else result.flip(2)


def grazing_dropout_probability(view_cosine: Tensor, from_degrees: float = 74.0, to_degrees: float = 82.0) -> Tensor:
    """0 up to one angle between the surface normal and the view, 1 from another on, linear between them.

    Nguyen, Izadi and Lovell, 2012, and Khoshelham and Elberink, 2012: structured light is lost beyond 75 to 80 degrees.
    """
    slant = torch.rad2deg(torch.arccos(view_cosine.clamp(0.0, 1.0)))
    return ((slant - from_degrees) / (to_degrees - from_degrees)).clamp(0.0, 1.0)


def dark_dropout_probability(
    depth_z_m: Tensor, albedo: Tensor, view_cosine: Tensor, weakest_signal: float = 0.004
) -> Tensor:
    """Share of pixels lost because too little light returns: (1 - s / s_0)^2 for signals s = a n.v / z^2 below s_0.

    The signal falls with albedo, slant and squared distance (Lambert's law), 1 for a white surface facing at 1 m.
    """
    signal = albedo * view_cosine / depth_z_m.clamp_min(0.1).square()
    return (1.0 - signal / weakest_signal).clamp(0.0, 1.0).square()


def specular_dropout_probability(specular: Tensor, view_cosine: Tensor, largest: float = 0.9) -> Tensor:
    """Share of pixels lost to mirroring: the light goes elsewhere at a slant and dazzles head-on.

    Proportional to how mirror-like the surface is, and lowest at medium slant: s (1/2 + 1/2 |2 n.v - 1|).
    """
    return (largest * specular * (0.5 + 0.5 * (2.0 * view_cosine - 1.0).abs())).clamp(0.0, 1.0)


def drop_pixels(
    depth_z_m: Tensor, probability: Tensor, generator: torch.Generator, correlation_px: float = 1.0
) -> Tensor:
    """Bernoulli loss with a probability per pixel; lost pixels clump over `correlation_px` pixels."""
    return torch.where(uniform_like(depth_z_m, generator, correlation_px) < probability, 0.0, depth_z_m)


def blobs(depth_z_m: Tensor, per_frame: int, largest_radius_px: float, generator: torch.Generator) -> Tensor:
    """Loses `per_frame` elliptic patches of half axes up to `largest_radius_px` at random places of each frame."""
    count, height, width = depth_z_m.shape
    drawn = torch.rand(count, max(per_frame, 0), 5, generator=generator, device=generator.device).to(depth_z_m.device)
    row = torch.arange(height, device=depth_z_m.device)[:, None] + 0.5
    column = torch.arange(width, device=depth_z_m.device)[None, :] + 0.5
    lost = torch.zeros_like(depth_z_m, dtype=torch.bool)
    for index in range(per_frame):
        x, y, wide, flat, turn = drawn[:, index, :, None, None].unbind(1)
        wide = largest_radius_px * (0.3 + 0.7 * wide)
        high = wide * (0.4 + 0.6 * flat)
        across, down = column - x * width, row - y * height
        cosine, sine = torch.cos(turn * math.pi), torch.sin(turn * math.pi)
        lost |= ((across * cosine + down * sine) / wide).square() + (
            (down * cosine - across * sine) / high
        ).square() < 1
    return torch.where(lost, 0.0, depth_z_m)


def border_strip(depth_z_m: Tensor, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0) -> Tensor:
    """Loses strips of so many pixels along the borders, where the two eyes of a sensor do not overlap."""
    height, width = depth_z_m.shape[1:]
    result = torch.zeros_like(depth_z_m)
    inner = (slice(None), slice(top, max(height - bottom, top)), slice(left, max(width - right, left)))
    result[inner] = depth_z_m[inner]
    return result


def out_of_range(depth_z_m: Tensor, nearest_m: float, farthest_m: float) -> Tensor:
    """Loses what is nearer or farther than the sensor reaches."""
    return torch.where((depth_z_m >= nearest_m) & (depth_z_m <= farthest_m), depth_z_m, 0.0)
