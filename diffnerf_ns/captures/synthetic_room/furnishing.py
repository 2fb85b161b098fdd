"""What goes where: large pieces along the walls, a table group in the middle, small things in what is left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffnerf_ns.captures.synthetic_room.assembly import Assembly
from diffnerf_ns.captures.synthetic_room.decor import Decor
from diffnerf_ns.captures.synthetic_room.furniture import fittings, seating, small_things, storage, tables
from diffnerf_ns.captures.synthetic_room.layout import FloorPlan
from diffnerf_ns.captures.synthetic_room.openings import Wall


def furnish(plan: FloorPlan, decor: Decor, amount: float) -> None:
    """Fills a floor plan; `amount` scales the number of things, 1 is a lived-in room."""
    if amount <= 0:
        return
    _large_pieces(plan, decor, amount)
    _middle_of_the_room(plan, decor)
    _small_things(plan, decor, amount)
    _on_the_walls(plan, decor, amount)


def _large_pieces(plan: FloorPlan, decor: Decor, amount: float) -> None:
    lounge: list[tuple[str, Callable[[], Assembly]]] = [
        ("sofa", lambda: seating.sofa(decor, int(decor.generator.integers(2, 4)))),
        ("bed", lambda: seating.bed(decor)),
    ]
    rest: list[tuple[str, Callable[[], Assembly]]] = [
        ("bookshelf", lambda: storage.bookshelf(decor, decor.uniform(0.7, 1.1), decor.uniform(1.5, 2.1))),
        ("sideboard", lambda: storage.sideboard(decor)),
        ("desk", lambda: tables.desk(decor)),
        ("wardrobe", lambda: storage.wardrobe(decor)),
        ("bookshelf", lambda: storage.bookshelf(decor, decor.uniform(0.6, 0.9), decor.uniform(0.75, 1.2))),
    ]
    first = lounge[0 if decor.chance(0.65) else 1]
    order = [0, *(1 + decor.generator.permutation(len(rest) - 1))] if decor.chance(0.7) else range(len(rest))
    chosen = [first, *(rest[index] for index in order)][: max(1, round((3 + decor.uniform(0, 1.99)) * amount))]
    for name, make in chosen:
        wall = plan.place_at_wall(name, make())
        if wall is not None and name == "desk":
            _chair_at_desk(plan, decor, wall)
        if wall is not None and name == "sofa":
            _table_before_sofa(plan, decor, wall)


def _chair_at_desk(plan: FloorPlan, decor: Decor, wall: Wall) -> None:
    desk = plan.placed[-1]
    front = desk.middle * [1, 1, 0] + wall.inward * (_reach(desk, wall) + 0.1)
    side = front - wall.along * 0.12
    plan.place("chair", seating.chair(decor), side, wall.yaw_degrees + 180 + decor.uniform(-14, 14), ("desk",))


def _table_before_sofa(plan: FloorPlan, decor: Decor, wall: Wall) -> None:
    sofa = plan.placed[-1]
    spot = sofa.middle * [1, 1, 0] + wall.inward * (_reach(sofa, wall) + decor.uniform(0.65, 0.8))
    table = tables.round_table(decor, decor.uniform(0.32, 0.42), decor.uniform(0.38, 0.46))
    if plan.place("coffee table", table, spot, decor.uniform(0, 360)) and decor.chance(0.8):
        rug = fittings.rug(decor, decor.uniform(1.5, 1.9), decor.uniform(1.0, 1.3))
        if decor.chance(0.3):
            rug = fittings.round_rug(decor, decor.uniform(0.6, 0.75))
        _lay(plan, rug, spot, wall.yaw_degrees)


def _middle_of_the_room(plan: FloorPlan, decor: Decor) -> None:
    for _ in range(30):
        wide, deep = decor.uniform(1.1, 1.5), decor.uniform(0.75, 0.9)
        is_round = decor.chance(0.3)
        table = tables.round_table(decor, 0.5, 0.74) if is_round else tables.dining_table(decor, wide, deep)
        spot = np.array([decor.uniform(-0.5, 0.5) * plan.half_x, decor.uniform(-0.5, 0.5) * plan.half_y, 0.0])
        turned = decor.chance(0.5)
        if not plan.place("table", table, spot, 90.0 if turned else 0.0):
            continue
        half = np.array([0.5, 0.5] if is_round else [wide / 2, deep / 2])
        for angle in (0, 90, 180, 270):
            if decor.chance(0.75):
                _chair_at_table(plan, decor, spot, half, angle, turned)
        if decor.chance(0.4):
            _lay(plan, fittings.rug(decor, 2.0, 1.5), spot, 90.0 if turned else 0.0)
        return


def _chair_at_table(
    plan: FloorPlan, decor: Decor, spot: np.ndarray, half: np.ndarray, angle: float, turned: bool
) -> None:
    on_short_side = angle in (90, 270)
    away = (half[0] if on_short_side else half[1]) + decor.uniform(0.1, 0.3)
    yaw = angle + (90 if turned else 0)
    outwards = np.array([-np.sin(np.radians(yaw)), np.cos(np.radians(yaw)), 0.0])
    plan.place("chair", seating.chair(decor), spot + away * outwards, yaw + decor.uniform(-12, 12), ("table", "rug"))


def _small_things(plan: FloorPlan, decor: Decor, amount: float) -> None:
    for _ in range(round(decor.uniform(1.5, 3.4) * amount)):
        plan.place_on_floor("plant", small_things.potted_plant(decor, decor.uniform(0.6, 1.3)), near_wall=0.9)
    options: list[tuple[str, Callable[[], Assembly], float]] = [
        ("floor lamp", lambda: fittings.floor_lamp(decor), 0.9),
        ("boxes", lambda: small_things.cardboard_boxes(decor), 0.8),
        ("pouf", lambda: seating.pouf(decor), 0.3),
        ("waste basket", lambda: small_things.waste_basket(decor), 0.9),
        ("ball", lambda: small_things.ball(decor), 0.1),
        ("stool", lambda: seating.stool(decor), 0.4),
        ("books", lambda: small_things.stack_of_books(decor), 0.6),
    ]
    for index in decor.generator.permutation(len(options))[: round(4 * amount)]:
        name, make, near_wall = options[index]
        plan.place_on_floor(name, make(), near_wall=near_wall)


def _on_the_walls(plan: FloorPlan, decor: Decor, amount: float) -> None:
    for _ in range(round(decor.uniform(3.5, 6.4) * amount)):
        wide = decor.uniform(0.3, 0.95)
        plan.hang("picture", fittings.picture(decor, wide, wide * decor.uniform(0.65, 1.45)), decor.uniform(1.45, 1.7))
    if decor.chance(0.6 * amount):
        plan.hang("clock", small_things.clock(decor), decor.uniform(1.75, 1.95))
    for _ in range(round(decor.uniform(0, 2.2) * amount)):
        plan.hang("wall shelf", storage.wall_shelf(decor), decor.uniform(1.3, 1.6))
    if decor.chance(0.6):
        plan.place_at_wall("radiator", fittings.radiator(decor, decor.uniform(0.6, 1.1)))


def _lay(plan: FloorPlan, rug: Assembly, spot: np.ndarray, yaw_degrees: float) -> None:
    """Lays a rug under what stands there already, moved inwards where it would meet a wall."""
    rotated = rug.placed(np.eye(3), np.zeros(3))[0][0].bounding_box()[1][:2]
    reach = rotated[::-1] if round(yaw_degrees / 90) % 2 else rotated
    free = np.maximum(np.array([plan.half_x, plan.half_y]) - reach - 0.06, 0.0)
    at = np.array([*np.clip(spot[:2], -free, free), 0.0])
    everything = tuple({thing.name for thing in plan.placed if thing.name != "rug"})
    plan.place("rug", rug, at, round(yaw_degrees / 90) * 90.0, everything)


def _reach(thing, wall: Wall) -> float:
    """Half extent of a placed thing away from its wall."""
    return float(np.abs((thing.high - thing.low) / 2 @ wall.inward))
