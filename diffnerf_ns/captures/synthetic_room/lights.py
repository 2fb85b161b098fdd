"""What lights a room: small area lights, the sun through its windows, and the sky outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AreaLight:
    """A parallelogram centre + a half_u + b half_v, with a and b in -1..1; world frame, metres."""

    centre: Vector
    half_u: Vector
    half_v: Vector
    normal: Vector | None
    """Unit direction it shines in, or None for a lamp that shines to all sides."""
    intensity: Vector
    """[3] radiant intensity along the normal (any unit; the exposure sets the scale)."""
    clearance: float = 0.0
    """Metres before the light at which shadow rays end, so that a lamp's own shade does not block it."""


@dataclass(frozen=True)
class Sun:
    direction: Vector
    """Unit, from the room towards the sun."""
    irradiance: Vector
    """[3] on a surface facing it."""


@dataclass(frozen=True)
class Lighting:
    area_lights: tuple[AreaLight, ...]
    sun: Sun | None
    sky: Vector
    """[3] radiance of the sky seen through a window."""
    face_radiance: Vector
    """[6, 3] mean radiance of the room's floor, ceiling and walls, for what they light in turn."""
    exposure: float


def estimate_face_radiance(
    face_centre: Vector, face_normal: Vector, face_albedo: Vector, lights: tuple[AreaLight, ...]
) -> Vector:
    """Mean radiance [6, 3] of the six faces: the lights' own and two bounces between the faces."""
    direct = np.zeros_like(face_albedo)
    for light in lights:
        to_light = light.centre - face_centre
        squared = np.maximum((to_light**2).sum(1), 0.5)
        cosine = np.abs((to_light * face_normal).sum(1)) / np.sqrt(squared)
        emitted = 1.0
        if light.normal is not None:
            emitted = np.maximum(-(to_light @ light.normal) / np.sqrt(squared), 0.0)
        direct += (cosine * emitted / squared)[:, None] * light.intensity
    radiance = direct * face_albedo / np.pi
    for _ in range(2):
        bounced = radiance.mean(0) * np.pi
        radiance = (direct + bounced) * face_albedo * 0.6 / np.pi
    return radiance
