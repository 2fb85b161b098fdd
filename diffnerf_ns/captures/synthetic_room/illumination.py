"""Setting the mood: which lights a room has, how strong they are, and the exposure that suits them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.synthetic_room.decor import Decor, linear
from diffnerf_ns.captures.synthetic_room.furniture import fittings
from diffnerf_ns.captures.synthetic_room.layout import FloorPlan
from diffnerf_ns.captures.synthetic_room.lights import AreaLight, Lighting, Sun, estimate_face_radiance
from diffnerf_ns.captures.synthetic_room.openings import Opening, Wall

X, Y, Z = np.eye(3)
MEAN_LUMINANCE = 0.30
"""Linear luminance that the average of the room's faces is exposed to."""


def light_room(decor: Decor, plan: FloorPlan, face_colours: npt.NDArray[np.float64]) -> Lighting:
    """Hangs a ceiling lamp and chooses day (windows, perhaps sun) or evening (lamps)."""
    is_day = decor.chance(0.7)
    sky = np.array([0.86, 0.93, 1.0]) * (3.2 if is_day else 0.06)
    lights = [_ceiling_light(decor, plan, 0.8 if is_day else 2.0)]
    windows = [(wall, hole) for wall in plan.walls for hole in wall.openings if hole.is_window]
    if is_day:
        lights += [_window_light(wall, hole, sky) for wall, hole in windows]
    lamps = [thing for thing in plan.placed if thing.name == "floor lamp"]
    lights += [_lamp_light(lamp.middle, lamp.high[2] - 0.13, 0.35 if is_day else 0.8) for lamp in lamps]
    sun = _sun(decor, windows[0][0]) if is_day and decor.chance(0.65) else None

    half = np.array([plan.half_x, plan.half_y, plan.height / 2])
    normals = np.array([Z, -Z, -X, X, -Y, Y])
    centres = np.array([0, 0, half[2]]) - normals * half
    face_radiance = estimate_face_radiance(centres, normals, face_colours, tuple(lights))
    luminance = face_radiance.mean(0) @ [0.2126, 0.7152, 0.0722]
    return Lighting(tuple(lights), sun, sky, face_radiance, exposure=MEAN_LUMINANCE / float(luminance))


def _ceiling_light(decor: Decor, plan: FloorPlan, strength: float) -> AreaLight:
    spot = np.array([decor.uniform(-0.2, 0.2) * plan.half_x, decor.uniform(-0.2, 0.2) * plan.half_y, plan.height])
    warm = np.array(linear((1.0, 0.95, 0.87)))
    if decor.chance(0.5):
        wide, deep = decor.uniform(0.5, 0.9), decor.uniform(0.3, 0.6)
        plan.place("ceiling lamp", fittings.ceiling_panel(decor, wide, deep), spot, 0.0)
        return AreaLight(spot - 0.07 * Z, X * wide / 2, Y * deep / 2, -Z, warm * strength * 2.2)
    plan.place("ceiling lamp", fittings.pendant_lamp(decor), spot, 0.0)
    centre = spot - (fittings.PENDANT_DROP + 0.05) * Z
    return AreaLight(centre, X * 0.16, Y * 0.16, None, warm * strength, clearance=0.32)


def _window_light(wall: Wall, hole: Opening, sky: npt.NDArray[np.float64]) -> AreaLight:
    high = hole.top - hole.bottom
    centre = wall.at(hole.middle, -0.02, (hole.bottom + hole.top) / 2)
    return AreaLight(centre, wall.along * hole.wide / 2, Z * high / 2, wall.inward, sky * hole.wide * high)


def _lamp_light(middle: npt.NDArray[np.float64], height: float, strength: float) -> AreaLight:
    centre = np.array([middle[0], middle[1], height])
    return AreaLight(centre, X * 0.12, Y * 0.12, None, np.array(linear((1.0, 0.86, 0.66))) * strength, clearance=0.3)


def _sun(decor: Decor, wall: Wall) -> Sun:
    elevation, azimuth = np.radians(decor.uniform(22, 48)), np.radians(decor.uniform(-40, 40))
    horizontal = -wall.inward * np.cos(azimuth) + wall.along * np.sin(azimuth)
    direction = horizontal * np.cos(elevation) + Z * np.sin(elevation)
    return Sun(direction, np.array([1.0, 0.90, 0.74]) * decor.uniform(5.0, 8.0))
