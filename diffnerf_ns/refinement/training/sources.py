"""Puts together the data that the settings name."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from diffnerf_ns.refinement.training.data_settings import TrainingData
from diffnerf_ns.refinement.training.nyu_frames import NyuSource
from diffnerf_ns.refinement.training.posed_views import ViewSource
from diffnerf_ns.refinement.training.room_clips import ClipStore
from diffnerf_ns.refinement.training.sensed_clips import RoomSource

CPU_CLIP_REUSE, GPU_CLIP_REUSE = 12, 3
CORES_FOR_OTHERS = 3
"""Cores of the CPU that do not render: for the steps and for those who make data."""


def clip_reuse(data: TrainingData, device: torch.device) -> int:
    """How often a clip is used: as set, or by how many cores render."""
    return data.clip_reuse or (GPU_CLIP_REUSE if device.type == "cuda" else CPU_CLIP_REUSE)


def worker_count(data: TrainingData, device: torch.device) -> int:
    """Who makes data in the background: as set, or by device."""
    return (2 if device.type == "cuda" else 1) if data.workers is None else data.workers


def renderer_count(data: TrainingData, device: torch.device, processes: int = 1) -> int:
    """Who renders clips ahead: as set, or this process's share of the cores."""
    if device.type != "cuda" or data.rooms_weight <= 0:
        return 0
    if data.renderers is not None:
        return data.renderers
    return max(1, (os.cpu_count() or 1) // processes - CORES_FOR_OTHERS)


def clip_folder(data: TrainingData, out: Path, device: torch.device) -> Path | None:
    """Where rendered clips are kept; None if none is used twice, or by others than who rendered it."""
    kept = clip_reuse(data, device) > 1 or renderer_count(data, device) > 0
    return data.clip_cache or (out / "clips" if kept else None)


def make_sources(data: TrainingData, seed: int, out: Path, device: torch.device) -> dict[str, tuple[ViewSource, float]]:
    """The sources with weights above 0, by name, with their weights."""
    found: dict[str, tuple[ViewSource, float]] = {}
    if data.rooms_weight > 0:
        store = ClipStore(data.rooms, seed, clip_folder(data, out, device), device)
        alone = data.dropout.evidence / 2
        rooms = RoomSource(store, data.sensors, seed, clip_reuse(data, device), alone)
        found["rooms"] = (rooms, data.rooms_weight)
    if data.nyu_file is not None and data.nyu_weight > 0:
        views = data.rooms.views[1]
        nyu = NyuSource(data.nyu_file, data.nyu_splits, data.nyu_filled_weight, views, seed)
        found["NYU Depth V2"] = (nyu, data.nyu_weight)
    if data.captures and data.captures_weight > 0:
        # Reading captures takes OpenCV and Pillow, which a training on rooms does without.
        from diffnerf_ns.refinement.training.capture_views import CaptureSource

        share = data.captures_weight / len(data.captures)
        for folder in data.captures:
            source = CaptureSource(folder, data.captures_depth, data.sensors, data.rooms.views[1], seed, device)
            found[f"capture {folder}"] = (source, share)
    if not found:
        raise ValueError("data names nothing to train on: set rooms_weight above 0, or give nyu_file or captures")
    return found
