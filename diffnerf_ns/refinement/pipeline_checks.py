"""What the refinement pipeline refuses, with what it accepts instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def check_whole(name: str, value: Any, lowest: int, highest: int | None = None) -> None:
    """Raises TypeError or ValueError, by name, unless the value is a whole number within bounds."""
    accepted = f"a whole number from {lowest}" + (f" to {highest}" if highest is not None else "")
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` is {value!r}: give {accepted}")
    if value < lowest or (highest is not None and value > highest):
        raise ValueError(f"`{name}` is {value}: give {accepted}")


def check_generator(generator: Any, images: int) -> None:
    """Raises TypeError or ValueError unless it is one generator, or one for each image."""
    if generator is None or isinstance(generator, torch.Generator):
        return
    if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
        raise TypeError(f"`generator` is {type(generator).__name__}: give a torch.Generator, or a list of them")
    if len(generator) != images:
        raise ValueError(f"`generator` holds {len(generator)} generators for {images} images: give one for each")


def refuse_pickles(folder: Path) -> None:
    """Raises OSError if a folder holds weights in a format that can run code, and in no other."""
    for file in sorted(folder.rglob("*.bin")) if folder.is_dir() else ():
        if not any(file.parent.glob("*.safetensors")):
            raise OSError(
                f"{file}: weights are read from safetensors alone, since other formats can run code when they are "
                "loaded. Load them where you trust them, and write them with save_pretrained."
            )
