"""What every depth refiner takes and gives. Anything that satisfies `DepthRefiner` can stand in stage 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


class Provenance(IntEnum):
    """Where a refined depth comes from."""

    MISSING = 0
    MEASURED = 1
    OTHER_VIEWS = 2
    GENERATED = 3
    REPLACED = 4
    """What other views saw or what was generated, in place of a measurement that other views look through."""


@dataclass(frozen=True)
class RefinerFrame:
    """One posed RGB-D frame. Pixels are read when asked for and not kept, so that thousands of frames fit."""

    name: str
    """For messages."""
    width: int
    """Columns of image and depth, pixels."""
    height: int
    """Rows of image and depth, pixels."""
    intrinsics: npt.NDArray[np.float64]
    """Pinhole matrix [3, 3] for that size, pixels; (0, 0) is the first pixel's corner. Lens distortion is undone."""
    camera_to_world: npt.NDArray[np.float64]
    """Rigid pose [4, 4], metres, OpenGL axes (x right, y up, z backwards)."""
    read_image: Callable[[], npt.NDArray[np.uint8]]
    """Gives the colour image [height, width, 3], RGB."""
    read_depth_z_m: Callable[[], npt.NDArray[np.float32]]
    """Gives the sensor's z-depth [height, width], metres, 0 where missing."""


@dataclass(frozen=True)
class RefinedDepth:
    """What a refiner says of one frame, each [height, width]."""

    depth_z_m: npt.NDArray[np.float32]
    """Refined z-depth, metres, 0 where it stays missing."""
    sigma_z_m: npt.NDArray[np.float32]
    """One standard deviation of depth_z_m, metres: 68 % of the errors lie within; 0 where depth is missing."""
    provenance: npt.NDArray[np.uint8]
    """Where the depth comes from, as in `Provenance`."""

    def __post_init__(self) -> None:
        for label, array, kind in (
            ("depth_z_m", self.depth_z_m, np.float32),
            ("sigma_z_m", self.sigma_z_m, np.float32),
            ("provenance", self.provenance, np.uint8),
        ):
            if array.dtype != kind or array.ndim != 2 or array.shape != self.depth_z_m.shape:
                raise ValueError(
                    f"{label} is {array.shape} {array.dtype}: a refiner gives three arrays of one size [height, "
                    f"width], {label} as {np.dtype(kind)}"
                )
        if not np.isfinite(self.depth_z_m).all() or self.depth_z_m.min(initial=0) < 0:
            raise ValueError(
                "depth_z_m holds NaN, infinity or negative values: a refiner writes 0 where it knows nothing"
            )
        if not (np.isfinite(self.sigma_z_m).all() and np.all(self.sigma_z_m[self.depth_z_m > 0] > 0)):
            raise ValueError("sigma_z_m must be finite, and above 0 wherever there is depth")


class RefinerNotFoundError(ValueError):
    """The name of a refiner that leads to none."""


class DepthRefiner(Protocol):
    """Turns sensor depth into refined depth with its uncertainty."""

    def fingerprint(self) -> str:
        """Names everything that the results depend on besides the frames: method, version, weights, settings, seed."""
        ...

    def context(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[int]:
        """Indices of the other frames whose pixels or poses the result for `index` depends on; none for one-image
        refiners. Decides from names, sizes and poses: no pixels are read here."""
        ...

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        """Refines the frames at `indices`, one result for each and in their order, each as soon as it is known.

        Args:
            frames: all frames of the capture's training split.
            indices: those to refine; the others are there to be looked at.
        """
        ...


@runtime_checkable
class SeesOthersDepthOnly(Protocol):
    """A refiner whose result for a frame depends on other frames' depth, cameras and poses, not on their images."""

    sees_others_depth_only: Literal[True]
    """Caches then keep a frame's result when the image of another one changes."""


@runtime_checkable
class ShowsDenoising(Protocol):
    """A refiner that can also show how a depth map comes out of noise."""

    def denoising_steps(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[npt.NDArray[np.float32]]:
        """z-depth [height, width], metres, step by step: first the noise it starts from, last the result."""
        ...
