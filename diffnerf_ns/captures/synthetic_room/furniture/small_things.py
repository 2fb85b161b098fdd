"""Things that stand on tables, shelves and floors. Each stands at the origin of its frame; metres."""

from __future__ import annotations

import math

from diffnerf_ns.captures.synthetic_room.assembly import Assembly, turn_about
from diffnerf_ns.captures.synthetic_room.decor import Decor


def vase(decor: Decor) -> Assembly:
    thing, material = Assembly(), decor.ceramic()
    height, radius = decor.uniform(0.14, 0.28), decor.uniform(0.045, 0.075)
    thing.cylinder((0, 0, 0), 0.02, radius * 0.6, material)
    thing.ellipsoid((0, 0, height * 0.42), (radius, radius, height * 0.42), material)
    thing.cylinder((0, 0, height * 0.74), height * 0.2, radius * 0.45, material, radius * 0.6)
    thing.torus((0, 0, height * 0.94), radius * 0.55, 0.008, material)
    if decor.chance(0.6):
        _sprigs(thing, decor, height * 0.9, decor.uniform(0.12, 0.25))
    return thing


def mug(decor: Decor) -> Assembly:
    thing, material = Assembly(), decor.ceramic()
    thing.cylinder((0, 0, 0), 0.095, 0.038, material, 0.042)
    thing.torus((0, 0, 0.095), 0.039, 0.004, material)
    thing.torus((0.045, 0, 0.05), 0.026, 0.006, material, turn_about("x", 90))
    return thing


def bowl_of_fruit(decor: Decor) -> Assembly:
    thing, material = Assembly(), decor.ceramic()
    thing.cylinder((0, 0, 0), 0.07, 0.055, material, 0.135)
    thing.torus((0, 0, 0.07), 0.13, 0.01, material)
    for index in range(5):
        angle = index * 2.4 + decor.uniform(-0.2, 0.2)
        place = (0.065 * math.cos(angle), 0.065 * math.sin(angle), 0.09)
        thing.ellipsoid(place, (0.042, 0.042, 0.039), decor.paint())
    thing.ellipsoid((0, 0, 0.14), (0.04, 0.04, 0.038), decor.paint())
    return thing


def stack_of_books(decor: Decor) -> Assembly:
    thing, height = Assembly(), 0.0
    for _ in range(int(decor.generator.integers(2, 6))):
        thick = decor.uniform(0.015, 0.04)
        extents = (decor.uniform(0.15, 0.21), decor.uniform(0.2, 0.27), thick)
        rotation = turn_about("z", decor.uniform(-14, 14))
        thing.box((0, 0, height + thick / 2), extents, decor.book(), rotation)
        height += thick
    return thing


def row_of_books(decor: Decor, length: float, tallest: float, deep: float) -> Assembly:
    """Upright books from -length/2 to length/2 along x, spines towards -y; the last ones may lean."""
    thing, x = Assembly(), -length / 2
    while True:
        thick, tall = decor.uniform(0.022, 0.05), tallest * decor.uniform(0.68, 0.97)
        if x + thick > length / 2:
            return thing
        if decor.chance(0.06) and x + 0.09 + thick < length / 2:
            lean = 9.0
            thing.box((x + 0.05, 0, tall / 2), (thick, deep * 0.9, tall * 0.94), decor.book(), turn_about("y", -lean))
            x += 0.05 + thick / 2 + 0.5 * tall * math.sin(math.radians(lean)) + 0.012
            thing.begin_group()
            continue
        depth = deep * decor.uniform(0.8, 1.0)
        thing.box((x + thick / 2, (depth - deep) / 2, tall / 2), (thick * 0.97, depth, tall), decor.book())
        x += thick


def table_lamp(decor: Decor) -> Assembly:
    thing, body = Assembly(), decor.ceramic()
    shade = decor.glow((1.0, 0.86, 0.66), decor.uniform(0.6, 0.9))
    thing.cylinder((0, 0, 0), 0.02, 0.075, body)
    thing.ellipsoid((0, 0, 0.10), (0.06, 0.06, 0.09), body)
    thing.cylinder((0, 0, 0.17), 0.10, 0.009, decor.metal)
    thing.cylinder((0, 0, 0.25), 0.19, 0.14, shade, 0.09)
    thing.torus((0, 0, 0.25), 0.139, 0.005, decor.dark_metal)
    return thing


def potted_plant(decor: Decor, height: float) -> Assembly:
    thing, pot = Assembly(), decor.ceramic()
    pot_height = 0.3 * height
    radius = 0.2 * height
    thing.cylinder((0, 0, 0), pot_height, radius * 0.7, pot, radius)
    thing.torus((0, 0, pot_height), radius * 0.98, 0.014, pot)
    _sprigs(thing, decor, pot_height * 0.95, height - pot_height, leaves=int(decor.generator.integers(14, 22)))
    return thing


