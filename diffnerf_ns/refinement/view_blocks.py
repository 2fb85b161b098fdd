"""Which views of a capture are fused together. Captures of usual size are one block; larger ones are split in space, so
that memory stays bounded and a changed frame concerns its own part of the capture alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LARGEST_BLOCK = 128
"""Most views that are fused together."""

LARGEST_CORE = 96
"""Most views that a block of a larger capture is for; the others of its views lie around these."""

LOOK_AHEAD_M = 1.5
"""Views are near each other if what lies so far in front of them is, metres."""


@dataclass(frozen=True)
class ViewBlock:
    """Views that are fused together."""

    core: tuple[int, ...]
    """Indices of the views that take their evidence from this block."""
    members: tuple[int, ...]
    """Indices of the views that are fused, the core among them; ascending."""


def view_blocks(camera_to_world: npt.NDArray[np.float64]) -> list[ViewBlock]:
    """Splits views so that each is in the core of one block.

    Args:
        camera_to_world: [views, 4, 4], metres, OpenGL axes.
    """
    everything = np.arange(len(camera_to_world))
    if len(everything) <= LARGEST_BLOCK:
        return [ViewBlock(tuple(everything.tolist()), tuple(everything.tolist()))]
    looked_at = camera_to_world[:, :3, 3] - LOOK_AHEAD_M * camera_to_world[:, :3, 2]
    blocks = []
    for core in _split(everything, looked_at):
        distance = np.linalg.norm(looked_at[:, None] - looked_at[core][None], axis=-1).min(axis=1)
        members = np.sort(np.argsort(distance, kind="stable")[:LARGEST_BLOCK])
        blocks.append(ViewBlock(tuple(core.tolist()), tuple(members.tolist())))
    return blocks


def _split(indices: npt.NDArray[np.intp], points: npt.NDArray[np.float64]) -> list[npt.NDArray[np.intp]]:
    """Halves along the longest axis until the parts are small enough."""
    if len(indices) <= LARGEST_CORE:
        return [np.sort(indices)]
    chosen = points[indices]
    axis = int(np.argmax(chosen.max(axis=0) - chosen.min(axis=0)))
    ordered, middle = indices[np.argsort(chosen[:, axis], kind="stable")], len(indices) // 2
    return _split(ordered[:middle], points) + _split(ordered[middle:], points)
