"""Clips of synthetic rooms before any sensor has seen them: several overlapping views with exact depth."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from diffnerf_ns.captures.atomic_files import content_hash, write_bytes_atomically
from diffnerf_ns.captures.synthetic_room import Camera, camera_path, generate_room, render
from diffnerf_ns.refinement.training.data_settings import RoomClips
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator

CLIP_FORMAT = 1
"""Changes when a clip of the same settings would look different."""

CLIPS_KEPT = 500
"""Latest clips that may be used again: some 9 GB of 34 views of 240 x 180 pixels."""


@dataclass(frozen=True)
class CleanClip:
    """V views of H x W pixels; what is 8 bit stands for 0..1."""

    rgb: Tensor
    """Display colour [V, H, W, 3], 8 bit."""
    depth_z_m: Tensor
    """Exact z-depth [V, H, W], metres, 0 where the view leaves the room."""
    albedo: Tensor
    """Diffuse reflectance [V, H, W, 3], linear, 8 bit."""
    view_cosine: Tensor
    """Cosine between surface normal and the direction to the camera [V, H, W], 8 bit."""
    specular: Tensor
    """How mirror-like the surface is [V, H, W], 8 bit."""
    intrinsics: Tensor
    """Pinhole matrix [3, 3] of all views, pixels."""
    camera_to_world: Tensor
    """Exact poses [V, 4, 4], metres, OpenGL axes."""

    def to(self, device: torch.device | str) -> CleanClip:
        return CleanClip(*(getattr(self, field.name).to(device) for field in fields(self)))


def render_clip(settings: RoomClips, seed: int, number: int, device: torch.device | str) -> CleanClip:
    """Renders a clip of a new room: consecutive views of a walk through it.

    Args:
        settings: what rooms and views are like.
        seed: of the training.
        number: which clip.
        device: where to render and where the result is.
    """
    draw = numpy_generator(Stream.CLIP, seed, number)
    room = generate_room(int(draw.integers(2**31)), float(draw.uniform(*settings.furniture)))
    width = 16 * int(draw.integers(settings.width[0] // 16, settings.width[1] // 16 + 1))
    camera = Camera.of_size(width, 3 * width // 4, float(draw.uniform(*settings.field_of_view)))
    views = int(draw.integers(settings.views[0], settings.views[1] + 1))
    walk = max(views, int(draw.integers(settings.path_views[0], settings.path_views[1] + 1)))
    poses = camera_path(room, walk, int(draw.integers(2**31)))
    start = int(draw.integers(walk))
    poses = poses.roll(-start, 0)[:views]
    frames = render(room, poses, camera, device)
    intrinsics = [[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]]
    return CleanClip(
        rgb=_as_bytes(frames.rgb),
        depth_z_m=frames.depth_z_m,
        albedo=_as_bytes(frames.albedo),
        view_cosine=_as_bytes(frames.view_cosine),
        specular=_as_bytes(frames.specular),
        intrinsics=torch.tensor(intrinsics, device=device),
        camera_to_world=poses.to(device=device, dtype=torch.float32),
    )


class Renderers(Protocol):
    """Others that render clips."""

    def wait_for(self, number: int, file: Path) -> None:
        """Returns when a clip is in its file, or when nobody is going to render it."""
        ...


class ClipStore:
    """Clips by number, rendered when first asked for and kept in a folder if one is given."""

    def __init__(self, settings: RoomClips, seed: int, folder: Path | None, device: torch.device | str) -> None:
        self.settings, self.seed, self.device = settings, seed, device
        name = content_hash(f"{CLIP_FORMAT} {seed} {sorted(asdict(settings).items())}")[:16]
        self.folder = None if folder is None else Path(folder) / name
        self.renderers: Renderers | None = None
        """Who renders clips into the folder ahead of their use."""

    def file_of(self, number: int) -> Path:
        """Where a clip is kept, by a store that has a folder."""
        assert self.folder is not None
        return self.folder / f"clip-{number:06d}.npz"

    def clip(self, number: int) -> CleanClip:
        if self.folder is None:
            return render_clip(self.settings, self.seed, number, self.device)
        file = self.file_of(number)
        if self.renderers is not None:
            self.renderers.wait_for(number, file)
        if not file.exists():
            clip = render_clip(self.settings, self.seed, number, self.device)
            buffer = io.BytesIO()
            np.savez(buffer, **{field.name: getattr(clip, field.name).cpu().numpy() for field in fields(CleanClip)})
            write_bytes_atomically(file, buffer.getvalue())
            return clip
        try:
            with np.load(file, allow_pickle=False) as arrays:
                clip = CleanClip(*(torch.from_numpy(arrays[field.name]) for field in fields(CleanClip)))
        except (OSError, ValueError, KeyError) as error:
            raise OSError(
                f"{file} cannot be read as a rendered clip ({error}): delete it, it is rendered again"
            ) from error
        return clip.to(self.device)

    def count_stored(self) -> int:
        """Clips that are there already."""
        return 0 if self.folder is None else len(list(self.folder.glob("clip-*.npz")))


def _as_bytes(values: Tensor) -> Tensor:
    return (values * 255.0).round().clamp(0, 255).to(torch.uint8)
