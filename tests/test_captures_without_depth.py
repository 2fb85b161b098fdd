"""diffnerf-mlp trains on pictures alone, with nerfstudio's own commands; diffnerf refuses them and says why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.scripts import eval as ns_eval
from nerfstudio.scripts import train as ns_train
from nerfstudio.utils import writer

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.refined_datamanager import RefinedDepthDataManager, RefinedDepthDataManagerConfig

SIZE = 12
ANGLE = 0.7
"""Horizontal field of view, radians."""


def looking_at_origin(turn: float) -> np.ndarray:
    """A camera four units from the origin in the xy plane, z up."""
    back = np.array([np.cos(turn), np.sin(turn), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    pose = np.eye(4)
    pose[:3] = np.stack([np.cross(up, back), up, back, 4.0 * back], axis=1)
    return pose


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A red ball of radius 0.8 on nothing, in the layout of NeRF's synthetic scenes: RGBA, no depth."""
    folder = tmp_path / "ball"
    focal = 0.5 * SIZE / np.tan(0.5 * ANGLE)
    offset = np.hypot(*(np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2))
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[offset < 0.8 / 4.0 * focal] = (30, 30, 220, 255)
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        (folder / split).mkdir(parents=True)
        frames = []
        for index in range(count):
            cv2.imwrite(str(folder / split / f"r_{index}.png"), picture)
            pose = looking_at_origin(index + (0.5 if split != "train" else 0.0))
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": ANGLE, "frames": frames}))
    return folder


def settings(scene: Path, **more) -> RefinedDepthDataManagerConfig:
    return RefinedDepthDataManagerConfig(data=scene, dataparser=BlenderDataParserConfig(), **more)


def test_a_method_that_needs_depth_refuses_and_names_one_that_does_not(scene: Path) -> None:
    with pytest.raises(CaptureError, match=r"images but no depth.*diffnerf-mlp"):
        settings(scene).check_capture()


def test_batches_carry_colour_alone_and_the_box_is_the_dataparser_s(scene: Path, capsys: pytest.CaptureFixture) -> None:
    manager = settings(scene, depth_required=False, train_num_rays_per_batch=64).setup(device="cpu", test_mode="val")
    assert isinstance(manager, RefinedDepthDataManager)
    assert "colour alone" in capsys.readouterr().out
    for rays, batch in (manager.next_train(0), manager.next_eval(0)):
        assert set(batch) - {"patch_size"} == {"image", "indices"}
        assert "depth_z" not in rays.metadata
    torch.testing.assert_close(manager.train_dataset.scene_box.aabb, torch.tensor([[-1.5] * 3, [1.5] * 3]))
    torch.testing.assert_close(manager.train_dataset.metadata["alpha_color"], torch.ones(3))


def test_stock_commands_train_and_evaluate_it(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writer, "EVENT_WRITERS", [])
    model = ("--coarse-samples", "16", "--fine-samples", "16", "--hidden-dim", "32", "--num-layers", "4")
    arguments = [f"--pipeline.model.{word[2:]}" if word.startswith("--") else word for word in model]
    arguments += ["--pipeline.model.skip-layer", "1", "--pipeline.model.position-frequencies", "4"]
    arguments += ["--optimizers.fields.optimizer.lr", "5e-3", "--max-num-iterations", "120"]
    arguments += ["--vis", "tensorboard", "--timestamp", "run", "--data", str(scene), "blender-data"]
    call(ns_train.entrypoint, "diffnerf-mlp", *arguments)
    run = tmp_path / "outputs" / "ball" / "diffnerf-mlp" / "run"
    (checkpoint,) = (run / "nerfstudio_models").iterdir()
    assert torch.load(checkpoint, weights_only=True)["step"] == 119
    scores = tmp_path / "scores.json"
    call(ns_eval.entrypoint, "--load-config", run / "config.yml", "--output-path", scores)
    assert json.loads(scores.read_text())["results"]["psnr"] > 12


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls a console script's entry point with a command line."""

    def call_entry_point(entry_point: Callable[[], None], *arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", [entry_point.__module__, *map(str, arguments)])
        entry_point()

    return call_entry_point
