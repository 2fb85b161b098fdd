"""One rise, one fall."""

from __future__ import annotations

import math


def one_cycle(progress: float, warmup: float, first: float = 0.04, last: float = 1e-3) -> float:
    """Share of the peak learning rate (OneCycle with cosines: Smith and Topin, 2018).

    Args:
        progress: share of the training that is done, 0..1.
        warmup: share of the training in which the rate rises.
        first: share of the peak to begin with.
        last: share of the peak to end with.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        low, position = first, 1.0 - progress / warmup
    else:
        low, position = last, (progress - warmup) / (1.0 - warmup)
    return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * position))
