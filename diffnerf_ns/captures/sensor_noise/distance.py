"""Noise along the optical axis: how wrong a measured depth is. Depths are z-depths in metres [N, H, W], 0 missing."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.captures.sensor_noise.random_fields import blur, normal_like, smooth_like

KINECT_FOCAL_PX = 580.0
KINECT_BASELINE_M = 0.075


def axial_noise(depth_z_m: Tensor, sigma_z_m: Tensor, generator: torch.Generator) -> Tensor:
    """Adds normal noise of `sigma_z_m` (one standard deviation, metres, same shape)."""
    noisy = depth_z_m + sigma_z_m * normal_like(depth_z_m, generator)
    return torch.where(depth_z_m > 0, noisy.clamp_min(1e-3), 0.0)


def nguyen_sigma_z_m(depth_z_m: Tensor, view_cosine: Tensor | None = None) -> Tensor:
    """Kinect: 0.0012 + 0.0019 (z - 0.4)^2, and beyond 60 degrees of slant + 0.0001 / sqrt(z) t^2 / (pi/2 - t)^2.

    Nguyen, Izadi and Lovell, "Modeling Kinect Sensor Noise for Improved 3D Reconstruction and Tracking", 2012.
    """
    sigma = 0.0012 + 0.0019 * (depth_z_m - 0.4).square()
    if view_cosine is None:
        return sigma
    slant = torch.arccos(view_cosine.clamp(0.0, 1.0))
    room = (torch.pi / 2 - slant).clamp_min(0.17)
    slanted = 0.0001 / depth_z_m.clamp_min(0.1).sqrt() * (slant / room).square()
    return sigma + torch.where(slant > torch.pi / 3, slanted, 0.0)


def khoshelham_sigma_z_m(depth_z_m: Tensor) -> Tensor:
    """Kinect: 1.425e-3 z^2. Khoshelham and Elberink, "Accuracy and Resolution of Kinect Depth Data", 2012."""
    return 1.425e-3 * depth_z_m.square()


def stereo_sigma_z_m(depth_z_m: Tensor, focal_px: float, baseline_m: float, subpixel_px: float = 0.08) -> Tensor:
    """Stereo: z^2 e / (f b) for a matching error of e pixels (RealSense: e = 0.08, b = 0.05 or 0.095 m).

    Grunnet-Jepsen, Sweetser and Woodfill, "Best-Known-Methods for Tuning Intel RealSense D400", 2018.
    """
    return depth_z_m.square() * (subpixel_px / (focal_px * baseline_m))


def quantise_disparity(depth_z_m: Tensor, focal_px: float, baseline_m: float, step_px: float = 0.125) -> Tensor:
    """Rounds the disparity f b / z to steps of `step_px` (1/8 px in structured light).

    Barron and Malik, "Intrinsic Scene Properties from a Single RGB-D Image", 2013.
    """
    scale = focal_px * baseline_m
    disparity = scale / depth_z_m.clamp_min(1e-3)
    steps = torch.round(disparity / step_px)
    return torch.where((depth_z_m > 0) & (steps > 0), scale / (steps * step_px).clamp_min(1e-9), 0.0)


def kinect_rounding(depth_z_m: Tensor, generator: torch.Generator, fineness: float = 1.0) -> Tensor:
    """z' = c / floor(c / round(100 z) + N(0, 1/6) + 1/2) / 100 with c = 35130: noisy, rounded Kinect disparities.

    Handa et al., "A Benchmark for RGB-D Visual Odometry, 3D Reconstruction and SLAM" (ICL-NUIM), 2014, after Barron and
    Malik, 2013.

    Args:
        fineness: how many times finer the disparity steps and the rounding to centimetres are than a Kinect's.
    """
    constant = 35130.0 * fineness
    centimetres = torch.round(100.0 * fineness * depth_z_m) / fineness
    disparity = constant / centimetres.clamp_min(1.0) + normal_like(depth_z_m, generator) / 6.0
    rounded = torch.floor(disparity + 0.5)
    return torch.where((depth_z_m > 0) & (rounded > 0), constant / rounded.clamp_min(1.0) / 100.0, 0.0)


def redwood_rounding(depth_z_m: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """z' = 8 c / round(8 (c / z + N(0, 0.0278))) with c = 35.13; 10 m and more are lost.

    Choi, Zhou and Koltun, "Robust Reconstruction of Indoor Scenes" (Redwood), 2015, after Teichman et al., 2013.
    """
    steps = 8.0 / max(strength, 1e-6)
    disparity = 35.13 / depth_z_m.clamp_min(1e-3) + 0.0278 * strength * normal_like(depth_z_m, generator)
    rounded = torch.round(steps * disparity)
    usable = (depth_z_m > 0) & (depth_z_m < 10.0) & (rounded > 0)
    return torch.where(usable, 35.13 * steps / rounded.clamp_min(1.0), 0.0)


def time_of_flight_sigma_z_m(
    depth_z_m: Tensor, albedo: Tensor, view_cosine: Tensor, sigma_at_one_metre_m: float = 0.002
) -> Tensor:
    """sigma_0 / amplitude, where the amplitude a n.v / z^2 is 1 for a white surface that faces the camera at 1 m.

    Lange and Seitz, "Solid-State Time-of-Flight Range Camera", 2001: the error grows with the inverse amplitude.
    It stops growing at 15 cm, where cameras reject the pixel.
    """
    amplitude = albedo.clamp_min(0.01) * view_cosine.clamp_min(0.05) / depth_z_m.clamp_min(0.1).square()
    return (sigma_at_one_metre_m / amplitude).clamp_max(0.15)


def multipath_in_corners(depth_z_m: Tensor, focal_px: float, largest_m: float = 0.02, reach_m: float = 0.12) -> Tensor:
    """Lengthens depth in concave corners, where light bounces between the faces, by up to `largest_m`.

    Gudmundsson, Aanaes and Larsen, "Environmental Effects on Measurement Uncertainties of Time-of-Flight Cameras",
    2007: 1 to 3 cm. Concave is what lies behind the mean of its two neighbours `reach_m` away, on either axis.
    """
    span = max(1, round(reach_m * focal_px / 2.5))
    hollow = torch.zeros_like(depth_z_m)
    for axis in (1, 2):
        before, after = _shifted(depth_z_m, span, axis), _shifted(depth_z_m, -span, axis)
        continuous = (before > 0) & (after > 0)
        for side in (before, after):
            continuous &= (side - depth_z_m).abs() < 1.5 * reach_m
        hollow = torch.maximum(hollow, torch.where(continuous, depth_z_m - 0.5 * (before + after), 0.0))
    longer = largest_m * (1.0 - torch.exp(-blur(hollow.clamp_min(0.0), 1.5) / (0.25 * reach_m)))
    return torch.where(depth_z_m > 0, depth_z_m + longer, 0.0)


def low_frequency_bias(
    depth_z_m: Tensor, largest_share: float, generator: torch.Generator, correlation_px: float | None = None
) -> Tensor:
    """Multiplies depth by a smooth field within 1 +- `largest_share` (0.01 to 0.02 in uncalibrated sensors).

    Teichman, Miller and Thrun, "Unsupervised Intrinsic Calibration of Depth Sensors via SLAM", 2013.
    """
    spacing = correlation_px or depth_z_m.shape[2] / 3.0
    field = smooth_like(depth_z_m, generator, spacing).div(2.0).clamp(-1.0, 1.0)
    return depth_z_m * (1.0 + largest_share * field)


def quantise_millimetres(depth_z_m: Tensor, step_mm: float = 1.0) -> Tensor:
    """Rounds to whole steps of `step_mm` millimetres, as 16-bit depth files do."""
    return torch.round(depth_z_m * (1000.0 / step_mm)) * (step_mm / 1000.0)


def _shifted(image: Tensor, pixels: int, axis: int) -> Tensor:
    """The image moved by some pixels along an axis, 0 where nothing moved in."""
    moved = torch.roll(image, pixels, dims=axis)
    gap = slice(0, pixels) if pixels > 0 else slice(pixels, None)
    moved[(slice(None),) * axis + (gap,)] = 0.0
    return moved
