"""What sensors do sideways and at depth edges. Depths are z-depths in metres [N, H, W], 0 missing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diffnerf_ns.captures.sensor_noise.random_fields import blur, normal_like, uniform_like


def lateral_jitter(depth_z_m: Tensor, sigma_px: float, generator: torch.Generator) -> Tensor:
    """Reads every pixel from a place N(0, sigma) pixels away on both axes (nearest pixel).

    Barron and Malik, 2013, and Handa et al., 2014 (0.5 px); Teichman et al., 2013 (0.25 px).
    """
    across = sigma_px * normal_like(depth_z_m, generator)
    down = sigma_px * normal_like(depth_z_m, generator)
    return _read(depth_z_m, torch.round(across).long(), torch.round(down).long())


def misregister(depth_z_m: Tensor, shift_px: tuple[float, float]) -> Tensor:
    """Moves the depth against the colour image by (right, down) pixels, nearest pixel; 0 where nothing moved in.

    1 to 3 px are usual between unsynchronised, separately calibrated cameras (Sturm et al., TUM RGB-D, 2012).
    """
    across = torch.full_like(depth_z_m, -round(shift_px[0]), dtype=torch.long)
    down = torch.full_like(depth_z_m, -round(shift_px[1]), dtype=torch.long)
    return _read(depth_z_m, across, down, outside_missing=True)


def depth_edges(depth_z_m: Tensor, smallest_jump_m: float = 0.1) -> Tensor:
    """Pixels whose 3x3 neighbourhood spans more than `smallest_jump_m`; missing neighbours do not count."""
    nearest, farthest = _neighbourhood_range(depth_z_m)
    return (depth_z_m > 0) & (farthest - nearest > smallest_jump_m)


def flying_pixels(
    depth_z_m: Tensor, probability: float, generator: torch.Generator, smallest_jump_m: float = 0.1
) -> Tensor:
    """At depth edges, replaces that share of pixels by a mixture of the nearest and farthest neighbour.

    Reynolds et al., "Capturing Time-of-Flight Data with Confidence", 2011: a pixel that sees two surfaces returns a
    depth between them.
    """
    nearest, farthest = _neighbourhood_range(depth_z_m)
    edge = (depth_z_m > 0) & (farthest - nearest > smallest_jump_m)
    flies = edge & (uniform_like(depth_z_m, generator) < probability)
    share = uniform_like(depth_z_m, generator)
    return torch.where(flies, nearest + share * (farthest - nearest), depth_z_m)


def erode_edges(depth_z_m: Tensor, width_px: int, smallest_jump_m: float = 0.1) -> Tensor:
    """Loses pixels within `width_px` of a depth edge, as confidence thresholds of time-of-flight cameras do."""
    if width_px < 1:
        return depth_z_m
    edge = depth_edges(depth_z_m, smallest_jump_m).to(depth_z_m.dtype)[:, None]
    near = functional.max_pool2d(edge, 2 * width_px - 1, stride=1, padding=width_px - 1)[:, 0] > 0
    return torch.where(near, 0.0, depth_z_m)


def window_support(depth_z_m: Tensor, window_px: int = 9, closeness_m: float = 0.1, least: float = 0.5) -> Tensor:
    """Loses pixels of which less than `least` of the matching window lies at a similar depth: thin things vanish.

    Correlation windows of structured light are 9x9 (Konolige and Mihelich, "Kinect Calibration: Technical", 2010).
    """
    padding = window_px // 2
    alike = torch.zeros_like(depth_z_m)
    padded = functional.pad(depth_z_m[:, None], (padding,) * 4, mode="replicate")[:, 0]
    height, width = depth_z_m.shape[1:]
    steps = range(0, window_px, 2)
    for row in steps:
        for column in steps:
            other = padded[:, row : row + height, column : column + width]
            alike += ((other - depth_z_m).abs() < closeness_m).to(alike.dtype)
    return torch.where(alike >= least * len(steps) ** 2, depth_z_m, 0.0)


def fatten_edges(
    depth_z_m: Tensor,
    reach_px: float,
    generator: torch.Generator,
    smallest_jump_m: float = 0.1,
    correlation_px: float = 12.0,
) -> Tensor:
    """Moves depth edges sideways: outwards by up to `reach_px` pixels, inwards by up to a third of that.

    A window that is matched as a whole takes the depth of whatever in it has the clearer pattern, mostly the nearer
    surface (Scharstein and Szeliski, "A Taxonomy and Evaluation of Dense Two-Frame Stereo Correspondence Algorithms",
    2002: foreground fattening). How far an edge moves changes along it, over `correlation_px` pixels.
    """
    moved = reach_px * (uniform_like(depth_z_m, generator, correlation_px) * 4.0 / 3.0 - 1.0 / 3.0)
    pixels = torch.round(moved).long()
    edge = depth_edges(depth_z_m, smallest_jump_m).to(depth_z_m.dtype)[:, None]
    result = depth_z_m
    for distance in range(1, int(pixels.abs().max()) + 1):
        nearest, farthest = _neighbourhood_range(depth_z_m, distance)
        reached = functional.max_pool2d(edge, 2 * distance - 1, stride=1, padding=distance - 1)[:, 0] > 0
        reached &= (depth_z_m > 0) & (farthest - nearest > smallest_jump_m)
        result = torch.where(reached & (pixels == distance), nearest, result)
        result = torch.where(reached & (pixels == -distance), farthest, result)
    return result


def low_resolution(depth_z_m: Tensor, width: int, height: int, blur_px: float = 0.6) -> Tensor:
    """A sensor of width x height pixels, blurred over edges and interpolated back to the image's size.

    Apple's LiDAR depth is 256 x 192, interpolated from a sparse grid of points (Luetzenburg et al., "Evaluation of the
    Apple iPhone 12 Pro LiDAR for an Application in Geosciences", 2021).

    Args:
        blur_px: deviation of the blur in pixels of the coarse sensor.
    """
    size = depth_z_m.shape[1:]
    seen = (depth_z_m > 0).to(depth_z_m.dtype)
    coarse_size = (min(height, size[0]), min(width, size[1]))
    total = functional.interpolate((depth_z_m * seen)[:, None], coarse_size, mode="area")[:, 0]
    share = functional.interpolate(seen[:, None], coarse_size, mode="area")[:, 0]
    total, share = blur(total, blur_px), blur(share, blur_px)
    total = functional.interpolate(total[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    share = functional.interpolate(share[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return torch.where(share > 0.5, total / share.clamp_min(1e-6), 0.0)


def far_stairs(depth_z_m: Tensor, from_m: float = 2.5, step_m: float = 0.02) -> Tensor:
    """Beyond `from_m`, depth comes in steps that grow from `step_m` with squared distance, as iPhone LiDAR's does.

    Luetzenburg et al., 2021; in inverse depth the steps are even: 1/z is rounded to multiples of step / from^2.
    """
    step = step_m / from_m**2
    stairs = 1.0 / (torch.round(1.0 / depth_z_m.clamp_min(1e-3) / step) * step).clamp_min(1e-6)
    return torch.where(depth_z_m > from_m, stairs.clamp_min(from_m), depth_z_m)


def _read(depth: Tensor, across: Tensor, down: Tensor, outside_missing: bool = False) -> Tensor:
    count, height, width = depth.shape
    row = torch.arange(height, device=depth.device)[:, None] + down
    column = torch.arange(width, device=depth.device)[None, :] + across
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    read = depth.reshape(count, -1).gather(1, flat.reshape(count, -1)).view_as(depth)
    return torch.where(inside, read, 0.0) if outside_missing else read


def _neighbourhood_range(depth: Tensor, reach_px: int = 1) -> tuple[Tensor, Tensor]:
    """Nearest and farthest measured depth among pixels up to `reach_px` away on both axes."""
    size = 2 * reach_px + 1
    farthest = functional.max_pool2d(depth[:, None], size, stride=1, padding=reach_px)[:, 0]
    inverted = torch.where(depth > 0, -depth, -torch.inf)
    nearest = -functional.max_pool2d(inverted[:, None], size, stride=1, padding=reach_px)[:, 0]
    return nearest, farthest
