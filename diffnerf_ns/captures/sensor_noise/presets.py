"""Whole sensors: the noise models in the order in which light, optics, electronics and software apply them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from diffnerf_ns.captures.sensor_noise import distance, edges, holes
from diffnerf_ns.captures.sensor_noise.random_fields import normal_like, smooth_like

SensorKind = Literal["kinect", "lidar", "tof", "stereo", "redwood", "none"]
LUMINANCE = (0.2126, 0.7152, 0.0722)


class _View(NamedTuple):
    """What a sensor looks at; images are [N, H, W]."""

    depth: Tensor
    focal_px: float
    brightness: Tensor
    """Reflectance in the near infrared, where things differ less than in visible light: the root of luminance."""
    view_cosine: Tensor
    specular: Tensor
    generator: torch.Generator
    strength: float

    def pixels(self, at_width_640: float) -> float:
        """A length in pixels that is given for an image 640 pixels wide."""
        return at_width_640 * self.depth.shape[2] / 640.0


def simulate_sensor(
    kind: SensorKind,
    depth_z_m: Tensor,
    focal_px: float,
    albedo: Tensor,
    view_cosine: Tensor,
    specular: Tensor,
    generator: torch.Generator,
    strength: float = 1.0,
) -> Tensor:
    """What a depth sensor makes of exact depth.

    Args:
        kind: "kinect" (structured light), "lidar" (phone), "tof" (time of flight), "stereo" (active stereo),
            "redwood" (structured light, another model), or "none".
        depth_z_m: exact z-depth [N, H, W], metres, 0 where there is nothing to measure; it stays 0.
        focal_px: focal length in pixels of these images.
        albedo: diffuse reflectance [N, H, W, 3], linear, 0..1.
        view_cosine: cosine between surface normal and the direction to the camera [N, H, W], 0..1.
        specular: how mirror-like surfaces are [N, H, W], 0..1.
        generator: the source of all randomness; results repeat for the same state on the same device.
        strength: 1 is the sensor as published, 0 leaves depth as it is, 2 is twice as bad.

    Returns:
        z-depth [N, H, W], metres, 0 where the sensor measures nothing.
    """
    if kind not in get_args(SensorKind):
        raise ValueError(f"sensor is {kind!r}, it must be one of {', '.join(get_args(SensorKind))}")
    if strength < 0:
        raise ValueError(f"strength is {strength}, it must be 0 (exact) or more")
    if kind == "none" or strength == 0:
        return depth_z_m.clone()
    brightness = (albedo @ albedo.new_tensor(LUMINANCE)).clamp_min(0.0).sqrt()
    view = _View(depth_z_m, focal_px, brightness, view_cosine, specular, generator, strength)
    measured = _SENSORS[kind](view)
    return torch.where((depth_z_m > 0) & torch.isfinite(measured), measured.clamp_min(0.0), 0.0)


def _kinect(view: _View) -> Tensor:
    strength, generator = view.strength, view.generator
    depth = edges.lateral_jitter(view.depth, view.pixels(1.0) * strength, generator)
    depth = holes.shadow_band(depth, view.focal_px, 0.075 * min(strength, 1.5), "left")
    depth = _drop(view, depth, weakest_signal=0.020, correlation_px=2.5)
    depth = edges.window_support(depth, window_px=5, closeness_m=0.15, least=0.34)
    depth = distance.low_frequency_bias(depth, 0.012 * strength, generator)
    depth = distance.axial_noise(depth, 0.5 * strength * distance.nguyen_sigma_z_m(depth, view.view_cosine), generator)
    depth = distance.kinect_rounding(depth, generator, fineness=1.0 / strength)
    depth = holes.blobs(depth, per_frame=round(2 * strength), largest_radius_px=view.pixels(18), generator=generator)
    depth = holes.border_strip(depth, right=round(view.pixels(8)))
    return distance.quantise_millimetres(holes.out_of_range(depth, 0.45, 6.0))


def _redwood(view: _View) -> Tensor:
    strength, generator = view.strength, view.generator
    half = (max(1, view.depth.shape[2] // 2), max(1, view.depth.shape[1] // 2))
    coarse = _subsampled(edges.lateral_jitter(view.depth, 0.25 * strength, generator), half)
    depth = distance.low_frequency_bias(coarse, 0.015 * strength, generator)
    depth = distance.redwood_rounding(depth, generator, strength)
    depth = _subsampled(depth, (view.depth.shape[2], view.depth.shape[1]))
    depth = holes.shadow_band(depth, view.focal_px, 0.06 * min(strength, 1.5), "right")
    return distance.quantise_millimetres(_drop(view, depth, weakest_signal=0.016, correlation_px=4.0))


def _stereo(view: _View) -> Tensor:
    strength, generator = view.strength, view.generator
    baseline_m, focal_px = 0.095, 385.0
    depth = edges.lateral_jitter(view.depth, view.pixels(1.2) * strength, generator)
    depth = holes.shadow_band(depth, view.focal_px, baseline_m * min(strength, 1.5), "left")
    depth = edges.flying_pixels(depth, min(0.5 * strength, 1.0), generator)
    depth = _drop(view, depth, weakest_signal=0.004, correlation_px=4.0)
    sigma = strength * distance.stereo_sigma_z_m(depth, focal_px, baseline_m)
    rough = normal_like(depth, generator)
    clumped = smooth_like(depth, generator, max(view.pixels(10), 2.0))
    depth = torch.where(depth > 0, depth + sigma * (0.35 * rough + 0.94 * clumped), 0.0)
    depth = distance.quantise_disparity(depth, focal_px, baseline_m, step_px=strength / 32.0)
    depth = distance.low_frequency_bias(depth, 0.015 * strength, generator)
    depth = holes.border_strip(depth, left=round(view.pixels(20)))
    return distance.quantise_millimetres(holes.out_of_range(depth, 0.3, 8.0))


def _lidar(view: _View) -> Tensor:
    strength, generator = view.strength, view.generator
    depth = edges.low_resolution(view.depth, 256, 192, blur_px=0.6 * strength)
    sigma = strength * (0.002 + 0.003 * depth)
    clumped = smooth_like(depth, generator, max(view.pixels(14), 2.0))
    depth = torch.where(depth > 0, depth + sigma * clumped, 0.0)
    depth = distance.low_frequency_bias(depth, 0.010 * strength, generator)
    depth = edges.far_stairs(depth, from_m=2.5, step_m=0.02 * strength)
    mirrors = holes.specular_dropout_probability(view.specular, view.view_cosine, min(0.5 * strength, 1.0))
    depth = holes.drop_pixels(depth, mirrors, generator, correlation_px=6.0)
    return distance.quantise_millimetres(holes.out_of_range(depth, 0.2, 5.0))


def _time_of_flight(view: _View) -> Tensor:
    strength, generator = view.strength, view.generator
    depth = distance.multipath_in_corners(view.depth, view.focal_px, largest_m=0.02 * strength)
    depth = edges.flying_pixels(depth, min(0.7 * strength, 1.0), generator)
    sigma = strength * distance.time_of_flight_sigma_z_m(depth, view.brightness, view.view_cosine, 5e-4)
    depth = distance.axial_noise(depth, sigma, generator)
    depth = _drop(view, depth, weakest_signal=0.010, correlation_px=1.5)
    certain = edges.erode_edges(depth, width_px=1, smallest_jump_m=0.15)
    lost = torch.full_like(depth, 0.5)
    depth = torch.where(holes.drop_pixels(torch.ones_like(depth), lost, generator) > 0, certain, depth)
    depth = distance.low_frequency_bias(depth, 0.010 * strength, generator)
    return distance.quantise_millimetres(holes.out_of_range(depth, 0.25, 5.5))


def _drop(view: _View, depth: Tensor, weakest_signal: float, correlation_px: float) -> Tensor:
    """Grazing, dark and mirroring surfaces, each lost on its own."""
    kept = 1.0 - holes.grazing_dropout_probability(view.view_cosine)
    dark = holes.dark_dropout_probability(view.depth, view.brightness, view.view_cosine, weakest_signal * view.strength)
    mirrors = holes.specular_dropout_probability(view.specular, view.view_cosine, min(0.9 * view.strength, 1.0))
    lost = 1.0 - kept * (1.0 - dark) * (1.0 - mirrors)
    return holes.drop_pixels(depth, lost, view.generator, correlation_px)


def _subsampled(depth: Tensor, size: tuple[int, int]) -> Tensor:
    width, height = size
    return torch.nn.functional.interpolate(depth[:, None], (height, width), mode="nearest")[:, 0]


_SENSORS: dict[str, Callable[[_View], Tensor]] = {
    "kinect": _kinect,
    "lidar": _lidar,
    "tof": _time_of_flight,
    "stereo": _stereo,
    "redwood": _redwood,
}
