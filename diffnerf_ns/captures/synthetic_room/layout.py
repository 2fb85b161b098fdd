"""Finding places: which parts of a room's floor and walls are taken, and where a thing still fits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.synthetic_room.assembly import Assembly, Part, turn_about
from diffnerf_ns.captures.synthetic_room.openings import Opening, Wall

Vector = npt.NDArray[np.float64]
WALL_GAP = 0.02
THING_GAP = 0.05


@dataclass(frozen=True)
class Placed:
    """A thing that stands in the room, with its axis-aligned box in the world (metres)."""

    name: str
    groups: list[list[Part]]
    low: Vector
    high: Vector

    @property
    def middle(self) -> Vector:
        return (self.low + self.high) / 2


@dataclass
class FloorPlan:
    """The room's inside is |x| <= half_x, |y| <= half_y."""

    half_x: float
    half_y: float
    height: float
    walls: list[Wall]
    generator: np.random.Generator
    placed: list[Placed] = field(default_factory=list)
    kept_free: list[tuple[Vector, Vector]] = field(default_factory=list)

    def place(
        self, name: str, thing: Assembly, at: Vector, yaw_degrees: float, may_touch: tuple[str, ...] = ()
    ) -> bool:
        """Puts a thing there unless it would leave the room or meet another one (but those named in `may_touch`)."""
        groups = thing.placed(turn_about("z", yaw_degrees), np.asarray(at, dtype=float))
        boxes = [part.bounding_box() for group in groups for part in group]
        low = np.min([box[0] for box in boxes], axis=0)
        high = np.max([box[1] for box in boxes], axis=0)
        if not self._is_free(low, high, may_touch):
            return False
        self.placed.append(Placed(name, groups, low, high))
        return True

    def place_at_wall(self, name: str, thing: Assembly, tries: int = 24) -> Wall | None:
        """Stands a thing with its back against some wall, clear of doors, and of windows that it would cover."""
        low, high = thing.bounding_box()
        for _ in range(tries):
            wall = self.walls[int(self.generator.integers(len(self.walls)))]
            room = wall.length / 2 - WALL_GAP
            if high[0] - low[0] > 2 * room:
                continue
            position = self.generator.uniform(-room - low[0], room - high[0])
            if self.generator.random() < 0.35:
                position = -room - low[0] if self.generator.random() < 0.5 else room - high[0]
            if any(_meets(hole, position + low[0], position + high[0], low[2], high[2]) for hole in wall.openings):
                continue
            if self.place(name, thing, wall.at(position, high[1] + WALL_GAP), wall.yaw_degrees):
                return wall
        return None

    def place_on_floor(self, name: str, thing: Assembly, tries: int = 40, near_wall: float = 0.0) -> bool:
        """Stands a thing anywhere; with `near_wall` (0..1) rather towards the walls than in the middle."""
        low, high = thing.bounding_box()
        reach = max(-low[0], high[0], -low[1], high[1])
        for _ in range(tries):
            free = np.array([self.half_x, self.half_y]) - reach - WALL_GAP
            spot = self.generator.uniform(-1, 1, 2)
            if near_wall > 0:
                axis = int(self.generator.integers(2))
                spot[axis] = np.sign(spot[axis]) * (1 - (1 - near_wall) * self.generator.random())
            if self.place(name, thing, np.array([*(spot * free), 0.0]), self.generator.uniform(0, 360)):
                return True
        return False

    def hang(self, name: str, thing: Assembly, height: float, tries: int = 20) -> bool:
        """Hangs a thing on a wall with its origin `height` metres above the floor."""
        low, high = thing.bounding_box()
        for _ in range(tries):
            wall = self.walls[int(self.generator.integers(len(self.walls)))]
            room = wall.length / 2 - 0.1
            if high[0] - low[0] > 2 * room:
                continue
            position = self.generator.uniform(-room - low[0], room - high[0])
            span = (position + low[0] - 0.32, position + high[0] + 0.32, height + low[2], height + high[2])
            if any(_meets(hole, *span) for hole in wall.openings):
                continue
            if self.place(name, thing, wall.at(position, 0.0, height), wall.yaw_degrees):
                return True
        return False

    def keep_free(self, low: Vector, high: Vector) -> None:
        self.kept_free.append((np.asarray(low, dtype=float), np.asarray(high, dtype=float)))

    def _is_free(self, low: Vector, high: Vector, may_touch: tuple[str, ...]) -> bool:
        inside = (np.abs(low[:2]) <= (self.half_x, self.half_y)).all() and (
            np.abs(high[:2]) <= (self.half_x, self.half_y)
        ).all()
        if not inside or high[2] > self.height:
            return False
        taken = [(other.low, other.high) for other in self.placed if other.name not in may_touch]
        return not any(
            (low - THING_GAP < other_high).all() and (high + THING_GAP > other_low).all()
            for other_low, other_high in [*taken, *self.kept_free]
        )


def _meets(hole: Opening, start: float, stop: float, bottom: float, top: float) -> bool:
    margin = 0.1
    return start < hole.stop + margin and stop > hole.start - margin and bottom < hole.top and top > hole.bottom - 0.05
