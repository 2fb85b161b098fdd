"""Walls, and the doors and windows in them: panes, frames, reveals, sills, doorways."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.synthetic_room.assembly import Assembly, Part
from diffnerf_ns.captures.synthetic_room.decor import Decor
from diffnerf_ns.captures.synthetic_room.furniture.fittings import curtains
from diffnerf_ns.captures.synthetic_room.primitives import PrimitiveKind

WALL_THICKNESS = 0.2
UP = np.array([0.0, 0.0, 1.0])
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Opening:
    """A hole in a wall: extent along the wall and height above the floor, metres."""

    start: float
    stop: float
    bottom: float
    top: float
    is_window: bool

    @property
    def middle(self) -> float:
        return (self.start + self.stop) / 2

    @property
    def wide(self) -> float:
        return self.stop - self.start


@dataclass
class Wall:
    """One wall; positions along it run from -length/2 to length/2."""

    foot: Vector
    """World point at the middle of the wall on the floor."""
    inward: Vector
    """Unit normal into the room."""
    length: float
    height: float
    openings: list[Opening] = field(default_factory=list)

    @property
    def along(self) -> Vector:
        return np.cross(UP, self.inward)

    @property
    def yaw_degrees(self) -> float:
        """The turn that puts an object's back (+y) against this wall."""
        return float(np.degrees(np.arctan2(self.inward[0], -self.inward[1])))

    def at(self, position: float, into_room: float = 0.0, height: float = 0.0) -> Vector:
        return self.foot + position * self.along + into_room * self.inward + height * UP

    def rectangle(self, material: int) -> Part:
        rotation = np.stack([self.along, UP, self.inward], axis=1)
        size = (self.length / 2, self.height / 2, 0.0, 0.0)
        return Part(PrimitiveKind.RECTANGLE, self.at(0, 0, self.height / 2), size, material, rotation)

    def holes(self) -> list[tuple[float, float, float, float]]:
        """Openings in the frame of `rectangle`."""
        middle = self.height / 2
        return [(hole.start, hole.stop, hole.bottom - middle, hole.top - middle) for hole in self.openings]


def window(decor: Decor, hole: Opening) -> Assembly:
    """Lies in the wall's frame: x along the wall, y = 0 its inner face, y > 0 outside."""
    thing = Assembly()
    white = decor.white_paint
    middle_height = (hole.bottom + hole.top) / 2
    high = hole.top - hole.bottom
    _reveal(thing, hole, white, white)
    thing.begin_group()
    y, bar = WALL_THICKNESS - 0.05, 0.05
    for x in (hole.start + bar / 2, hole.stop - bar / 2):
        thing.box((x, y, middle_height), (bar, 0.05, high), white)
    for z in (hole.bottom + bar / 2, hole.top - bar / 2):
        thing.box((hole.middle, y, z), (hole.wide, 0.05, bar), white)
    panes = max(1, round(hole.wide / 0.6))
    for index in range(1, panes):
        x = hole.start + hole.wide * index / panes
        thing.box((x, y, middle_height), (0.045, 0.045, high), white)
    if decor.chance(0.5):
        thing.box((hole.middle, y, hole.bottom + 0.68 * high), (hole.wide, 0.04, 0.035), white)
    thing.begin_group()
    thing.rounded_box((hole.middle, -0.03, hole.bottom - 0.015), (hole.wide + 0.12, 0.1, 0.03), 0.01, white)
    if decor.chance(0.7):
        bottom = 0.06 if decor.chance(0.5) else hole.bottom - 0.15
        thing.put(curtains(decor, hole.wide, hole.top + 0.1, bottom), (hole.middle, 0.0, 0.0))
    return thing


def door(decor: Decor, hole: Opening) -> Assembly:
    """A closed door in the wall's frame."""
    thing, leaf = Assembly(), decor.pick((decor.white_paint, decor.main_wood, decor.paint()))
    _reveal(thing, hole, decor.white_paint, decor.main_wood)
    _casing(thing, hole, decor.white_paint)
    thing.begin_group()
    y = 0.06
    thing.box((hole.middle, y, hole.top / 2), (hole.wide, 0.04, hole.top), leaf)
    for z, high in ((0.52, 0.72), (1.42, 0.86)):
        thing.rounded_box((hole.middle, y - 0.02, z), (hole.wide - 0.26, 0.022, high), 0.01, leaf)
        thing.box((hole.middle, y - 0.027, z), (hole.wide - 0.36, 0.014, high - 0.1), leaf)
    x = hole.stop - 0.08
    thing.box((x, y - 0.024, 1.0), (0.045, 0.01, 0.2), decor.metal)
    thing.rod((x, y - 0.02, 1.03), (x, y - 0.065, 1.03), 0.011, decor.metal)
    thing.rod((x + 0.01, y - 0.065, 1.03), (x - 0.11, y - 0.065, 1.03), 0.01, decor.metal)
    return thing


def doorway(decor: Decor, hole: Opening, floor_material: int, wall_material: int) -> Assembly:
    """An open passage in the wall's frame with a short corridor behind it."""
    thing = Assembly()
    _reveal(thing, hole, decor.white_paint, floor_material)
    _casing(thing, hole, decor.white_paint)
    thing.begin_group()
    deep, wide, high = 1.5, hole.wide + 1.6, 2.4
    x, y = hole.middle, WALL_THICKNESS + deep / 2
    thing.box((x, y + 0.02, -0.05), (wide, deep + 0.04, 0.1), floor_material)
    thing.box((x, y, high + 0.05), (wide, deep, 0.1), decor.white_paint)
    thing.box((x, WALL_THICKNESS + deep + 0.05, high / 2), (wide, 0.1, high), wall_material)
    for side in (-1, 1):
        thing.box((x + side * (wide / 2 + 0.05), y, high / 2), (0.1, deep, high), wall_material)
    return thing


def skirting(decor: Decor, wall: Wall) -> Assembly:
    """Boards along the foot of a wall, interrupted by its doors; in the wall's frame."""
    thing = Assembly()
    gaps = sorted((hole.start, hole.stop) for hole in wall.openings if not hole.is_window)
    start = -wall.length / 2
    for gap_start, gap_stop in [*gaps, (wall.length / 2, wall.length / 2)]:
        stop = gap_start - (0.07 if gap_stop > gap_start else 0.0)
        if stop - start > 0.05:
            thing.box(((start + stop) / 2, -0.006, 0.04), (stop - start, 0.012, 0.08), decor.white_paint)
        start = gap_stop + 0.07
    return thing


def _reveal(thing: Assembly, hole: Opening, material: int, sill_material: int) -> None:
    side, deep = 0.04, WALL_THICKNESS
    high = hole.top - hole.bottom
    for x in (hole.start - side / 2, hole.stop + side / 2):
        thing.box((x, deep / 2 + 1e-3, (hole.bottom + hole.top) / 2), (side, deep, high + 2 * side), material)
    thing.box((hole.middle, deep / 2 + 1e-3, hole.top + side / 2), (hole.wide, deep, side), material)
    thing.box((hole.middle, deep / 2 + 1e-3, hole.bottom - side / 2), (hole.wide, deep, side), sill_material)


def _casing(thing: Assembly, hole: Opening, material: int) -> None:
    for x in (hole.start - 0.03, hole.stop + 0.03):
        thing.box((x, -0.008, hole.top / 2), (0.07, 0.018, hole.top), material)
    thing.box((hole.middle, -0.008, hole.top + 0.035), (hole.wide + 0.13, 0.018, 0.07), material)
