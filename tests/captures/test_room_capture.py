"""The embedded capture on disk: complete, exact where it claims to be, reused, careful with what is not its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.room_capture import MakeRoom, split_views, write_room_capture
from diffnerf_ns.captures.synthetic_room import Camera, camera_path, generate_room, render

SMALL = {"seed": 3, "views": 8, "resolution": (64, 48), "held_out": 0.25, "device": "cpu"}


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    return write_room_capture(MakeRoom(tmp_path_factory.mktemp("room") / "capture", **SMALL))


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_depth(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000.0


def test_files_are_complete_and_transforms_are_nerfstudios(capture) -> None:
    transforms = json.loads((capture / "transforms.json").read_text())
    assert len(transforms["frames"]) == 8
    assert (transforms["w"], transforms["h"]) == (64, 48)
    assert transforms["fl_x"] == pytest.approx(Camera.of_size(64, 48).fx)
    for frame in transforms["frames"]:
        image = cv2.imread(str(capture / frame["file_path"]))
        assert image.shape == (48, 64, 3)
        assert image.std() > 10
        for key in ("depth_file_path", "depth_truth_file_path"):
            assert read_depth(capture / frame[key]).shape == (48, 64)


def test_truth_is_the_rendered_depth_and_sensor_depth_is_noisy(capture) -> None:
    room = generate_room(3)
    poses = camera_path(room, 8, 3)
    exact = render(room, poses, Camera.of_size(64, 48)).depth_z_m.numpy()
    transforms = json.loads((capture / "transforms.json").read_text())
    errors = []
    for index, frame in enumerate(transforms["frames"]):
        truth, sensed = (read_depth(capture / frame[key]) for key in ("depth_truth_file_path", "depth_file_path"))
        assert np.allclose(frame["transform_matrix"], poses[index].numpy())
        assert np.abs(truth - exact[index]).max() <= 0.00051
        both = (truth > 0) & (sensed > 0)
        assert 0.5 < both.mean() < 1.0
        errors.append(np.median(np.abs(truth - sensed)[both]))
    assert 0.002 < np.median(errors) < 0.05


def test_held_out_views_are_spread_over_the_path_and_disjoint_from_training(capture) -> None:
    transforms = json.loads((capture / "transforms.json").read_text())
    train, val = set(transforms["train_filenames"]), transforms["val_filenames"]
    assert (len(train), len(val)) == (6, 2)
    assert not train & set(val)
    assert transforms["test_filenames"] == val
    assert [Path(name).stem for name in val] == ["frame_00003", "frame_00007"]


@pytest.mark.parametrize(("views", "share", "expected"), [(60, 0.15, 9), (10, 0.1, 1), (7, 0.5, 4), (5, 0.01, 0)])
def test_split_holds_out_its_share(views, share, expected) -> None:
    names = [str(index) for index in range(views)]
    splits = split_views(names, share)
    if expected == 0:
        assert splits["train"] == splits["val"] == names
        return
    assert len(splits["val"]) == expected
    assert sorted(splits["train"] + splits["val"], key=int) == names


def test_same_settings_are_reused_without_touching_a_file(capture) -> None:
    before = {path: path.stat().st_mtime_ns for path in capture.rglob("*")}
    calls = []
    assert write_room_capture(MakeRoom(capture, **SMALL), lambda done, total: calls.append(done)) == capture
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in capture.rglob("*")} == before


def test_same_settings_elsewhere_give_the_same_bytes(capture, tmp_path) -> None:
    calls = []
    again = write_room_capture(MakeRoom(tmp_path / "b", **SMALL), lambda done, total: calls.append((done, total)))
    assert digests(again) == digests(capture)
    assert calls == [(index, 8) for index in range(1, 9)]


def test_other_settings_are_refused_and_named(capture) -> None:
    before = digests(capture)
    with pytest.raises(
        CaptureError, match=r"transforms.json: synthetic_room: .*other settings \(sensor kinect\)"
    ) as caught:
        write_room_capture(MakeRoom(capture, **SMALL, sensor="tof"))
    assert "Choose another folder" in str(caught.value)
    assert digests(capture) == before


def test_foreign_folders_files_and_captures_are_refused_and_left_alone(tmp_path) -> None:
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "photo.jpg").write_text("mine")
    with pytest.raises(CaptureError, match="holiday: OUT: the folder is not empty"):
        write_room_capture(MakeRoom(holiday, **SMALL))
    (holiday / "transforms.json").write_text('{"frames": []}')
    with pytest.raises(CaptureError, match="this capture was not made by this command"):
        write_room_capture(MakeRoom(holiday, **SMALL))
    (holiday / "transforms.json").write_text("{")
    with pytest.raises(CaptureError, match="it cannot be read"):
        write_room_capture(MakeRoom(holiday, **SMALL))
    with pytest.raises(CaptureError, match="this is a file"):
        write_room_capture(MakeRoom(holiday / "photo.jpg", **SMALL))
    assert sorted(path.name for path in holiday.iterdir()) == ["photo.jpg", "transforms.json"]


def test_interrupted_room_is_finished(capture, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    config = MakeRoom(tmp_path / "room", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        write_room_capture(config, stop)
    assert not (tmp_path / "room" / "transforms.json").exists()
    assert digests(write_room_capture(config)) == digests(capture)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("views", 1, "views is 1: it must be 2 to 99999"),
        ("resolution", (8, 400), "at least 16 pixels"),
        ("strength", -0.5, "strength is -0.5: it must be 0 to 5"),
        ("held_out", 0.9, "held_out is 0.9: it must be 0 to 0.5"),
        ("seed", -1, "seed is -1: it must be 0 or more"),
        ("drift", float("nan"), "drift is nan"),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_nothing_is_written(tmp_path, field, value, message) -> None:
    config = replace(MakeRoom(tmp_path / "room", **SMALL), **{field: value})
    with pytest.raises(ValueError, match=message):
        write_room_capture(config)
    assert not (tmp_path / "room").exists()


def test_unknown_sensor_is_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(ValueError, match="sensor"):
        write_room_capture(MakeRoom(tmp_path / "room", **SMALL, sensor=cast(Any, "sonar")))
    assert not (tmp_path / "room").exists()


def test_cuda_without_a_device_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="use --device cpu or auto"):
        write_room_capture(MakeRoom(tmp_path / "room", **{**SMALL, "device": "cuda"}))


def test_drift_moves_written_poses_and_misregistration_moves_depth(capture, tmp_path) -> None:
    settings = {**SMALL, "sensor": "none", "drift": 0.01, "misregistration": 2.0}
    other = write_room_capture(MakeRoom(tmp_path / "room", **settings))
    exact = json.loads((capture / "transforms.json").read_text())["frames"]
    drifted = json.loads((other / "transforms.json").read_text())["frames"]
    offset = [
        np.linalg.norm(np.array(a["transform_matrix"])[:3, 3] - np.array(b["transform_matrix"])[:3, 3])
        for a, b in zip(exact, drifted, strict=True)
    ]
    assert offset[0] == 0
    assert 0 < max(offset) < 0.06
    depth, truth = (read_depth(other / drifted[2][key]) for key in ("depth_file_path", "depth_truth_file_path"))
    assert np.array_equal(depth[:, 2:], truth[:, :-2])


def test_every_setting_explains_itself() -> None:
    import ast
    import inspect

    tree = cast(ast.ClassDef, ast.parse(inspect.getsource(MakeRoom)).body[0])
    documented = {
        ast.unparse(before.target)
        for before, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert documented == {field.name for field in fields(MakeRoom)}
