"""The refiner's settings, as trainings and `diffnerf refine` have them. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class RefinerSettings:
    """Which refiner, and how it works."""

    model: str = "shipped"
    """`shipped` (the diffusion model that comes with the package), a folder or hub id with other weights of it,
    `hole-filter` (classical, no weights), `none` (sensor depth as it is), or the dotted path of a DepthRefiner."""
    steps: int = 2
    """Denoising steps of the diffusion model, 1 to 50."""
    ensemble: int = 4
    """Samples per frame of the diffusion model: their median is the depth, their spread goes into sigma."""
    seed: int = 0
    """Seed of the diffusion model's noise. The same seed and frames give the same depth."""
    multiview: bool = True
    """Whether the diffusion model sees what the capture's other views measured."""
    device: str = "auto"
    """Where the diffusion model runs: `cpu`, `cuda`, `cuda:1`, ...; `auto` is a CUDA device if there is one."""
    batch: int = 0
    """Frames that the diffusion model refines at once; 0 for what suits the device."""


@dataclass
class RefinerConfig(RefinerSettings):
    """How the training split's sensor depth is refined before training."""

    cache_dir: Path | None = None
    """Folder for refined depth; None for $XDG_CACHE_HOME/diffnerf_ns, or ~/.cache/diffnerf_ns."""
