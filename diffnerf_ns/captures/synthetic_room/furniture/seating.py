"""Chairs, stools, sofas and beds; fronts towards -y, metres."""

from __future__ import annotations

from diffnerf_ns.captures.synthetic_room.assembly import Assembly, turn_about
from diffnerf_ns.captures.synthetic_room.decor import Decor

SEAT_HEIGHT = 0.45


def chair(decor: Decor) -> Assembly:
    thing, wood = Assembly(), decor.pick((decor.main_wood, decor.second_wood, decor.white_paint))
    wide, deep = 0.43, 0.42
    thing.rounded_box((0, 0, SEAT_HEIGHT - 0.02), (wide, deep, 0.04), 0.015, wood)
    if decor.chance(0.5):
        thing.rounded_box((0, 0, SEAT_HEIGHT + 0.018), (wide - 0.04, deep - 0.04, 0.04), 0.02, decor.fabric())
    for x in (-1, 1):
        thing.rod((x * 0.17, -0.17, SEAT_HEIGHT - 0.03), (x * 0.2, -0.2, 0), 0.019, wood, 0.013)
        thing.rod((x * 0.17, 0.17, SEAT_HEIGHT - 0.03), (x * 0.2, 0.22, 0), 0.019, wood, 0.013)
    thing.begin_group()
    lean, top = 0.07, 0.92
    for x in (-0.18, 0.18):
        thing.rod((x, 0.18, SEAT_HEIGHT - 0.02), (x, 0.18 + lean, top), 0.017, wood)
    if decor.chance(0.5):
        for height in (0.62, 0.74, 0.87):
            y = 0.18 + lean * (height - SEAT_HEIGHT) / (top - SEAT_HEIGHT)
            thing.rounded_box((0, y, height), (0.37, 0.018, 0.065), 0.008, wood, turn_about("x", -8))
    else:
        thing.rounded_box((0, 0.18 + lean, top - 0.03), (0.42, 0.025, 0.09), 0.012, wood, turn_about("x", -8))
        for x in (-0.11, -0.037, 0.037, 0.11):
            thing.rod((x, 0.185, SEAT_HEIGHT - 0.01), (x, 0.18 + lean * 0.9, top - 0.06), 0.008, wood)
    return thing


def stool(decor: Decor) -> Assembly:
    thing, wood = Assembly(), decor.second_wood
    thing.cylinder((0, 0, 0.42), 0.035, 0.17, wood)
    thing.torus((0, 0, 0.455), 0.15, 0.02, decor.fabric())
    thing.cylinder((0, 0, 0.455), 0.018, 0.15, decor.fabric())
    for x, y in ((0.14, 0), (-0.07, 0.12), (-0.07, -0.12)):
        thing.rod((x * 0.7, y * 0.7, 0.43), (x * 1.25, y * 1.25, 0), 0.017, wood)
    thing.torus((0, 0, 0.17), 0.145, 0.008, decor.metal)
    return thing


def pouf(decor: Decor) -> Assembly:
    thing, fabric = Assembly(), decor.fabric()
    thing.ellipsoid((0, 0, 0.19), (0.3, 0.3, 0.19), fabric)
    thing.torus((0, 0, 0.19), 0.27, 0.035, fabric)
    return thing


def sofa(decor: Decor, seats: int) -> Assembly:
    thing, fabric = Assembly(), decor.fabric()
    seat, arm, deep = 0.62, 0.16, 0.86
    wide = seats * seat + 2 * arm
    for x in (-wide / 2 + 0.08, wide / 2 - 0.08):
        for y in (-deep / 2 + 0.08, deep / 2 - 0.08):
            thing.cylinder((x, y, 0), 0.09, 0.018, decor.second_wood, 0.026)
    thing.rounded_box((0, 0, 0.19), (wide - 0.02, deep - 0.02, 0.2), 0.03, fabric)
    thing.rounded_box((0, deep / 2 - 0.12, 0.5), (wide - 0.06, 0.22, 0.66), 0.07, fabric, turn_about("x", -5))
    thing.begin_group()
    for side in (-1, 1):
        thing.rounded_box((side * (wide - arm) / 2, -0.01, 0.36), (arm, deep, 0.54), 0.06, fabric)
    thing.begin_group()
    for index in range(seats):
        x = (index - (seats - 1) / 2) * seat
        thing.rounded_box((x, -0.08, 0.36), (seat - 0.012, deep - 0.22, 0.16), 0.055, fabric)
    for _ in range(int(decor.generator.integers(1, seats + 2))):
        x = (decor.uniform(-0.42, 0.42)) * (seats * seat - 0.3)
        turn = turn_about("x", -22) @ turn_about("y", decor.uniform(-14, 14))
        size = decor.uniform(0.34, 0.44)
        thing.rounded_box((x, 0.14, 0.43 + size * 0.42), (size, 0.13, size), 0.062, decor.fabric(), turn)
    return thing


def bed(decor: Decor) -> Assembly:
    """Its head is at +y, against the wall."""
    thing, wood = Assembly(), decor.main_wood
    wide, long = decor.pick((0.95, 1.45)), 2.02
    for x in (-wide / 2 + 0.05, wide / 2 - 0.05):
        for y in (-long / 2 + 0.06, long / 2 - 0.06):
            thing.box((x, y, 0.11), (0.07, 0.07, 0.22), wood)
    thing.box((0, 0, 0.24), (wide, long, 0.12), wood)
    thing.rounded_box((0, long / 2 - 0.03, 0.55), (wide + 0.04, 0.06, 0.8), 0.025, wood)
    thing.rounded_box((0, -0.03, 0.39), (wide - 0.04, long - 0.1, 0.2), 0.06, decor.white_paint)
    thing.begin_group()
    thing.rounded_box((0, -0.28, 0.43), (wide + 0.05, long - 0.55, 0.19), 0.05, decor.fabric())
    if decor.chance(0.6):
        thing.rounded_box((0, -0.72, 0.485), (wide + 0.07, 0.5, 0.11), 0.04, decor.fabric())
    pillows = 1 if wide < 1.2 else 2
    for index in range(pillows):
        x = (index - (pillows - 1) / 2) * 0.68
        turn = turn_about("x", 24) @ turn_about("z", decor.uniform(-6, 6))
        thing.ellipsoid((x, long / 2 - 0.28, 0.56), (0.32, 0.21, 0.085), decor.fabric(), turn)
    return thing
