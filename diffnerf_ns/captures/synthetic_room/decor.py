"""The taste of one room: seeded choices of colours and materials, so that its things go together but differ."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from diffnerf_ns.captures.synthetic_room.materials import Colour, Material, MaterialLibrary, TextureKind

WOODS: tuple[tuple[Colour, Colour], ...] = (
    ((0.78, 0.60, 0.40), (0.60, 0.42, 0.25)),
    ((0.62, 0.42, 0.26), (0.43, 0.27, 0.16)),
    ((0.42, 0.28, 0.19), (0.26, 0.16, 0.11)),
    ((0.85, 0.74, 0.56), (0.72, 0.58, 0.40)),
    ((0.55, 0.33, 0.22), (0.38, 0.19, 0.12)),
)
"""Light and dark grain, sRGB."""


def linear(colour: Colour) -> Colour:
    """sRGB 0..1 to linear light."""
    r, g, b = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour)
    return r, g, b


@dataclass
class Decor:
    generator: np.random.Generator
    library: MaterialLibrary

    def __post_init__(self) -> None:
        self.hue = float(self.generator.random())
        self.wood_choices = self.generator.permutation(len(WOODS))[:2]
        self.main_wood = self.wood(0)
        self.second_wood = self.wood(1)
        self.metal = self._add(TextureKind.PLAIN, self._grey(0.55, 0.75), detail=0.6, specular=0.55, roughness=0.28)
        self.dark_metal = self._add(TextureKind.PLAIN, (0.10, 0.10, 0.11), detail=0.8, specular=0.25, roughness=0.35)
        self.white_paint = self._add(TextureKind.PLAIN, (0.90, 0.89, 0.86), detail=0.5, specular=0.05, roughness=0.4)
        self.black_gloss = self._add(TextureKind.PLAIN, (0.05, 0.05, 0.06), detail=0.5, specular=0.12, roughness=0.12)
        self.leaf_materials = [
            self._add(TextureKind.STRIPES, (0.20, 0.42 + 0.1 * k, 0.16), (0.34, 0.55, 0.22), (0.12, 0.32, 0.12), 0.03)
            for k in range(2)
        ]
        self.books = [self._book() for _ in range(10)]
        self.fabrics = [self._fabric() for _ in range(4)]
        self.ceramics = [self._ceramic() for _ in range(5)]

    def uniform(self, low: float, high: float) -> float:
        return float(self.generator.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.generator.random() < probability)

    def pick(self, options):
        return options[int(self.generator.integers(len(options)))]

    def colour(self, saturation: tuple[float, float], value: tuple[float, float], spread: float = 0.5) -> Colour:
        """A colour (sRGB) whose hue lies within `spread` (of 0.5) of the room's own."""
        hue = (self.hue + self.uniform(-spread, spread)) % 1.0
        return colorsys.hsv_to_rgb(hue, self.uniform(*saturation), self.uniform(*value))

    def wood(self, which: int) -> int:
        light, dark = WOODS[self.wood_choices[which]]
        return self._add(
            TextureKind.WOOD, light, dark, detail=self.uniform(14, 26), specular=0.05, roughness=self.uniform(0.25, 0.5)
        )

    def paint(self) -> int:
        colour = self.colour((0.2, 0.75), (0.35, 0.85))
        return self._add(TextureKind.PLAIN, colour, detail=1.0, specular=0.05, roughness=0.4)

    def fabric(self) -> int:
        return self.pick(self.fabrics)

    def ceramic(self) -> int:
        return self.pick(self.ceramics)

    def book(self) -> int:
        return self.pick(self.books)

    def cardboard(self) -> int:
        return self._add(TextureKind.STRIPES, (0.66, 0.51, 0.34), (0.62, 0.47, 0.31), (0.80, 0.72, 0.55), detail=0.08)

    def painting(self) -> int:
        colours = [self.colour((0.3, 0.95), (0.25, 0.95)) for _ in range(3)]
        return self._add(TextureKind.PAINTING, *colours, detail=self.uniform(2.0, 5.0), roughness=0.5)

    def poster(self) -> int:
        colours = [self.colour((0.5, 0.95), (0.3, 0.95)) for _ in range(3)]
        return self._add(TextureKind.POSTER, *colours, detail=self.uniform(5.0, 9.0), roughness=0.5)

    def rug(self) -> int:
        first = self.colour((0.5, 0.85), (0.3, 0.6))
        second = self.colour((0.1, 0.4), (0.75, 0.92))
        third = self.colour((0.4, 0.9), (0.2, 0.5))
        return self._add(TextureKind.RUG, first, second, third, self.uniform(5, 9), specular=0.0, roughness=1.0)

    def floor(self) -> int:
        choice = self.generator.random()
        if choice < 0.55:
            light, dark = self.pick(WOODS[:4])
            width = self.uniform(0.09, 0.18)
            return self._add(TextureKind.PLANKS, light, dark, detail=width, roughness=self.uniform(0.16, 0.4))
        if choice < 0.8:
            light = self.colour((0.05, 0.2), (0.75, 0.88))
            dark = self.colour((0.1, 0.4), (0.3, 0.6)) if self.chance(0.5) else light
            size = self.uniform(0.25, 0.45)
            return self._add(
                TextureKind.TILES, light, dark, (0.45, 0.44, 0.42), size, roughness=self.uniform(0.12, 0.3)
            )
        ground = self.colour((0.05, 0.3), (0.5, 0.75))
        return self._add(TextureKind.FABRIC, ground, detail=0.0, specular=0.0, roughness=1.0)

    def wall(self) -> int:
        """Mostly plain paint, sometimes wallpaper or bricks."""
        choice = self.generator.random()
        ground = self.colour((0.05, 0.28), (0.72, 0.92))
        if choice < 0.45:
            return self._add(TextureKind.PLAIN, ground, detail=0.7, specular=0.02, roughness=0.8)
        second = self.colour((0.1, 0.45), (0.55, 0.85), 0.15)
        third = self.colour((0.2, 0.6), (0.45, 0.75), 0.3)
        if choice < 0.65:
            return self._add(TextureKind.STRIPES, ground, second, third, self.uniform(0.05, 0.12), 0.02, 0.8)
        if choice < 0.85:
            return self._add(TextureKind.MOTIF, ground, second, third, self.uniform(0.16, 0.3), 0.02, 0.8)
        return self._add(
            TextureKind.BRICKS, (0.66, 0.36, 0.27), (0.50, 0.27, 0.20), (0.72, 0.69, 0.64), 0.23, 0.02, 0.9
        )

    def ceiling(self) -> int:
        return self._add(TextureKind.PLAIN, (0.93, 0.92, 0.90), detail=0.5, specular=0.02, roughness=0.9)

    def glow(self, colour: Colour, strength: float) -> int:
        r, g, b = linear(colour)
        emission = (r * strength, g * strength, b * strength)
        return self.library.add(Material(TextureKind.PLAIN, linear(colour), detail=0.3, emission=emission))

    def worktop(self) -> int:
        if self.chance(0.6):
            return self.main_wood
        if self.chance(0.5):
            return self._add(
                TextureKind.STONE, (0.82, 0.80, 0.77), (0.6, 0.58, 0.56), (0.3, 0.29, 0.3), 5.0, 0.06, 0.12
            )
        return self._add(TextureKind.SPECKLE, (0.80, 0.78, 0.74), (0.35, 0.3, 0.28), (0.62, 0.45, 0.35), 9.0, 0.05, 0.2)

    def _book(self) -> int:
        first = self.colour((0.3, 0.9), (0.2, 0.85))
        second = self.colour((0.1, 0.6), (0.6, 0.95))
        return self._add(TextureKind.SPINE, first, second, (0.12, 0.11, 0.1), self.uniform(6, 25), 0.04, 0.5)

    def _fabric(self) -> int:
        first, second = self.colour((0.15, 0.7), (0.3, 0.8), 0.3), self.colour((0.2, 0.7), (0.25, 0.9), 0.3)
        third = self.colour((0.1, 0.5), (0.8, 0.95))
        kind = TextureKind.STRIPES if self.chance(0.2) else TextureKind.FABRIC
        detail = self.uniform(0.07, 0.16) if self.chance(0.6) or kind == TextureKind.STRIPES else 0.0
        return self._add(kind, first, second, third, detail * (0.5 if kind == TextureKind.STRIPES else 1), 0.01, 1.0)

    def _ceramic(self) -> int:
        kind = self.pick((TextureKind.PLAIN, TextureKind.STRIPES, TextureKind.SPECKLE, TextureKind.STONE))
        colours = [self.colour((0.2, 0.8), (0.4, 0.95)) for _ in range(3)]
        detail = {TextureKind.STRIPES: 0.025, TextureKind.SPECKLE: 12.0, TextureKind.STONE: 9.0}.get(kind, 1.0)
        return self._add(kind, *colours, detail=detail, specular=0.06, roughness=0.12)

    def _grey(self, low: float, high: float) -> Colour:
        value = self.uniform(low, high)
        return value, value, value * 0.98

    def _add(
        self,
        texture: TextureKind,
        first: Colour,
        second: Colour = (0.5, 0.5, 0.5),
        third: Colour = (0.5, 0.5, 0.5),
        detail: float = 1.0,
        specular: float = 0.04,
        roughness: float = 0.6,
    ) -> int:
        material = Material(texture, linear(first), linear(second), linear(third), detail, specular, roughness)
        return self.library.add(material)
