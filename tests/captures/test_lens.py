"""Distortion is undone as nerfstudio's rays undo it, and can be put back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from diffnerf_ns.captures.lens import Lens, LensMaps

WIDTH, HEIGHT = 64, 48
INTRINSICS = np.array([[50.0, 0.0, 31.0], [0.0, 51.0, 25.0], [0.0, 0.0, 1.0]])
BARREL = Lens((-0.2, 0.03, 0.002, 0.0), (0.002, -0.003))
FISHEYE = Lens((-0.02, 0.004, -0.001, 0.0005), is_fisheye=True)


def pinhole_pixels(lens: Lens) -> torch.Tensor:
    """Where nerfstudio's rays through the distorted pixels would fall on a pinhole's image [H, W, 2], pixels."""
    camera = Cameras(
        torch.eye(4)[None, :3],
        *(float(INTRINSICS[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))),
        width=WIDTH,
        height=HEIGHT,
        distortion_params=torch.tensor([[*lens.radial, *lens.tangential]]),
        camera_type=CameraType.FISHEYE if lens.is_fisheye else CameraType.PERSPECTIVE,
    )
    directions = camera.generate_rays(camera_indices=0, keep_shape=True).directions
    x, y = directions[..., 0] / -directions[..., 2], directions[..., 1] / directions[..., 2]
    return torch.stack([50.0 * x + 31.0, 51.0 * y + 25.0], dim=-1)


@pytest.mark.parametrize("lens", [BARREL, FISHEYE])
def test_values_come_from_where_nerfstudio_s_rays_go(lens: Lens) -> None:
    columns, rows = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    maps = LensMaps(lens, INTRINSICS, WIDTH, HEIGHT)
    found = np.stack([maps.distorted(columns + 1000.0), maps.distorted(rows + 1000.0)], axis=-1)
    expected = pinhole_pixels(lens).numpy() - 0.5
    inside = found[..., 0] > 0
    assert inside.mean() > 0.7
    assert np.abs(found - 1000.0 - expected)[inside].max() < 0.51, "the nearest pixel"
    moved = np.abs(expected - np.stack([columns, rows], axis=-1)).max()
    assert moved > 1.5, "the lens is worth undoing"


@pytest.mark.parametrize("lens", [BARREL, FISHEYE])
def test_depth_without_distortion_and_back_is_the_same_depth_next_to_it(lens: Lens) -> None:
    depth = np.linspace(1.0, 3.0, WIDTH, dtype=np.float32)[None].repeat(HEIGHT, axis=0)
    maps = LensMaps(lens, INTRINSICS, WIDTH, HEIGHT)
    back = maps.distorted(maps.pinhole_depth(depth))
    seen = back > 0
    assert seen.mean() > 0.7
    assert np.abs(back - depth)[seen].max() < 3.1 * (depth[0, 1] - depth[0, 0])


def test_a_hole_stays_a_hole_and_is_never_mixed_with_depth() -> None:
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[10:20, 10:20] = 0.0
    pinhole = LensMaps(BARREL, INTRINSICS, WIDTH, HEIGHT).pinhole_depth(depth)
    assert set(np.unique(pinhole)) == {0.0, 2.0}


def test_transforms_name_the_lens() -> None:
    assert Lens.of_transforms({"k1": 0.1, "p2": -0.2}) == Lens((0.1, 0.0, 0.0, 0.0), (0.0, -0.2))
    assert Lens.of_transforms({"k1": 0, "camera_model": "OPENCV"}).is_pinhole
    assert not Lens.of_transforms({"camera_model": "OPENCV_FISHEYE"}).is_pinhole
