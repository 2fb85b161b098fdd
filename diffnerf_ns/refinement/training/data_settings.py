"""Settings of the training data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HELD_OUT_SENSOR = "redwood"
"""The sensor model that is kept for testing and that no training may see."""


@dataclass(frozen=True)
class SensorMixture:
    """How often each sensor model is drawn (relative weights), and how bad it is."""

    kinect: float = 1.0
    """Weight of structured light."""
    lidar: float = 1.0
    """Weight of a phone's LiDAR."""
    tof: float = 1.0
    """Weight of time of flight."""
    stereo: float = 1.0
    """Weight of active stereo."""
    none: float = 0.15
    """Weight of exact depth: the model has to leave it alone."""
    strength: tuple[float, float] = (0.3, 2.0)
    """Least and largest strength; 1 is the sensor as published."""
    fattening_px: float = 2.5
    """Farthest that edges of near surfaces are moved outwards, pixels of an image 320 wide."""
    misregistration_px: float = 1.0
    """Largest shift of depth against colour along each axis, pixels of an image 320 wide."""
    border: float = 0.12
    """Widest strip along a side of the image that a depth camera of narrower view does not cover, as a share of the
    width or height; half of the sides have none."""
    drift_m: float = 0.01
    """Largest drift of the poses that views are fused with, metres (one standard deviation)."""
    drift_degrees: float = 0.4
    """Largest drift of their directions, degrees (one standard deviation)."""

    def weights(self) -> dict[str, float]:
        """Weight by sensor model."""
        return {name: getattr(self, name) for name in ("kinect", "lidar", "tof", "stereo", "none")}


@dataclass(frozen=True)
class RoomClips:
    """Clips of synthetic rooms."""

    views: tuple[int, int] = (8, 12)
    """Least and largest number of views of a clip."""
    width: tuple[int, int] = (160, 320)
    """Least and largest width of a view, pixels; views are 4:3 and widths multiples of 16."""
    field_of_view: tuple[float, float] = (50.0, 75.0)
    """Least and largest horizontal field of view, degrees."""
    path_views: tuple[int, int] = (30, 90)
    """Least and largest number of views that a walk round the room would have: how far neighbours are apart."""
    furniture: tuple[float, float] = (0.4, 2.0)
    """Least and largest amount of furniture; 1 is a room that is lived in."""


@dataclass(frozen=True)
class Dropout:
    """What is hidden from the model, by share of the samples."""

    evidence: float = 0.4
    """Share of samples without anything from other views."""
    image: float = 0.1
    """Share of samples without colour."""
    holes: float = 0.2
    """Share of samples with further holes in the sensor's depth: blobs, rectangles, half the image."""


@dataclass(frozen=True)
class TrainingData:
    """What the refiner is trained on."""

    rooms_weight: float = 1.0
    """How often synthetic rooms are drawn (relative weight)."""
    nyu_weight: float = 1.0
    """How often NYU Depth V2 is drawn, if given (relative weight)."""
    captures_weight: float = 1.0
    """How often captures are drawn, if given (relative weight)."""
    rooms: RoomClips = field(default_factory=RoomClips)
    """Synthetic rooms."""
    sensors: SensorMixture = field(default_factory=SensorMixture)
    """Sensor models for rooms and re-noised captures."""
    nyu_file: Path | None = None
    """NYU Depth V2's labelled data set, nyu_depth_v2_labeled.mat."""
    nyu_splits: Path | None = None
    """Its official split, splits.mat; all of its images are used without it."""
    nyu_filled_weight: float = 0.0
    """How far depth that was filled in afterwards counts in the loss, 0..1."""
    captures: tuple[Path, ...] = ()
    """Posed captures with exact or reference depth (folders with a transforms.json)."""
    captures_depth: Literal["sensor", "renoised"] = "sensor"
    """Whether a capture's own sensor depth is refined, or its reference depth with simulated noise."""
    crop: tuple[int, int] = (128, 96)
    """Width and height of a sample, pixels; multiples of 16."""
    crops_per_view: int = 4
    """Samples cut from each view, on average."""
    pool_passes: int = 8
    """Latest passes over clips that samples are cut from."""
    clip_reuse: int | None = None
    """How often a clip is used, with new noise each time; None for 3 with a GPU and 12 with a CPU alone, as clips are
    rendered by cores of the CPU."""
    clip_cache: Path | None = None
    """Folder for rendered clips; None for OUT/clips if clips are used more than once or rendered ahead."""
    dropout: Dropout = field(default_factory=Dropout)
    """What is hidden from the model."""
    workers: int | None = None
    """Who makes data in the background; None for 1 process with a CPU and 2 threads for each GPU, which processes would
    have to share by turns. 0 makes it between the steps."""
    renderers: int | None = None
    """Background processes that render clips ahead for each GPU; None for a share of the CPU's cores but three. With 0,
    or without a GPU, clips are rendered by who makes the data."""

    def check(self) -> None:
        """Raises ValueError for what cannot be met, by name."""
        shares = self.dropout.evidence, self.dropout.image, self.dropout.holes
        wanted = (
            (all(size > 0 and size % 16 == 0 for size in self.crop), "crop", self.crop, "multiples of 16"),
            (self.crop[0] <= self.rooms.width[0], "rooms.width", self.rooms.width, "at least the crop's width"),
            (4 * self.crop[1] <= 3 * self.rooms.width[0], "crop", self.crop, "at most 3/4 of rooms.width high"),
            (self.rooms.width[0] >= 32, "rooms.width", self.rooms.width, "32 pixels or more"),
            (self.rooms.views[0] >= 1, "rooms.views", self.rooms.views, "1 or more"),
            (self.crops_per_view >= 1, "crops_per_view", self.crops_per_view, "1 or more"),
            (self.pool_passes >= 1, "pool_passes", self.pool_passes, "1 or more"),
            (self.workers is None or self.workers >= 0, "workers", self.workers, "0 or more"),
            (self.renderers is None or self.renderers >= 0, "renderers", self.renderers, "0 or more"),
            (self.clip_reuse is None or self.clip_reuse >= 1, "clip_reuse", self.clip_reuse, "1 or more"),
            (all(0 <= share <= 1 for share in shares), "dropout", self.dropout, "shares of 0 to 1"),
            (min(self.sensors.weights().values()) >= 0, "sensors", self.sensors, "weights of 0 or more"),
            (sum(self.sensors.weights().values()) > 0, "sensors", self.sensors, "weights that are not all 0"),
            (
                all(low <= high for low, high in self._ranges()),
                "rooms",
                self.rooms,
                "ranges from the least to the largest",
            ),
        )
        for is_met, name, value, accepted in wanted:
            if not is_met:
                raise ValueError(f"data.{name} is {value}: it must be {accepted}")

    def _ranges(self) -> list[tuple[float, float]]:
        rooms = self.rooms
        return [rooms.views, rooms.width, rooms.field_of_view, rooms.path_views, rooms.furniture, self.sensors.strength]
