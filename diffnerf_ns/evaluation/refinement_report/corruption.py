"""Exact depth as a simulated sensor would have measured it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from diffnerf_ns.captures.sensor_noise import SensorKind, simulate_sensor
from diffnerf_ns.depth_normals import normals_from_depth

FloatMap = npt.NDArray[np.float32]

DISPLAY_GAMMA = 2.2
"""Exponent that turns an image's values into linear ones."""


def corrupted_depth(
    kind: SensorKind, exact_z_m: FloatMap, image: npt.NDArray[np.uint8], intrinsics: npt.NDArray[np.float64], seed: int
) -> FloatMap:
    """What a sensor makes of exact depth. Colour stands for the albedo; nothing is taken for a mirror.

    Args:
        kind: the sensor, as `simulate_sensor` knows it.
        exact_z_m: exact z-depth [height, width], metres, 0 where there is none.
        image: colour [height, width, 3], RGB.
        intrinsics: pinhole matrix [3, 3], pixels.
        seed: decides all that is random.
    """
    depth = torch.from_numpy(exact_z_m)[None]
    measured = simulate_sensor(
        kind,
        depth,
        focal_px=float(intrinsics[0, 0]),
        albedo=torch.from_numpy((image.astype(np.float32) / 255) ** DISPLAY_GAMMA)[None],
        view_cosine=torch.from_numpy(view_cosine(exact_z_m, intrinsics))[None],
        specular=torch.zeros_like(depth),
        generator=torch.Generator().manual_seed(seed),
    )
    return measured[0].numpy()


def view_cosine(depth_z_m: FloatMap, intrinsics: npt.NDArray[np.float64]) -> FloatMap:
    """Cosine between surface normal and the direction to the camera [height, width]; 1 where no normal is known."""
    height, width = depth_z_m.shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = (columns - intrinsics[0, 2]) / intrinsics[0, 0], (rows - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = torch.from_numpy(np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32))
    normals = normals_from_depth(torch.from_numpy(depth_z_m), torch.zeros_like(rays), rays)
    cosine = -(normals * torch.nn.functional.normalize(rays, dim=-1)).sum(dim=-1)
    return torch.where(normals.any(dim=-1), cosine.clamp(0, 1), 1.0).numpy()
