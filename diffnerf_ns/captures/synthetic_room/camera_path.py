"""Paths of a hand-held camera through a room: smooth, a little shaky, looking at things, clear of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.room import Room

CLEARANCE_M = 0.35
"""A camera stays at least this far from every thing and wall."""
KNOTS = 48
SHAKE_M, SHAKE_DEGREES = 0.008, 0.8

Vector = npt.NDArray[np.float64]


def camera_path(room: Room, views: int, seed: int = 0) -> Tensor:
    """Poses [views, 4, 4] of a walk round the room: OpenGL camera-to-world, metres, double precision.

    The walker goes round the free floor once and looks across the room, so that neighbouring views overlap and every
    thing is seen from several sides.
    """
    if views < 1:
        raise ValueError(f"views must be at least 1, got {views}")
    generator = np.random.default_rng([room.seed, seed, 104729])
    eyes = _walk(room, generator)
    gaze = _gaze(room, eyes, generator)
    times = np.linspace(0.0, 1.0, views, endpoint=False) + 0.5 / views
    position = _periodic(eyes, times)
    target = _periodic(gaze, times)
    position = position + SHAKE_M * _tremble(generator, times, 3)
    position = _push_clear(room, position, rounds=30)
    roll_pitch_yaw = math.radians(SHAKE_DEGREES) * _tremble(generator, times, 3)
    poses = np.stack([_look(eye, at, tilt) for eye, at, tilt in zip(position, target, roll_pitch_yaw, strict=True)])
    return torch.from_numpy(poses)


def clearance_m(room: Room, points: Vector) -> Vector:
    """Distance [N] of points [N, 3] to the nearest wall or thing's box, metres; negative inside."""
    low, high = room.obstacle_low.numpy(), room.obstacle_high.numpy()
    half = np.array(room.half_extents)
    to_wall = (half - np.abs(points - [0, 0, half[2]])).min(1)
    if not len(low):
        return to_wall
    beyond = np.maximum(low[None] - points[:, None], points[:, None] - high[None])
    outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=2)
    inside = np.minimum(beyond.max(2), 0.0)
    return np.minimum(to_wall, (outside + inside).min(1))


def _walk(room: Room, generator: np.random.Generator) -> Vector:
    """A closed loop of eye positions [KNOTS, 3] clear of everything."""
    angle = 2 * np.pi * (np.arange(KNOTS) / KNOTS) * generator.choice([-1, 1]) + generator.uniform(0, 2 * np.pi)
    half_x, half_y, _ = room.half_extents
    reach = generator.uniform(0.52, 0.7)
    wobble = 1 + 0.12 * np.sin(2 * angle + generator.uniform(0, 6)) + 0.08 * np.sin(3 * angle + generator.uniform(0, 6))
    height = generator.uniform(1.25, 1.5) + 0.18 * np.sin(2 * angle + generator.uniform(0, 6))
    height += 0.08 * np.sin(3 * angle + generator.uniform(0, 6))
    path = np.stack([half_x * reach * wobble * np.cos(angle), half_y * reach * wobble * np.sin(angle), height], 1)
    for _ in range(12):
        path = _push_clear(room, path, rounds=8)
        path = 0.25 * np.roll(path, 1, 0) + 0.5 * path + 0.25 * np.roll(path, -1, 0)
    return _push_clear(room, path, rounds=60)


def _push_clear(room: Room, points: Vector, rounds: int) -> Vector:
    """Moves points that are too near something away from it, a few centimetres at a time."""
    points = points.copy()
    step = 0.04
    axes = np.eye(3) * 0.01
    for _ in range(rounds):
        near = clearance_m(room, points) < CLEARANCE_M + 0.03
        if not near.any():
            break
        here = points[near]
        slope = np.stack([clearance_m(room, here + axis) - clearance_m(room, here - axis) for axis in axes], 1)
        length = np.linalg.norm(slope, axis=1, keepdims=True)
        up = np.array([0.0, 0.0, 1.0])
        points[near] = here + step * np.where(length > 1e-6, slope / np.maximum(length, 1e-6), up)
    return points


def _gaze(room: Room, eyes: Vector, generator: np.random.Generator) -> Vector:
    """Where to look [KNOTS, 3]: across the room at things, drifting from one to the next."""
    things = room.targets.numpy()
    middle = np.array([0.0, 0.0, 0.85])
    looks = []
    for eye in eyes:
        across = -eye[:2] / max(float(np.linalg.norm(eye[:2])), 1e-6)
        offset = things[:, :2] - eye[:2]
        distance = np.linalg.norm(offset, axis=1)
        ahead = (offset @ across) / np.maximum(distance, 1e-6)
        weight = np.exp(3.0 * ahead) * (distance > 0.9) * np.exp(-0.3 * distance) + 1e-9
        looks.append((weight[:, None] * things).sum(0) / weight.sum())
    gaze = 0.75 * np.array(looks) + 0.25 * middle
    sweep = 2 * np.pi * np.arange(KNOTS) / KNOTS
    for axis, amount in ((0, 0.45), (1, 0.45), (2, 0.25)):
        gaze[:, axis] += amount * np.sin(generator.integers(3, 6) * sweep + generator.uniform(0, 6))
    for _ in range(4):
        gaze = 0.25 * np.roll(gaze, 1, 0) + 0.5 * gaze + 0.25 * np.roll(gaze, -1, 0)
    return gaze


def _periodic(knots: Vector, times: Vector) -> Vector:
    """Catmull-Rom through closed knots [K, 3] at times in 0..1."""
    position = times * len(knots)
    index = np.floor(position).astype(int)
    t = (position - index)[:, None]
    a, b, c, d = (knots[(index + shift) % len(knots)] for shift in (-1, 0, 1, 2))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def _tremble(generator: np.random.Generator, times: Vector, channels: int) -> Vector:
    """Smooth noise [T, channels] of about unit deviation: a hand's slow sway and faster jitter."""
    total = np.zeros((len(times), channels))
    for cycles, amount in ((5, 0.6), (11, 0.5), (23, 0.4), (41, 0.3)):
        phase = generator.uniform(0, 2 * np.pi, channels)
        total += amount * np.sqrt(2) * np.sin(2 * np.pi * cycles * times[:, None] + phase)
    return total


def _look(eye: Vector, target: Vector, roll_pitch_yaw: Vector) -> Vector:
    backward = eye - target
    backward /= np.linalg.norm(backward)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(backward, right), backward], 1) @ _small_rotation(roll_pitch_yaw)
    pose[:3, 3] = eye
    return pose


def _small_rotation(roll_pitch_yaw: Vector) -> Vector:
    roll, pitch, yaw = roll_pitch_yaw
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]], dtype=float)
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]], dtype=float)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]], dtype=float)
    return (about_z @ about_x @ about_y).astype(np.float64)
