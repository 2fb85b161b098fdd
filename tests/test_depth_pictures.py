"""Pictures of stage 1 in TensorBoard: read back from the event file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.utils import comms, writer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffnerf_ns.depth_pictures import coloured, depth_pictures
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig, RefinerConfig

NAMES = ("sensor_depth_0_to_5_m", "refined_depth_0_to_5_m", "depth_sigma_0_to_10_cm")


@pytest.fixture
def event_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nerfstudio writes events, in this test alone."""
    monkeypatch.setattr(writer, "EVENT_WRITERS", [])
    monkeypatch.setattr(writer, "EVENT_STORAGE", [])
    return tmp_path / "events"


def callbacks_of(capture: Path, cache_dir: Path, model: str = "hole-filter") -> tuple[Any, list]:
    config = RefinedDepthDataManagerConfig(data=capture, refiner=RefinerConfig(model, cache_dir=cache_dir))
    manager = config.setup(device="cpu", test_mode="val")
    return manager, manager.get_training_callbacks(TrainingCallbackAttributes(None, None, None, None))


def test_tensorboard_shows_each_kind_of_picture_once_as_training_starts(
    capture: Path, cache_dir: Path, event_folder: Path
) -> None:
    manager, callbacks = callbacks_of(capture, cache_dir)
    writer.EVENT_WRITERS.append(writer.TensorboardWriter(event_folder))
    for step in (7, 8, 9):
        for callback in callbacks:
            callback.run_callback(step)
    writer.write_out_storage()
    writer.EVENT_WRITERS[0].tb_writer.close()
    events = EventAccumulator(str(event_folder)).Reload()
    frames = ("view_00", "view_02", "view_03")
    assert sorted(events.Tags()["images"]) == sorted(f"{name}/{frame}" for name in NAMES for frame in frames)
    expected = depth_pictures(manager.train_dataset, 2)
    for name in NAMES:
        (event,) = events.Images(f"{name}/view_02")
        assert event.step == 7
        shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        np.testing.assert_allclose(shown, expected[name].numpy() * 255, atol=1)


def test_without_refinement_there_is_sensor_depth_and_sigma(capture: Path, cache_dir: Path) -> None:
    manager, _ = callbacks_of(capture, cache_dir, "none")
    assert list(depth_pictures(manager.train_dataset, 0)) == [NAMES[0], NAMES[2]]


def test_nothing_is_drawn_where_nobody_looks(capture: Path, cache_dir: Path, event_folder: Path) -> None:
    _, (callback,) = callbacks_of(capture, cache_dir)
    callback.run_callback(0)
    assert writer.EVENT_STORAGE == []


def test_only_the_first_process_draws(capture: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comms, "is_main_process", lambda: False)
    assert callbacks_of(capture, cache_dir)[1] == []


def test_colours_mean_the_same_in_every_picture_and_missing_is_black() -> None:
    near = coloured(np.array([[0.0, 1.0, 2.0]], np.float32), 5.0)
    far = coloured(np.array([[1.0, 4.9, 30.0]], np.float32), 5.0)
    assert near[0, 0].tolist() == [0, 0, 0]
    assert torch.equal(near[0, 1], far[0, 0])
    assert not torch.equal(near[0, 2], near[0, 1])
    assert torch.equal(far[0, 2], coloured(np.full((1, 1), 5.0, np.float32), 5.0)[0, 0])


def test_large_pictures_are_thinned_out() -> None:
    assert coloured(np.ones((1500, 2000), np.float32), 5.0).shape == (375, 500, 3)
