"""Makes the embedded capture: a synthetic room, rendered along a hand-held path, with a simulated depth sensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import TRANSFORMS_FILE, FrameToWrite, PinholeIntrinsics, write_capture
from diffnerf_ns.captures.sensor_noise import SensorKind, misregister, pose_drift, simulate_sensor
from diffnerf_ns.captures.synthetic_room import Camera, Room, camera_path, generate_room, render

ROOM_FORMAT = 1
"""Counts changes of what the same settings make; a capture of another format is not reused."""
SETTINGS_KEY = "synthetic_room"
FRAMES_AT_ONCE = 8


@dataclass
class MakeRoom:
    """Makes a capture of a synthetic furnished room: images, noisy sensor depth, exact depth and poses."""

    out: Path
    """Folder of the capture; made if needed, reused if it holds a capture of the same settings."""
    seed: int = 0
    """Which room: layout, furniture, textures, lights, path and noise all follow from it."""
    views: int = 60
    """Number of frames along the path, held-out ones included."""
    resolution: tuple[int, int] = (320, 240)
    """Width and height of images and depth, pixels."""
    sensor: SensorKind = "kinect"
    """Depth sensor to simulate; none writes exact depth."""
    strength: float = 1.0
    """Severity of the sensor's noise and holes: 1 as published, 0 none, 2 twice as bad."""
    held_out: float = 0.15
    """Share of the views kept out of training for evaluation, 0..0.5, spread evenly over the path."""
    furniture: float = 1.0
    """Amount of furniture: 0 an empty room, 1 lived in, 2 crammed."""
    field_of_view: float = 62.0
    """Horizontal field of view of the camera, degrees."""
    misregistration: float = 0.0
    """Shift of depth against colour, pixels, to the right; what badly calibrated cameras have."""
    drift: float = 0.0
    """Drift of the written poses, metres (one standard deviation); 0 writes exact poses."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render: auto takes a GPU if there is one."""


