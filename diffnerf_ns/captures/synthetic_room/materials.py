"""What surfaces are made of: a procedural texture, its colours and how it reflects."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor

Colour = tuple[float, float, float]


class TextureKind(IntEnum):
    """The procedural textures; `detail` of a material means something different in each."""

    PLAIN = 0
    """first colour with faint mottling; detail: its strength."""
    WOOD = 1
    """grain along the longest side; detail: rings per metre."""
    PLANKS = 2
    """a wooden floor; detail: plank width in metres."""
    TILES = 3
    """square tiles, third colour as grout; detail: tile size in metres."""
    STRIPES = 4
    """bands of uneven width in all three colours; detail: mean width in metres."""
    RUG = 5
    """a bordered carpet that fits its primitive; detail: motifs across."""
    PAINTING = 6
    """swirls of all three colours; detail: swirls per metre."""
    POSTER = 7
    """discs and bars in all three colours; detail: shapes per metre."""
    BRICKS = 8
    """running bond, third colour as mortar; detail: brick length in metres."""
    MOTIF = 9
    """wallpaper with a repeated motif; detail: spacing in metres."""
    FABRIC = 10
    """woven cloth with a plaid; detail: plaid spacing in metres, 0 for none."""
    STONE = 11
    """veined stone; detail: veins per metre."""
    SPECKLE = 12
    """terrazzo-like spots in the second and third colour; detail: spots per metre."""
    SPINE = 13
    """a book: bands and a label across its longest side; detail: bands per metre."""


@dataclass(frozen=True)
class Material:
    texture: TextureKind
    first: Colour
    second: Colour = (0.5, 0.5, 0.5)
    third: Colour = (0.5, 0.5, 0.5)
    detail: float = 1.0
    specular: float = 0.04
    """Share of light mirrored at normal incidence, 0..1: 0.04 is varnish or plastic, 0.6 metal."""
    roughness: float = 0.6
    """0 mirror .. 1 matt."""
    emission: Colour = (0.0, 0.0, 0.0)
    """Light given off by itself, where 1 is what the exposure shows as nearly white."""


@dataclass
class MaterialLibrary:
    """Materials in the order in which primitives refer to them."""

    materials: list[Material] = field(default_factory=list)

    def add(self, material: Material) -> int:
        self.materials.append(material)
        return len(self.materials) - 1


@dataclass(frozen=True)
class MaterialTable:
    """A material library as tensors, one row per material."""

    texture: Tensor
    colours: Tensor
    """[M, 3 colours, 3]"""
    detail: Tensor
    specular: Tensor
    roughness: Tensor
    emission: Tensor

    @staticmethod
    def of(library: MaterialLibrary, device: torch.device) -> MaterialTable:
        rows = library.materials
        return MaterialTable(
            texture=torch.tensor([row.texture for row in rows], device=device),
            colours=torch.tensor([(row.first, row.second, row.third) for row in rows], device=device),
            detail=torch.tensor([row.detail for row in rows], device=device),
            specular=torch.tensor([row.specular for row in rows], device=device),
            roughness=torch.tensor([row.roughness for row in rows], device=device),
            emission=torch.tensor([row.emission for row in rows], device=device),
        )
