"""Tables and desks, with things on them; metres."""

from __future__ import annotations

import math

from diffnerf_ns.captures.synthetic_room.assembly import Assembly
from diffnerf_ns.captures.synthetic_room.decor import Decor
from diffnerf_ns.captures.synthetic_room.furniture.small_things import TABLE_THINGS, monitor, mug, stack_of_books


def dining_table(decor: Decor, wide: float, deep: float) -> Assembly:
    thing, top, height = Assembly(), decor.worktop(), 0.74
    legs = decor.pick((decor.main_wood, decor.dark_metal, decor.white_paint))
    thing.rounded_box((0, 0, height - 0.02), (wide, deep, 0.04), 0.014, top)
    thing.box((0, 0, height - 0.075), (wide - 0.2, deep - 0.16, 0.07), legs)
    round_legs = decor.chance(0.5)
    for x in (-wide / 2 + 0.07, wide / 2 - 0.07):
        for y in (-deep / 2 + 0.07, deep / 2 - 0.07):
            if round_legs:
                thing.cylinder((x, y, 0), height - 0.04, 0.018, legs, 0.032)
            else:
                thing.box((x, y, height / 2 - 0.02), (0.055, 0.055, height - 0.04), legs)
    _lay_things(thing, decor, wide - 0.15, deep - 0.15, height, int(decor.generator.integers(2, 5)))
    return thing


def round_table(decor: Decor, radius: float, height: float) -> Assembly:
    thing, top = Assembly(), decor.worktop()
    leg = decor.pick((decor.second_wood, decor.metal, decor.dark_metal))
    thing.cylinder((0, 0, height - 0.03), 0.03, radius, top)
    thing.torus((0, 0, height - 0.015), radius, 0.015, top)
    if decor.chance(0.5):
        thing.cylinder((0, 0, 0.03), height - 0.06, 0.05, leg, 0.035)
        thing.cylinder((0, 0, 0), 0.035, radius * 0.6, leg, radius * 0.5)
    else:
        for index in range(3):
            angle = index * 2.0944 + 0.4
            x, y = radius * 0.75 * math.cos(angle), radius * 0.75 * math.sin(angle)
            thing.rod((x * 0.8, y * 0.8, height - 0.03), (x * 1.1, y * 1.1, 0), 0.02, leg, 0.013)
    side = radius * 1.25
    _lay_things(thing, decor, side, side, height, int(decor.generator.integers(1, 4)))
    return thing


def desk(decor: Decor) -> Assembly:
    """Its user sits at -y."""
    thing, top, wood = Assembly(), decor.worktop(), decor.main_wood
    wide, deep, height = decor.uniform(1.1, 1.5), 0.62, 0.74
    thing.rounded_box((0, 0, height - 0.0175), (wide, deep, 0.035), 0.01, top)
    for y in (-deep / 2 + 0.05, deep / 2 - 0.05):
        thing.box((-wide / 2 + 0.05, y, height / 2 - 0.0175), (0.05, 0.05, height - 0.035), wood)
    thing.box((wide / 2 - 0.22, 0, height / 2), (0.4, deep - 0.06, height - 0.037), wood)
    thing.box((-0.2, deep / 2 - 0.04, height - 0.2), (wide - 0.45, 0.02, 0.3), wood)
    for index in range(3):
        z = 0.14 + 0.21 * index
        thing.box((wide / 2 - 0.22, -deep / 2 + 0.024, z), (0.36, 0.016, 0.19), decor.second_wood)
        thing.rod((wide / 2 - 0.27, -deep / 2, z), (wide / 2 - 0.17, -deep / 2, z), 0.008, decor.metal)
    thing.put(monitor(decor), (-0.15, 0.1, height), decor.uniform(-10, 10))
    thing.put(mug(decor), (0.3, -0.12, height), decor.uniform(0, 360))
    thing.put(stack_of_books(decor), (wide / 2 - 0.2, 0.1, height), decor.uniform(-20, 20))
    return thing


def _lay_things(thing: Assembly, decor: Decor, wide: float, deep: float, height: float, count: int) -> None:
    """Spreads small things over a table top without overlap: one per slot of a jittered row."""
    slots = max(count, 1)
    kinds = [TABLE_THINGS[k] for k in decor.generator.permutation(len(TABLE_THINGS))[:slots]]
    for index, make in enumerate(kinds):
        x = ((index + 0.5) / slots - 0.5) * wide
        free = max(deep / 2 - 0.14, 0.0)
        thing.put(make(decor), (x, decor.uniform(-free, free), height), decor.uniform(0, 360))