def write_room_capture(config: MakeRoom, progress: Callable[[int, int], None] | None = None) -> Path:
    """Renders a room and writes its capture, unless the folder already holds one of the same settings.

    Args:
        config: what to make and where.
        progress: called with (frames done, frames in all) as frames are written.

    Returns:
        The capture's folder, ready for `ns-train diffnerf --data`.

    Raises:
        ValueError: a setting that cannot be met, by name.
        CaptureError: the folder holds something else.
    """
    check_settings(config)
    root = Path(config.out)
    settings = recorded_settings(config)
    if _holds_same_capture(root, settings):
        return root
    device = _device(config.device)
    room = generate_room(config.seed, config.furniture)
    camera = Camera.of_size(*config.resolution, config.field_of_view)
    poses = camera_path(room, config.views, config.seed)
    names = [f"frame_{index:05d}" for index in range(1, config.views + 1)]
    intrinsics = PinholeIntrinsics(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    frames = _frames(config, room, camera, poses, names, device, progress)
    return write_capture(root, frames, intrinsics, split_views(names, config.held_out), {SETTINGS_KEY: settings})


def split_views(names: list[str], held_out: float) -> dict[str, list[str]]:
    """Splits names into train and val (which serves as test too), the held-out ones evenly spread."""
    count = round(held_out * len(names))
    if count == 0:
        return {"train": names, "val": names, "test": names}
    chosen = {int((index + 0.5) * len(names) / count) for index in range(count)}
    held = [name for index, name in enumerate(names) if index in chosen]
    return {"train": [name for name in names if name not in set(held)], "val": held, "test": held}


def recorded_settings(config: MakeRoom) -> dict[str, Any]:
    """What decides the contents of a capture, as it is recorded in transforms.json."""
    settings = {key: value for key, value in asdict(config).items() if key not in ("out", "device")}
    return {"format": ROOM_FORMAT, **settings, "resolution": list(config.resolution)}


def check_settings(config: MakeRoom) -> None:
    width, height = config.resolution
    for is_met, field, value, accepted in (
        (config.seed >= 0, "seed", config.seed, "0 or more"),
        (2 <= config.views <= 99_999, "views", config.views, "2 to 99999"),
        (min(width, height) >= 16, "resolution", config.resolution, "at least 16 pixels each way"),
        (max(width, height) <= 4096, "resolution", config.resolution, "at most 4096 pixels each way"),
        (config.sensor in get_args(SensorKind), "sensor", config.sensor, f"one of {', '.join(get_args(SensorKind))}"),
        (0 <= config.strength <= 5, "strength", config.strength, "0 to 5"),
        (0 <= config.held_out <= 0.5, "held_out", config.held_out, "0 to 0.5"),
        (0 <= config.furniture <= 3, "furniture", config.furniture, "0 to 3"),
        (20 <= config.field_of_view <= 120, "field_of_view", config.field_of_view, "20 to 120 degrees"),
        (abs(config.misregistration) <= 20, "misregistration", config.misregistration, "-20 to 20 pixels"),
        (0 <= config.drift <= 0.2, "drift", config.drift, "0 to 0.2 metres"),
    ):
        if not is_met:
            raise ValueError(f"{field} is {value}: it must be {accepted}")


def _frames(
    config: MakeRoom,
    room: Room,
    camera: Camera,
    poses: torch.Tensor,
    names: list[str],
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> Iterator[FrameToWrite]:
    generator = torch.Generator().manual_seed(config.seed)
    written_poses = poses
    if config.drift > 0:
        written_poses = pose_drift(poses, config.drift, 40.0 * config.drift, torch.Generator().manual_seed(config.seed))
    room = room.to(device)
    for start in range(0, len(poses), FRAMES_AT_ONCE):
        chunk = slice(start, start + FRAMES_AT_ONCE)
        rendered = render(room, poses[chunk], camera, device)
        sensed = simulate_sensor(
            config.sensor,
            rendered.depth_z_m,
            camera.fx,
            rendered.albedo,
            rendered.view_cosine,
            rendered.specular,
            generator,
            config.strength,
        )
        if config.misregistration:
            sensed = misregister(sensed, (config.misregistration, 0.0))
        images = (rendered.rgb * 255.0).round().to(torch.uint8).cpu().numpy()
        truth, sensed = rendered.depth_z_m.cpu().numpy(), sensed.cpu().numpy()
        for index, name in enumerate(names[chunk]):
            pose = written_poses[start + index].numpy().astype(np.float64)
            yield FrameToWrite(name, images[index], sensed[index], pose, truth[index])
            if progress is not None:
                progress(start + index + 1, len(poses))


def _holds_same_capture(root: Path, settings: dict[str, Any]) -> bool:
    """Whether a folder holds a whole capture of these settings; raises if it holds anything that is not a room's."""
    if root.is_file():
        raise CaptureError(root, "OUT", "this is a file", "Name a folder that is empty or does not exist yet")
    if not root.exists() or not any(root.iterdir()):
        return False
    transforms_file = root / TRANSFORMS_FILE
    another = "Choose another folder, or delete this one first"
    if not transforms_file.exists():
        if _is_interrupted_room(root):
            return False
        raise CaptureError(root, "OUT", "the folder is not empty and holds no room made by this command", another)
    try:
        found = json.loads(transforms_file.read_text()).get(SETTINGS_KEY)
    except (ValueError, AttributeError, OSError) as error:
        raise CaptureError(transforms_file, "the file", f"it cannot be read ({error})", another) from error
    if found is None:
        raise CaptureError(transforms_file, SETTINGS_KEY, "this capture was not made by this command", another)
    if found != settings:
        keys = [key for key in settings if not isinstance(found, dict) or found.get(key) != settings[key]]
        differences = ", ".join(f"{key} {found.get(key) if isinstance(found, dict) else found}" for key in keys)
        raise CaptureError(transforms_file, SETTINGS_KEY, f"it was made with other settings ({differences})", another)
    return True


def _is_interrupted_room(root: Path) -> bool:
    """Whether a folder holds nothing but frames of a room whose making was interrupted."""
    folders = {"images", "depth", "depth_truth"}
    return all(path.name in folders and path.is_dir() for path in root.iterdir()) and all(
        path.name.startswith(("frame_", ".frame_")) for folder in root.iterdir() for path in folder.iterdir()
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no CUDA device: use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
