"""Synthetic rooms as stage 1 would meet them in a capture: frames with a sensor's depth and drifting poses, and the
truth beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from diffnerf_ns.refinement.interface import RefinerFrame
from diffnerf_ns.refinement.training.colour_noise import degrade_colour
from diffnerf_ns.refinement.training.data_settings import SensorMixture
from diffnerf_ns.refinement.training.room_clips import CleanClip
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator, torch_generator
from diffnerf_ns.refinement.training.sensed_clips import drifted_poses, measured

Value = TypeVar("Value")


@dataclass(frozen=True)
class SensedRoom:
    """Posed frames of one room."""

    frames: list[RefinerFrame]
    """What stage 1 gets."""
    truth_z_m: npt.NDArray[np.float32]
    """Exact z-depth [frames, height, width], metres, 0 where unknown."""


def sensed_room(clip: CleanClip, kind: str, strength: float, seed: int, number: int) -> SensedRoom:
    """A room as one sensor sees it.

    Args:
        clip: exact views of the room.
        kind: the sensor model.
        strength: how bad it is; 1 is as published.
        seed: of the noise.
        number: of the room; another number gives other noise.
    """
    draw = numpy_generator(Stream.SENSOR, seed, number)
    generator = torch_generator("cpu", Stream.SENSOR, seed, number)
    sensors = SensorMixture()
    sensed = measured(clip, kind, strength, sensors, draw, generator).numpy()
    colour = degrade_colour(clip.rgb.permute(0, 3, 1, 2) / 255.0, generator)
    images = (255.0 * colour.permute(0, 2, 3, 1)).round().clamp(0, 255).byte().numpy()
    poses = drifted_poses(clip, sensors, float(draw.uniform()), seed, number).double().numpy()
    intrinsics = clip.intrinsics.double().numpy()
    height, width = sensed.shape[1:]
    frames = [
        RefinerFrame(
            f"room {number} view {view}",
            width,
            height,
            intrinsics,
            poses[view],
            _giving(images[view]),
            _giving(sensed[view]),
        )
        for view in range(len(sensed))
    ]
    return SensedRoom(frames, clip.depth_z_m.numpy())


def _giving(value: Value) -> Callable[[], Value]:
    return lambda: value