def monitor(decor: Decor) -> Assembly:
    thing, dark = Assembly(), decor.dark_metal
    wide = decor.uniform(0.48, 0.6)
    thing.cylinder((0, 0.02, 0), 0.015, 0.11, dark)
    thing.box((0, 0.04, 0.13), (0.04, 0.02, 0.26), dark)
    thing.rounded_box((0, 0, 0.3), (wide, 0.035, wide * 0.6), 0.01, dark)
    thing.box((0, -0.0185, 0.303), (wide - 0.03, 0.002, wide * 0.6 - 0.03), decor.poster())
    thing.box((0, -0.26, 0.012), (0.42, 0.13, 0.02), decor.white_paint)
    return thing


def clock(decor: Decor) -> Assembly:
    """Hangs on a wall at y = 0, its face towards -y."""
    thing, radius = Assembly(), decor.uniform(0.11, 0.17)
    flat = turn_about("x", 90)
    thing.rod((0, 0, 0), (0, -0.03, 0), radius, decor.white_paint)
    thing.torus((0, -0.028, 0), radius, 0.014, decor.paint(), flat)
    for hour in range(12):
        angle = math.radians(30 * hour)
        x, z = 0.84 * radius * math.sin(angle), 0.84 * radius * math.cos(angle)
        thing.box((x, -0.031, z), (0.008, 0.004, 0.02), decor.dark_metal, turn_about("y", 30 * hour))
    thing.box((0.03, -0.034, 0.02), (0.009, 0.004, radius * 0.9), decor.dark_metal, turn_about("y", 60))
    thing.box((-0.02, -0.037, 0.02), (0.007, 0.003, radius * 0.75), decor.dark_metal, turn_about("y", -40))
    return thing


def toy_rings(decor: Decor) -> Assembly:
    thing = Assembly()
    thing.cylinder((0, 0, 0), 0.015, 0.07, decor.main_wood)
    thing.cylinder((0, 0, 0), 0.15, 0.01, decor.main_wood)
    for index in range(4):
        thing.torus((0, 0, 0.033 + 0.031 * index), 0.05 - 0.008 * index, 0.017, decor.paint())
    return thing


def ball(decor: Decor) -> Assembly:
    thing, radius = Assembly(), decor.uniform(0.07, 0.13)
    thing.ellipsoid((0, 0, radius), (radius, radius, radius), decor.fabric())
    return thing


def waste_basket(decor: Decor) -> Assembly:
    thing, material = Assembly(), decor.paint()
    thing.cylinder((0, 0, 0), 0.28, 0.10, material, 0.14)
    thing.torus((0, 0, 0.28), 0.138, 0.009, decor.metal)
    return thing


def cardboard_boxes(decor: Decor) -> Assembly:
    thing, height = Assembly(), 0.0
    side = decor.uniform(0.36, 0.5)
    for _ in range(int(decor.generator.integers(1, 4))):
        tall = decor.uniform(0.2, 0.36)
        rotation = turn_about("z", decor.uniform(-12, 12))
        card = decor.cardboard()
        thing.box((0, 0, height + tall / 2), (side, side * 0.75, tall), card, rotation)
        thing.box((0, 0, height + tall / 2), (0.06, side * 0.75 + 0.004, tall + 0.004), decor.white_paint, rotation)
        height += tall + 0.002
        side *= decor.uniform(0.7, 0.9)
    return thing


def _sprigs(thing: Assembly, decor: Decor, from_height: float, length: float, leaves: int = 8) -> None:
    """Stems with a leaf at each end, fanning out of a pot."""
    thing.begin_group()
    for index in range(leaves):
        angle, tilt = index * 2.39996, decor.uniform(0.15, 0.95)
        reach = length * decor.uniform(0.55, 0.95)
        aside = 0.8 * reach * math.sin(tilt)
        tip = (aside * math.cos(angle), aside * math.sin(angle), from_height + 0.8 * reach * math.cos(tilt))
        thing.rod((0, 0, from_height), tip, 0.004, decor.leaf_materials[0])
        leaf = turn_about("z", math.degrees(angle)) @ turn_about("y", math.degrees(tilt) + decor.uniform(-10, 35))
        size = min(0.12, length * 0.32)
        thing.ellipsoid(tip, (size * 0.09, size * 0.42, size), decor.pick(decor.leaf_materials), leaf)
        if index % 6 == 5:
            thing.begin_group()


TABLE_THINGS = (vase, mug, bowl_of_fruit, stack_of_books, table_lamp, toy_rings)
SHELF_THINGS = (vase, mug, toy_rings, ball, stack_of_books)
