"""Whether a capture's depth is registered to its colour: where depth jumps, pictures should change.

Depth of a camera that stands beside the colour camera, or sees a narrower angle, spoils all that comes after, and looks
right at a glance. One frame can mislead (both streams may have been exposed at different moments), so frames are judged
together, and only a lasting difference counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffnerf_ns.even_spread import evenly_spread
from diffnerf_ns.refinement.interface import RefinerFrame

FRAMES = 8
"""Frames that are looked at, spread over the capture."""

WIDTH = 160
"""Columns at which they are compared."""

REACH = 6
"""Columns and rows by which depth may have to move; its enlargements are below."""

SCALES = (0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12)

LEAST_DISPLACEMENT = 0.0125
"""What is worth a word, as a share of the width: the farthest that depth lies beside the picture in it."""

LEAST_GAIN = 1.15
"""How much more the picture must change under the edges of the depth that is moved."""

LEAST_EDGES = 300
"""Pixels with depth edges, over all frames, below which nothing is said."""

JUMP = 0.08
"""Difference of neighbouring depths, as a share of the nearer one, that makes an edge."""

LARGEST_STEP = 0.15
"""Brightness steps count up to this, of 0..1: one lamp must not outweigh a room."""


@dataclass(frozen=True)
class Misregistration:
    """What would bring depth onto the picture."""

    scale: float
    """Enlargement about the picture's centre."""
    right: float
    """Movement after that, as a share of the picture's width."""
    down: float
    """Movement, as a share of the picture's width."""
    gain: float
    """How much more the picture then changes under depth edges."""

    def __str__(self) -> str:
        return (
            f"pictures change {self.gain:.1f} times as much under the edges of depth once it is enlarged "
            f"{self.scale:.2f} times and moved by {self.right:+.1%} of the width to the right and {self.down:+.1%} down"
        )


def misregistration(frames: Sequence[RefinerFrame]) -> Misregistration | None:
    """What is wrong with the registration of a capture's depth; None where nothing is, or nothing can be told."""
    changes, edges = np.zeros((len(SCALES), 2 * REACH + 1, 2 * REACH + 1)), 0
    for index in evenly_spread(len(frames), min(FRAMES, len(frames))):
        found, count = _changes_under_edges(frames[index])
        changes, edges = changes + found, edges + count
    kept = changes[SCALES.index(1.0), REACH, REACH]
    if edges < LEAST_EDGES or kept <= 0:
        return None
    best = np.unravel_index(changes.argmax(), changes.shape)
    scale, down, right = SCALES[best[0]], (int(best[1]) - REACH) / WIDTH, (int(best[2]) - REACH) / WIDTH
    displacement = float(np.hypot(right, down)) + 0.5 * abs(scale - 1.0)
    gain = float(changes[best] / kept)
    if gain < LEAST_GAIN or displacement < LEAST_DISPLACEMENT:
        return None
    return Misregistration(scale, right, down, gain)


def _changes_under_edges(frame: RefinerFrame) -> tuple[npt.NDArray[np.float64], int]:
    """How much a picture changes under depth edges, [scale, down, right], summed; and the number of edge pixels."""
    size = (WIDTH, round(WIDTH * frame.height / frame.width))
    grey = cv2.cvtColor(cv2.resize(frame.read_image(), size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) / 255.0
    depth = cv2.resize(frame.read_depth_z_m(), size, interpolation=cv2.INTER_NEAREST)
    sums, count = np.zeros((len(SCALES), 2 * REACH + 1, 2 * REACH + 1)), 0
    for axis in (0, 1):
        steps = np.minimum(np.abs(np.diff(grey, axis=axis)), LARGEST_STEP)
        here, next_to_it = (depth[:-1], depth[1:]) if axis == 0 else (depth[:, :-1], depth[:, 1:])
        near, far = np.minimum(here, next_to_it), np.maximum(here, next_to_it)
        places = np.argwhere((near > 0) & (far - near > JUMP * near))
        centre = 0.5 * (np.array(steps.shape) - 1)
        farthest = np.abs(places - centre) * max(SCALES) + REACH
        places = places[(farthest < centre).all(axis=1)]
        count += len(places)
        for number, scale in enumerate(SCALES):
            rows, columns = np.rint((places - centre) * scale + centre).astype(int).T
            for down in range(-REACH, REACH + 1):
                for right in range(-REACH, REACH + 1):
                    sums[number, down + REACH, right + REACH] += steps[rows + down, columns + right].sum()
    return sums, count
