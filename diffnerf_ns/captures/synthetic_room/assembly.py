"""Building things from primitives: parts in an object's own frame, placed into the room.

Object frames stand on the floor at z = 0 with z up, -y to the front and +y to the back (towards a wall); metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.synthetic_room.primitives import PrimitiveKind

Matrix = npt.NDArray[np.float64]
Point = tuple[float, float, float]
IDENTITY = np.eye(3)


@dataclass(frozen=True)
class Part:
    """One primitive: `rotation` turns its own axes into those of the frame it is placed in."""

    kind: PrimitiveKind
    centre: Matrix
    size: tuple[float, float, float, float]
    material: int
    rotation: Matrix

    def bounding_box(self) -> tuple[Matrix, Matrix]:
        """Smallest and largest corner in the frame the part is placed in (metres)."""
        reach = np.abs(self.rotation) @ part_half_extents(self.kind, self.size)
        return self.centre - reach, self.centre + reach


def part_half_extents(kind: PrimitiveKind, size: tuple[float, float, float, float]) -> Matrix:
    if kind == PrimitiveKind.FRUSTUM:
        radius = max(size[1], size[2])
        return np.array([radius, radius, size[0]])
    if kind == PrimitiveKind.TORUS:
        return np.array([size[0] + size[1], size[0] + size[1], size[1]])
    if kind == PrimitiveKind.RECTANGLE:
        return np.array([size[0], size[1], 0.0])
    return np.array(size[:3])


def turn_about(axis: str, degrees: float) -> Matrix:
    """Rotation about one axis, counter-clockwise seen from its positive end."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=float),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=float),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=float),
    }[axis]


@dataclass
class Assembly:
    """Parts in groups; each group is culled as a whole, so parts that are close together share one."""

    groups: list[list[Part]] = field(default_factory=lambda: [[]])

    def begin_group(self) -> None:
        if self.groups[-1]:
            self.groups.append([])

    def add(self, kind: PrimitiveKind, centre: Point, size: tuple, material: int, rotation: Matrix = IDENTITY) -> None:
        a, b, c, d = (*size, 0.0, 0.0)[:4]
        self.groups[-1].append(Part(kind, np.asarray(centre, dtype=float), (a, b, c, d), material, rotation))

    def box(self, centre: Point, extents: Point, material: int, rotation: Matrix = IDENTITY) -> None:
        self.add(PrimitiveKind.BOX, centre, tuple(value / 2 for value in extents), material, rotation)

    def rounded_box(
        self, centre: Point, extents: Point, radius: float, material: int, rotation: Matrix = IDENTITY
    ) -> None:
        half = tuple(value / 2 for value in extents)
        self.add(PrimitiveKind.ROUNDED_BOX, centre, (*half, min(radius, *half)), material, rotation)

    def cylinder(self, foot: Point, height: float, radius: float, material: int, top_radius: float = -1.0) -> None:
        """An upright cylinder, or a frustum if `top_radius` is given, standing on `foot`."""
        top = radius if top_radius < 0 else top_radius
        centre = (foot[0], foot[1], foot[2] + height / 2)
        self.add(PrimitiveKind.FRUSTUM, centre, (height / 2, radius, top), material)

    def rod(self, start: Point, end: Point, radius: float, material: int, end_radius: float = -1.0) -> None:
        """A cylinder or frustum between two points."""
        a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        length = float(np.linalg.norm(b - a))
        axis = (b - a) / length
        helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 1.0, 0])
        x = np.cross(helper, axis)
        x /= np.linalg.norm(x)
        rotation = np.stack([x, np.cross(axis, x), axis], axis=1)
        top = radius if end_radius < 0 else end_radius
        self.add(PrimitiveKind.FRUSTUM, tuple((a + b) / 2), (length / 2, radius, top), material, rotation)

    def ellipsoid(self, centre: Point, half_axes: Point, material: int, rotation: Matrix = IDENTITY) -> None:
        self.add(PrimitiveKind.ELLIPSOID, centre, half_axes, material, rotation)

    def torus(
        self, centre: Point, ring_radius: float, tube_radius: float, material: int, rotation: Matrix = IDENTITY
    ) -> None:
        self.add(PrimitiveKind.TORUS, centre, (ring_radius, tube_radius), material, rotation)

    def put(self, other: Assembly, at: Point, yaw_degrees: float = 0.0) -> None:
        """Places another assembly in this one, its groups kept."""
        for group in other.placed(turn_about("z", yaw_degrees), np.asarray(at, dtype=float)):
            self.begin_group()
            self.groups[-1].extend(group)
        self.begin_group()

    def placed(self, rotation: Matrix, translation: Matrix) -> list[list[Part]]:
        """The groups of parts in the frame that this object is put into."""
        return [
            [
                Part(
                    part.kind, rotation @ part.centre + translation, part.size, part.material, rotation @ part.rotation
                )
                for part in group
            ]
            for group in self.groups
            if group
        ]

    def bounding_box(self) -> tuple[Matrix, Matrix]:
        boxes = [part.bounding_box() for group in self.groups for part in group]
        return np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
