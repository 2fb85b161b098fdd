"""Random sources that are named by numbers, so that what is drawn depends on them alone and not on what ran before."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a random source is for; two streams of the same numbers have nothing in common."""

    CLIP = 1
    CHOICE = 2
    SENSOR = 3
    SAMPLES = 4
    NOISE = 5
    VALIDATION = 6
    CALIBRATION = 7


def numpy_generator(stream: Stream, *keys: int) -> np.random.Generator:
    """A source for single numbers."""
    return np.random.default_rng([int(stream), *keys])


def torch_generator(device: torch.device | str, stream: Stream, *keys: int) -> torch.Generator:
    """A source for images, on the device that will hold them."""
    high, low = np.random.SeedSequence([int(stream), *keys]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed((int(high) << 31) ^ int(low))
