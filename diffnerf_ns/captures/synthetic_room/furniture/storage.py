"""Shelves, cupboards and sideboards; backs at +y, metres."""

from __future__ import annotations

from diffnerf_ns.captures.synthetic_room.assembly import Assembly
from diffnerf_ns.captures.synthetic_room.decor import Decor
from diffnerf_ns.captures.synthetic_room.furniture.small_things import (
    SHELF_THINGS,
    TABLE_THINGS,
    row_of_books,
)


def bookshelf(decor: Decor, wide: float, height: float) -> Assembly:
    thing, wood, deep, board = Assembly(), decor.pick((decor.main_wood, decor.white_paint)), 0.3, 0.022
    shelves = max(2, round(height / 0.36))
    step = (height - board) / shelves
    for x in (-wide / 2 + board / 2, wide / 2 - board / 2):
        thing.box((x, 0, height / 2), (board, deep, height), wood)
    thing.box((0, deep / 2 - 0.006, height / 2), (wide - 2 * board, 0.012, height), wood)
    for index in range(shelves + 1):
        thing.box((0, 0, index * step + board / 2), (wide - 2 * board, deep - 0.014, board), wood)
    for index in range(shelves):
        _fill_shelf(thing, decor, wide - 2 * board - 0.02, index * step + board, step - board)
    if decor.chance(0.5) and height < 1.9:
        thing.put(decor.pick(SHELF_THINGS)(decor), (decor.uniform(-0.2, 0.2), 0, height), decor.uniform(0, 360))
    return thing


def wall_shelf(decor: Decor) -> Assembly:
    """Hangs with its back on the wall at y = 0."""
    thing, wide, deep = Assembly(), decor.uniform(0.6, 1.0), 0.22
    thing.box((0, -deep / 2, 0), (wide, deep, 0.028), decor.main_wood)
    for x in (-wide / 3, wide / 3):
        thing.box((x, -0.012, -0.08), (0.025, 0.02, 0.14), decor.dark_metal)
        thing.rod((x, -0.01, -0.14), (x, -deep + 0.05, -0.016), 0.008, decor.dark_metal)
    books = row_of_books(decor, wide * 0.5, 0.26, 0.17)
    thing.put(books, (-wide * 0.2, -deep / 2, 0.014))
    thing.put(decor.pick(SHELF_THINGS)(decor), (wide * 0.3, -deep / 2, 0.014), decor.uniform(0, 360))
    return thing


def sideboard(decor: Decor) -> Assembly:
    thing = Assembly()
    body = decor.pick((decor.main_wood, decor.second_wood, decor.white_paint))
    front = decor.pick((decor.main_wood, decor.second_wood, decor.paint()))
    wide, deep, height = decor.uniform(0.9, 1.6), 0.42, decor.uniform(0.6, 0.85)
    for x in (-wide / 2 + 0.06, wide / 2 - 0.06):
        for y in (-deep / 2 + 0.05, deep / 2 - 0.05):
            thing.cylinder((x, y, 0), 0.12, 0.014, decor.metal, 0.02)
    thing.box((0, 0, (height + 0.12) / 2), (wide, deep, height - 0.12), body)
    columns, rows = max(2, round(wide / 0.45)), int(decor.generator.integers(1, 4))
    w, h = (wide - 0.04) / columns, (height - 0.16) / rows
    thing.begin_group()
    for column in range(columns):
        for row in range(rows):
            x, z = -wide / 2 + 0.02 + (column + 0.5) * w, 0.14 + (row + 0.5) * h
            thing.box((x, -deep / 2 - 0.006, z), (w - 0.012, 0.016, h - 0.012), front)
            thing.ellipsoid((x, -deep / 2 - 0.024, z + h * 0.2), (0.015, 0.013, 0.015), decor.metal)
    kinds = decor.generator.permutation(len(TABLE_THINGS))[: max(2, int(wide / 0.42))]
    for index, kind in enumerate(kinds):
        x = ((index + 0.5) / len(kinds) - 0.5) * (wide - 0.1)
        thing.put(TABLE_THINGS[kind](decor), (x, decor.uniform(-0.04, 0.04), height), decor.uniform(0, 360))
    return thing


def wardrobe(decor: Decor) -> Assembly:
    thing, wide, deep, height = Assembly(), decor.uniform(0.95, 1.3), 0.58, decor.uniform(1.85, 2.1)
    body = decor.pick((decor.main_wood, decor.second_wood, decor.white_paint))
    thing.box((0, 0, 0.04), (wide - 0.04, deep - 0.06, 0.08), decor.dark_metal)
    thing.box((0, 0, height / 2 + 0.04), (wide, deep, height - 0.08), body)
    thing.box((0, 0, height + 0.012), (wide + 0.05, deep + 0.04, 0.03), body)
    for side in (-1, 1):
        x = side * wide / 4
        thing.box((x, -deep / 2 - 0.009, height / 2 + 0.04), (wide / 2 - 0.014, 0.02, height - 0.12), body)
        thing.box((x, -deep / 2 - 0.02, height * 0.72), (wide / 2 - 0.14, 0.012, height * 0.4), decor.second_wood)
        thing.box((x, -deep / 2 - 0.02, height * 0.27), (wide / 2 - 0.14, 0.012, height * 0.38), decor.second_wood)
        knob = side * 0.035
        thing.rod((knob, -deep / 2 - 0.04, height * 0.44), (knob, -deep / 2 - 0.04, height * 0.54), 0.008, decor.metal)
    return thing


def _fill_shelf(thing: Assembly, decor: Decor, wide: float, floor: float, clear: float) -> None:
    thing.begin_group()
    x = -wide / 2
    while x < wide / 2 - 0.16:
        length = min(decor.uniform(0.22, 0.45), wide / 2 - x)
        if decor.chance(0.68):
            row = row_of_books(decor, length, min(clear - 0.02, 0.3), 0.21)
            thing.put(row, (x + length / 2, -0.03, floor))
        elif decor.chance(0.8):
            small = decor.pick(SHELF_THINGS)(decor)
            low, high = small.bounding_box()
            reach = max(-low[0], high[0], -low[1], high[1])
            if high[2] < clear - 0.01 and reach < min(0.14, length / 2):
                thing.put(small, (x + length / 2, 0.0, floor), decor.uniform(0, 360))
        x += length + 0.02
