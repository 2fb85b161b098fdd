"""What is fixed to a room: lamps, pictures, radiators, curtains, rugs. Wall things have the wall at y = 0; metres."""

from __future__ import annotations

from diffnerf_ns.captures.synthetic_room.assembly import Assembly, turn_about
from diffnerf_ns.captures.synthetic_room.decor import Decor

PENDANT_DROP = 0.55


def picture(decor: Decor, wide: float, high: float) -> Assembly:
    thing = Assembly()
    frame = decor.pick((decor.main_wood, decor.second_wood, decor.dark_metal, decor.white_paint))
    rail = decor.uniform(0.02, 0.045)
    for side in (-1, 1):
        thing.box((side * (wide / 2 - rail / 2), -0.014, 0), (rail, 0.028, high), frame)
        thing.box((0, -0.014, side * (high / 2 - rail / 2)), (wide - 2 * rail, 0.028, rail), frame)
    image = decor.painting() if decor.chance(0.55) else decor.poster()
    thing.box((0, -0.006, 0), (wide - 2 * rail, 0.012, high - 2 * rail), image)
    return thing


def floor_lamp(decor: Decor) -> Assembly:
    thing, metal = Assembly(), decor.pick((decor.metal, decor.dark_metal))
    height = decor.uniform(1.4, 1.65)
    shade = decor.glow((1.0, 0.84, 0.62), decor.uniform(0.6, 0.9))
    thing.cylinder((0, 0, 0), 0.025, 0.14, metal)
    thing.cylinder((0, 0, 0.02), height, 0.011, metal)
    thing.begin_group()
    thing.cylinder((0, 0, height - 0.12), 0.26, 0.19, shade, 0.13)
    thing.torus((0, 0, height - 0.12), 0.188, 0.006, metal)
    thing.torus((0, 0, height + 0.14), 0.129, 0.006, metal)
    return thing


def pendant_lamp(decor: Decor) -> Assembly:
    """Hangs from the ceiling at z = 0."""
    thing = Assembly()
    glow = decor.glow((1.0, 0.93, 0.82), 1.4)
    thing.cylinder((0, 0, -0.03), 0.03, 0.06, decor.white_paint)
    thing.cylinder((0, 0, -PENDANT_DROP + 0.1), PENDANT_DROP - 0.1, 0.006, decor.dark_metal)
    thing.begin_group()
    if decor.chance(0.5):
        thing.ellipsoid((0, 0, -PENDANT_DROP), (0.17, 0.17, 0.14), glow)
    else:
        thing.cylinder((0, 0, -PENDANT_DROP), 0.14, 0.22, decor.paint(), 0.07)
        thing.ellipsoid((0, 0, -PENDANT_DROP + 0.005), (0.11, 0.11, 0.06), glow)
        thing.torus((0, 0, -PENDANT_DROP), 0.218, 0.008, decor.metal)
    return thing


def ceiling_panel(decor: Decor, wide: float, deep: float) -> Assembly:
    """Fixed under the ceiling at z = 0."""
    thing = Assembly()
    thing.rounded_box((0, 0, -0.02), (wide, deep, 0.04), 0.015, decor.white_paint)
    thing.box((0, 0, -0.041), (wide - 0.08, deep - 0.08, 0.004), decor.glow((1.0, 0.97, 0.93), 1.6))
    return thing


def radiator(decor: Decor, wide: float) -> Assembly:
    thing, fins = Assembly(), max(4, int(wide / 0.075))
    for index in range(fins):
        x = (index - (fins - 1) / 2) * wide / fins
        thing.rounded_box((x, -0.09, 0.38), (wide / fins * 0.72, 0.09, 0.5), 0.02, decor.white_paint)
    thing.rod((-wide / 2, -0.09, 0.2), (wide / 2 + 0.06, -0.09, 0.2), 0.016, decor.white_paint)
    thing.cylinder((wide / 2 + 0.05, -0.09, 0), 0.2, 0.011, decor.metal)
    return thing


def curtains(decor: Decor, opening_wide: float, top: float, bottom: float) -> Assembly:
    """Two pleated curtains on a rod, drawn to the sides of an opening that is centred at x = 0."""
    thing, fabric = Assembly(), decor.fabric()
    span = opening_wide / 2 + 0.28
    thing.rod((-span, -0.10, top + 0.03), (span, -0.10, top + 0.03), 0.012, decor.dark_metal)
    for side in (-1, 1):
        thing.begin_group()
        thing.ellipsoid((side * span, -0.10, top + 0.03), (0.028, 0.028, 0.028), decor.dark_metal)
        for index in range(6):
            x = side * (span - 0.06 - index * 0.062)
            y = -0.10 + 0.014 * (-1) ** index
            thing.cylinder((x, y, bottom), top - bottom, decor.uniform(0.036, 0.042), fabric, 0.031)
            if index % 2 == 0:
                thing.torus((x, -0.10, top + 0.03), 0.022, 0.004, decor.metal, turn_about("y", 90))
    return thing


def rug(decor: Decor, wide: float, deep: float) -> Assembly:
    thing = Assembly()
    thing.box((0, 0, 0.005), (wide, deep, 0.01), decor.rug())
    return thing


def round_rug(decor: Decor, radius: float) -> Assembly:
    thing = Assembly()
    thing.cylinder((0, 0, 0), 0.01, radius, decor.rug())
    return thing
