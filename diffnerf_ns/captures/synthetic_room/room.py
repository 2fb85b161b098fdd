"""A furnished room from a seed.

World frame: metres, z up, the floor at z = 0 and its middle at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.assembly import Part
from diffnerf_ns.captures.synthetic_room.decor import Decor
from diffnerf_ns.captures.synthetic_room.furnishing import furnish
from diffnerf_ns.captures.synthetic_room.illumination import light_room
from diffnerf_ns.captures.synthetic_room.layout import FloorPlan
from diffnerf_ns.captures.synthetic_room.lights import Lighting
from diffnerf_ns.captures.synthetic_room.materials import MaterialLibrary, MaterialTable
from diffnerf_ns.captures.synthetic_room.openings import UP, Opening, Wall, door, doorway, skirting, window
from diffnerf_ns.captures.synthetic_room.primitives import PrimitiveKind
from diffnerf_ns.captures.synthetic_room.scene import Scene, build_scene

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """Everything that rendering, camera paths and tests need to know of one room."""

    seed: int
    half_extents: tuple[float, float, float]
    """|x|, |y| of the walls and half the height, metres."""
    scene: Scene
    materials: MaterialTable
    lighting: Lighting
    obstacle_low: Tensor
    """[K, 3] smallest corners of what a camera must stay away from, metres."""
    obstacle_high: Tensor
    """[K, 3]"""
    targets: Tensor
    """[T, 3] middles of the things worth looking at."""
    furniture: tuple[str, ...]
    """Names of what stands in the room."""

    @property
    def height(self) -> float:
        return 2.0 * self.half_extents[2]

    def to(self, device: torch.device | str) -> Room:
        """The room with the tensors that rendering uses on a device."""
        table = MaterialTable(**{name: value.to(device) for name, value in vars(self.materials).items()})
        return Room(**{**vars(self), "scene": self.scene.to(device), "materials": table})


def generate_room(seed: int, furniture_amount: float = 1.0) -> Room:
    """Builds the room of a seed; `furniture_amount` scales how many things stand in it (0 is an empty room)."""
    generator = np.random.default_rng([seed, 7919])
    library = MaterialLibrary()
    decor = Decor(generator, library)
    half_x, half_y, height = decor.uniform(1.9, 2.9), decor.uniform(1.7, 2.5), decor.uniform(2.45, 2.8)
    walls = _walls(half_x, half_y, height)
    _cut_openings(decor, walls)
    floor_material, ceiling_material, wall_material = decor.floor(), decor.ceiling(), decor.wall()
    accent = int(generator.integers(4))
    wall_materials = [decor.wall() if index == accent else wall_material for index in range(4)]
    shell, holes = _shell(half_x, half_y, height, walls, [floor_material, ceiling_material, *wall_materials])

    groups = _fit_openings(decor, walls, floor_material, wall_material)
    plan = FloorPlan(half_x, half_y, height, walls, generator)
    _keep_doors_free(plan)
    furnish(plan, decor, furniture_amount)
    for thing in plan.placed:
        groups.extend(thing.groups)

    colours = np.array([library.materials[part.material].first for part in shell])
    lighting = light_room(decor, plan, colours)
    table = MaterialTable.of(library, torch.device("cpu"))
    boxes = [_bounds(group) for thing in plan.placed for group in thing.groups]
    solid = [thing for thing in plan.placed if thing.high[2] > 0.2]
    middles = [thing.middle for thing in solid] or [np.array([0.0, 0.0, 0.8])]
    return Room(
        seed=seed,
        half_extents=(half_x, half_y, height / 2),
        scene=build_scene(shell, holes, groups),
        materials=table,
        lighting=lighting,
        obstacle_low=torch.tensor(np.array([low for low, _ in boxes]), dtype=torch.float64).reshape(-1, 3),
        obstacle_high=torch.tensor(np.array([high for _, high in boxes]), dtype=torch.float64).reshape(-1, 3),
        targets=torch.tensor(np.array(middles), dtype=torch.float64),
        furniture=tuple(thing.name for thing in plan.placed),
    )


def _walls(half_x: float, half_y: float, height: float) -> list[Wall]:
    def wall(x: float, y: float, length: float) -> Wall:
        foot = np.array([x, y, 0.0])
        return Wall(foot, -foot / np.linalg.norm(foot), length, height)

    return [
        wall(half_x, 0, 2 * half_y),
        wall(-half_x, 0, 2 * half_y),
        wall(0, half_y, 2 * half_x),
        wall(0, -half_y, 2 * half_x),
    ]


def _cut_openings(decor: Decor, walls: list[Wall]) -> None:
    order = decor.generator.permutation(4)
    door_wall = walls[order[0]]
    edge = door_wall.length / 2 - 0.75
    middle = decor.uniform(-edge, edge)
    door_wall.openings.append(Opening(middle - 0.42, middle + 0.42, 0.0, 2.03, is_window=False))
    for index in range(1, 3 if decor.chance(0.45) else 2):
        wall = walls[order[index]]
        wide = decor.uniform(0.9, min(1.9, wall.length - 1.6))
        edge = wall.length / 2 - wide / 2 - 0.45
        middle = decor.uniform(-edge, edge)
        bottom = decor.uniform(0.8, 1.0)
        top = min(bottom + decor.uniform(1.0, 1.3), wall.height - 0.25)
        wall.openings.append(Opening(middle - wide / 2, middle + wide / 2, bottom, top, is_window=True))


def _shell(
    half_x: float, half_y: float, height: float, walls: list[Wall], materials: list[int]
) -> tuple[list[Part], list[list[tuple[float, float, float, float]]]]:
    size = (half_x, half_y, 0.0, 0.0)
    floor = Part(PrimitiveKind.RECTANGLE, np.zeros(3), size, materials[0], np.eye(3))
    upside_down = np.diag([1.0, -1.0, -1.0])
    ceiling = Part(PrimitiveKind.RECTANGLE, height * UP, size, materials[1], upside_down)
    parts = [floor, ceiling, *(wall.rectangle(material) for wall, material in zip(walls, materials[2:], strict=True))]
    return parts, [[], [], *(wall.holes() for wall in walls)]


def _fit_openings(decor: Decor, walls: list[Wall], floor_material: int, wall_material: int) -> list[list[Part]]:
    groups = []
    for wall in walls:
        rotation = np.stack([wall.along, -wall.inward, UP], axis=1)
        fittings = [skirting(decor, wall)]
        for hole in wall.openings:
            if hole.is_window:
                fittings.append(window(decor, hole))
            elif decor.chance(0.6):
                fittings.append(door(decor, hole))
            else:
                fittings.append(doorway(decor, hole, floor_material, wall_material))
        for fitting in fittings:
            groups.extend(fitting.placed(rotation, wall.foot))
    return groups


def _keep_doors_free(plan: FloorPlan) -> None:
    for wall in plan.walls:
        for hole in wall.openings:
            deep, bottom = (0.18, hole.bottom - 0.1) if hole.is_window else (0.85, 0.0)
            margin = 0.36 if hole.is_window else 0.05
            corners = np.stack(
                [wall.at(hole.start - margin, 0.0, bottom), wall.at(hole.stop + margin, deep, hole.top + 0.2)]
            )
            plan.keep_free(corners.min(0), corners.max(0))
            if hole.is_window:
                foot = np.stack([wall.at(hole.start - 0.3, 0.0, 0.0), wall.at(hole.stop + 0.3, 0.16, hole.bottom)])
                plan.keep_free(foot.min(0), foot.max(0))


def _bounds(group: list[Part]) -> tuple[Vector, Vector]:
    boxes = [part.bounding_box() for part in group]
    return np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
