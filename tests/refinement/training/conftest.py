from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffnerf_ns.refinement.training.data_settings import RoomClips, TrainingData
from diffnerf_ns.refinement.training.settings import Network, TrainRefiner
from diffnerf_ns.refinement.view_evidence import ViewEvidence


@pytest.fixture
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Two or three views of 32 x 24 pixels."""
    rooms = RoomClips(views=(2, 3), width=(32, 48))
    cache = tmp_path_factory.getbasetemp() / "tiny-clips"
    return TrainingData(
        rooms=rooms, crop=(32, 16), crops_per_view=2, pool_passes=2, clip_reuse=3, workers=0, clip_cache=cache
    )


@pytest.fixture
def tiny(tmp_path: Path, tiny_data: TrainingData) -> TrainRefiner:
    """A training of seconds."""
    return TrainRefiner(
        out=tmp_path / "out",
        data=tiny_data,
        network=Network(block_out_channels=(8, 8), layers_per_block=1, full_resolution_channels=8),
        max_steps=6,
        batch_size=2,
        mixed_precision="no",
        cpu=True,
        validate_every=3,
        validation_clips=1,
        validation_views=2,
        checkpoint_every=2,
        log_every=1,
        tensorboard=False,
    )


@pytest.fixture(autouse=True)
def quick_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other views say what the sensor does: fusing them is tested elsewhere."""

    def evidence(depth_z_m: torch.Tensor, *_: object) -> ViewEvidence:
        return ViewEvidence(depth_z_m.clone(), torch.ones_like(depth_z_m), torch.ones_like(depth_z_m))

    def as_measured(depth_z_m: torch.Tensor, *_: object) -> list[torch.Tensor]:
        return list(depth_z_m)

    sensed_clips = "diffnerf_ns.refinement.training.sensed_clips"
    monkeypatch.setattr(f"{sensed_clips}.evidence_from_views", evidence)
    for step in ("without_bias", "without_contradicted"):
        monkeypatch.setattr(f"{sensed_clips}.{step}", as_measured)
