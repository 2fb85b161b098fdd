"""How near two measurements of one surface are."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.depth_units import sensor_sigma_z_m

AGREEING_SIGMAS = 3.0
"""Sensor sigmas within which two measurements mean one surface."""

AGREEING_SHARE = 0.015
"""Share of the depth within which they do in any case."""

CLEARLY_BEHIND = 2.0
"""How many such tolerances behind a point a view must measure to have looked through it."""

LEAST_AHEAD_M = 1e-3
"""How far before a camera a point must lie to be seen, metres."""


def tolerance_m(depth_z_m: Tensor) -> Tensor:
    """Largest difference, metres, between measurements of one surface at this z-depth."""
    return torch.maximum(AGREEING_SIGMAS * sensor_sigma_z_m(depth_z_m), AGREEING_SHARE * depth_z_m)
