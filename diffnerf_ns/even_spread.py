"""Which of many frames stand for all of them."""

from __future__ import annotations

import numpy as np


def evenly_spread(available: int, wanted: int) -> list[int]:
    """`wanted` indices out of `available`, ascending, first and last among them; all of them if more are wanted."""
    return np.linspace(0, available - 1, min(available, wanted)).round().astype(int).tolist()
