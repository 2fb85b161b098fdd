"""Depth whose edges lie beside the picture's is told from depth that is only noisy."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffnerf_ns.refinement.interface import RefinerFrame
from diffnerf_ns.refinement.registration import WIDTH, Misregistration, misregistration

ROWS, COLUMNS = 240, 320


def frame(seed: int, move: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> RefinerFrame:
    """Boxes before a wall, each of a colour of its own, seen by a noisy sensor with holes.

    Args:
        seed: of boxes and noise.
        move: columns to the right and rows down by which depth lies beside the picture.
        scale: enlargement of depth about the centre, before that.
    """
    draw = np.random.default_rng(seed)
    image, depth = np.full((ROWS, COLUMNS, 3), 120, np.uint8), np.full((ROWS, COLUMNS), 3.0, np.float32)
    for _ in range(12):
        top, left = draw.integers(0, ROWS - 40), draw.integers(0, COLUMNS - 40)
        box = np.s_[top : top + draw.integers(20, 60), left : left + draw.integers(20, 60)]
        image[box], depth[box] = draw.integers(0, 255, 3), draw.uniform(1.0, 2.5)
    image = np.clip(image + draw.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    centre = 0.5 * (1.0 - scale) * np.array([COLUMNS, ROWS])
    matrix = np.array([[scale, 0, centre[0] + move[0]], [0, scale, centre[1] + move[1]]], np.float32)
    depth = cv2.warpAffine(depth, matrix, (COLUMNS, ROWS), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    depth = depth + draw.normal(0, 0.01, depth.shape).astype(np.float32)
    depth[draw.random(depth.shape) < 0.1] = 0.0
    return RefinerFrame("boxes", COLUMNS, ROWS, np.eye(3), np.eye(4), lambda: image, lambda: depth.astype(np.float32))


def found(*frames: RefinerFrame) -> Misregistration:
    wrong = misregistration(frames)
    assert wrong is not None
    return wrong


def test_registered_depth_is_left_alone_however_noisy() -> None:
    assert misregistration([frame(seed) for seed in range(4)]) is None


def test_depth_beside_the_picture_is_found_with_the_way_back() -> None:
    wrong = found(*(frame(seed, move=(8, -4)) for seed in range(4)))
    assert (wrong.scale, wrong.right, wrong.down) == (1.0, pytest.approx(-4 / WIDTH), pytest.approx(2 / WIDTH))
    assert wrong.gain > 1.5


def test_depth_of_a_wider_angle_is_found() -> None:
    wrong = found(*(frame(seed, scale=0.9) for seed in range(4)))
    assert wrong.scale in (1.08, 1.12)
    assert "enlarged 1." in str(wrong)


def test_a_single_frame_out_of_step_is_no_misregistration() -> None:
    assert misregistration([frame(0, move=(8, 0)), *(frame(seed) for seed in range(1, 8))]) is None


def test_where_nothing_can_be_told_nothing_is_said() -> None:
    def read_flat() -> npt.NDArray[np.float32]:
        return np.full((ROWS, COLUMNS), 2.0, np.float32)

    def read_grey() -> npt.NDArray[np.uint8]:
        return np.full((ROWS, COLUMNS, 3), 128, np.uint8)

    beside = frame(0, move=(8, 0))
    assert misregistration([replace(beside, read_depth_z_m=read_flat)] * 4) is None
    assert misregistration([replace(beside, read_image=read_grey)] * 4) is None
    assert misregistration([]) is None
