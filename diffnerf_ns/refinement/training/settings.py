"""Settings of a training of the refiner."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from diffnerf_ns.refinement.training.data_settings import TrainingData
from diffnerf_ns.refinement.training.objectives import Objective

SETTINGS_THAT_MAY_CHANGE = ("out", "max_hours", "resume_from_checkpoint", "dry_run", "log_every", "tensorboard")
"""Settings with which a training may be resumed although it was begun with others."""


@dataclass(frozen=True)
class Network:
    """The UNet."""

    block_out_channels: tuple[int, ...] = (48, 64, 96, 128)
    """Width of each resolution, fine to coarse; multiples of 8."""
    layers_per_block: int = 2
    """Residual blocks per resolution."""
    full_resolution_channels: int = 16
    """Width of the last layers, which see every pixel."""
    feature_enhancement: bool = True
    """Whether skip connections are refined."""
    gradient_checkpointing: bool = False
    """Computes activations twice to save memory."""


@dataclass(frozen=True)
class Losses:
    """What is minimised."""

    min_snr_gamma: float = 5.0
    """Largest weight of a noise level."""
    last_step_share: float = 0.3
    """Share of samples at the last noise level, where sampling starts."""
    depth: float = 5.0
    """Weight of the absolute error of log depth; the code compresses large errors, this counts them in full."""
    edge: float = 2.0
    """Weight of the slopes of log depth."""
    perceptual: float = 0.0
    """Weight of VGG features of log depth; needs torchvision's weights on disk, nothing is downloaded."""
    consistency: float = 0.0
    """Weight of the agreement between two views of a clip."""


@dataclass(frozen=True)
class TrainRefiner:
    """Train the depth refiner. Stopped trainings go on with --resume-from-checkpoint latest."""

    out: Path
    """Folder for checkpoints, logs and, at the end, the refiner."""
    data: TrainingData = field(default_factory=TrainingData)
    """What to train on."""
    network: Network = field(default_factory=Network)
    """The network."""
    losses: Losses = field(default_factory=Losses)
    """What is minimised."""
    objective: Objective = "diffusion"
    """`regression` trains the same network to give the depth in one go, without noise."""
    initial_weights: str | None = None
    """A refiner to go on from: `shipped`, a folder, or a hub id; None to begin with random weights."""
    seed: int = 0
    """Seed of data, noise and weights."""
    max_steps: int = 20_000
    """Optimiser steps."""
    max_hours: float = 0.0
    """Hours after which the training ends cleanly, resumed parts included; 0 for no limit."""
    anneal_by: Literal["steps", "hours"] = "steps"
    """Whether the learning rate falls with the share of max_steps or of max_hours; with hours, a resumed training does
    not repeat an uninterrupted one exactly."""
    batch_size: int = 8
    """Samples per step and process."""
    learning_rate: float = 6e-4
    """Peak learning rate."""
    warmup: float = 0.05
    """Share of the training in which the learning rate rises."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.9999
    """Largest decay of the averaged weights; short trainings average over less (power 0.75)."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Auto takes bf16 where the hardware has it, else fp16 on a GPU and float32 on a CPU."""
    cpu: bool = False
    """Trains on the CPU although there is a GPU."""
    validate_every: int = 500
    """Steps between validations."""
    validation_clips: int = 4
    """Clips to validate on."""
    validation_views: int = 4
    """Views of each of them."""
    patience: int = 0
    """Validations without improvement after which the training ends; 0 for never."""
    checkpoint_every: int = 2000
    """Steps between checkpoints."""
    checkpoint_minutes: float = 5.0
    """Minutes after which a checkpoint is due in any case."""
    checkpoint_limit: int = 3
    """Checkpoints to keep besides the best one."""
    resume_from_checkpoint: str | None = None
    """`latest`, or the folder of a checkpoint."""
    tensorboard: bool = True
    """Writes curves and validation pictures for TensorBoard, if it is installed."""
    log_every: int = 20
    """Steps between logged losses."""
    dry_run: bool = False
    """Says what would be done, times a few steps, and writes nothing."""

    def check(self) -> None:
        """Raises ValueError for what cannot be met, by name."""
        self.data.check()
        for is_met, name, value, accepted in (
            (self.max_steps >= 1, "max_steps", self.max_steps, "1 or more"),
            (self.batch_size >= 1, "batch_size", self.batch_size, "1 or more"),
            (self.max_hours >= 0, "max_hours", self.max_hours, "0 (no limit) or more"),
            (0 <= self.warmup < 1, "warmup", self.warmup, "a share, 0 to below 1"),
            (self.validation_views >= 2, "validation_views", self.validation_views, "2 or more"),
            (self.checkpoint_limit >= 1, "checkpoint_limit", self.checkpoint_limit, "1 or more"),
            (min(self.validate_every, self.checkpoint_every, self.log_every) >= 1, "*_every", 0, "1 or more"),
            (self.anneal_by == "steps" or self.max_hours > 0, "anneal_by", self.anneal_by, "steps without max_hours"),
            (
                self.losses.consistency == 0 or self.batch_size % 2 == 0,
                "batch_size",
                self.batch_size,
                "even with losses.consistency, which compares pairs",
            ),
        ):
            if not is_met:
                raise ValueError(f"{name} is {value}: it must be {accepted}")

    def fixed(self) -> dict[str, Any]:
        """The settings that a resumed training must share with its checkpoint, as JSON would have them."""
        return {name: value for name, value in plain(asdict(self)).items() if name not in SETTINGS_THAT_MAY_CHANGE}


def plain(value: Any) -> Any:
    """Tuples as lists and paths as strings."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
