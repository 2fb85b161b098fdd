"""Captures that cannot be used: refused before anything is written, with file, field and remedy.

`ns-train` is run in this process, as far as it gets: to the check, which comes before its first file.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.scripts import train

from diffnerf_ns.captures.capture_errors import CaptureError, CaptureWarning
from diffnerf_ns.captures.capture_files import write_depth_png
from diffnerf_ns.captures.depth_checks import likely_unit
from diffnerf_ns.checked_trainer import CheckedTrainerConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig, RefinerConfig


def edit(capture: Path, change: Callable[[dict], object]) -> None:
    file = capture / "transforms.json"
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))


def all_depth(capture: Path, depth: Callable[[], np.ndarray]) -> None:
    for file in (capture / "depth").iterdir():
        write_depth_png(file, depth())


def float_depth(capture: Path, value: float) -> None:
    edit(capture, lambda m: m.update(depth_unit_scale_factor=1.0))
    for file in (capture / "depth").glob("*.png"):
        np.save(file.with_suffix(".npy"), np.full((12, 16), value, np.float32))
    edit(capture, lambda m: [f.update(depth_file_path=f["depth_file_path"][:-3] + "npy") for f in m["frames"]])


def no_transforms(capture: Path) -> None:
    (capture / "transforms.json").unlink()


def no_folder(capture: Path) -> None:
    shutil.rmtree(capture)


def broken_json(capture: Path) -> None:
    (capture / "transforms.json").write_text('{"frames": [')


def no_depth(capture: Path) -> None:
    edit(capture, lambda m: [frame.pop("depth_file_path") for frame in m["frames"]])


def depth_in_some_frames(capture: Path) -> None:
    edit(capture, lambda m: m["frames"][2].pop("depth_file_path"))


def missing_depth_file(capture: Path) -> None:
    (capture / "depth" / "view_03.png").unlink()


def missing_held_out_depth_file(capture: Path) -> None:
    (capture / "depth" / "view_05.png").unlink()


def unreadable_depth_file(capture: Path) -> None:
    file = capture / "depth" / "view_03.png"
    file.write_bytes(file.read_bytes()[:60])


def not_a_depth_file(capture: Path) -> None:
    (capture / "depth" / "view_03.png").write_bytes(b"hello")


def missing_image(capture: Path) -> None:
    (capture / "images" / "view_01.png").unlink()


def unreadable_image(capture: Path) -> None:
    (capture / "images" / "view_01.png").write_bytes(b"hello")


def other_aspect(capture: Path) -> None:
    write_depth_png(capture / "depth" / "view_03.png", np.full((12, 12), 2.0))


def image_of_another_size(capture: Path) -> None:
    cv2.imwrite(str(capture / "images" / "view_02.png"), np.zeros((24, 32, 3), np.uint8))


def all_zero(capture: Path) -> None:
    all_depth(capture, lambda: np.zeros((12, 16)))


def all_nan(capture: Path) -> None:
    float_depth(capture, np.nan)


def all_infinite(capture: Path) -> None:
    float_depth(capture, np.inf)


def one_view(capture: Path) -> None:
    edit(capture, lambda m: m.update(frames=m["frames"][:1]))


def nan_pose(capture: Path) -> None:
    edit(capture, lambda m: m["frames"][1]["transform_matrix"][0].__setitem__(3, float("nan")))


def scaled_pose(capture: Path) -> None:
    edit(capture, lambda m: m["frames"][1].update(transform_matrix=(np.diag([2.0, 2, 2, 1])).tolist()))


def mirrored_pose(capture: Path) -> None:
    edit(capture, lambda m: m["frames"][1].update(transform_matrix=(np.diag([1.0, 1, -1, 1])).tolist()))


def short_pose(capture: Path) -> None:
    edit(capture, lambda m: m["frames"][1].update(transform_matrix=[1, 0, 0]))


def no_focal_length(capture: Path) -> None:
    edit(capture, lambda m: m.pop("fl_x"))


def unknown_split_name(capture: Path) -> None:
    edit(capture, lambda m: m["train_filenames"].append("images/nobody.png"))


def negative_unit(capture: Path) -> None:
    edit(capture, lambda m: m.update(depth_unit_scale_factor=-1))


def missing_truth(capture: Path) -> None:
    (capture / "depth_truth" / "view_05.png").unlink()


BAD_CAPTURES = [
    (no_transforms, "transforms.json", "capture", "ns-process-data"),
    (no_folder, "transforms.json", "capture: the folder does not exist", "ns-process-data"),
    (broken_json, "transforms.json", "JSON", "Write it again"),
    (no_depth, "transforms.json", "frames[].depth_file_path: no frame has depth", "Add a depth file"),
    (depth_in_some_frames, "transforms.json", "images/view_02.png", "Add their depth files"),
    (missing_depth_file, "depth/view_03.png", "there is no such file", "Restore it"),
    (missing_held_out_depth_file, "depth/view_05.png", "there is no such file", "Restore it"),
    (unreadable_depth_file, "depth/view_03.png", "cannot be read", "Copy it again"),
    (not_a_depth_file, "depth/view_03.png", "cannot be read", "Copy it again"),
    (missing_image, "images/view_01.png", "there is no such file", "Restore it"),
    (unreadable_image, "images/view_01.png", "cannot be read", "Copy it again"),
    (other_aspect, "depth/view_03.png", "12x12 has another aspect than its image, 16x12", "Register the depth"),
    (image_of_another_size, "images/view_02.png", "32x24, but the camera is 16x12", "Give w, h"),
    (all_zero, "depth/view_00.png", "depth values: all depth is zero", "Check that depth was recorded"),
    (all_nan, "depth/view_00.npy", "depth values: all depth is NaN or infinite", "Check that depth was recorded"),
    (all_infinite, "depth/view_00.npy", "depth values: all depth is NaN or infinite", "Check that depth was recorded"),
    (one_view, "transforms.json", "frames: 1 view(s), at least 2", "Capture the scene from several places"),
    (nan_pose, "transforms.json", "frames[1].transform_matrix", "Remove the frames that were not localised"),
    (scaled_pose, "transforms.json", "frames[1].transform_matrix", "without scale"),
    (mirrored_pose, "transforms.json", "frames[1].transform_matrix", "mirroring"),
    (short_pose, "transforms.json", "frames[1].transform_matrix", "camera-to-world"),
    (no_focal_length, "transforms.json", "fl_x", "Give it in pixels"),
    (unknown_split_name, "transforms.json", "train_filenames: images/nobody.png", "Use the frames' own names"),
    (negative_unit, "transforms.json", "depth_unit_scale_factor", "metres per stored unit"),
    (missing_truth, "depth_truth/view_05.png", "reference depth", "Restore it"),
]


def trainer_config(capture: Path, tmp_path: Path) -> CheckedTrainerConfig:
    datamanager = RefinedDepthDataManagerConfig(refiner=RefinerConfig(cache_dir=tmp_path / "cache"))
    return CheckedTrainerConfig(
        method_name="diffnerf",
        data=capture,
        output_dir=tmp_path / "outputs",
        pipeline=VanillaPipelineConfig(datamanager=datamanager, model=ModelConfig()),
    )


@pytest.mark.parametrize(("spoil", "file", "field", "remedy"), BAD_CAPTURES, ids=lambda v: getattr(v, "__name__", ""))
def test_ns_train_refuses_it_with_one_clear_line_and_writes_nothing(
    capture: Path, tmp_path: Path, spoil: Callable[[Path], None], file: str, field: str, remedy: str
) -> None:
    spoil(capture)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as exit_info:
        train.main(trainer_config(capture, tmp_path))
    message = str(exit_info.value.code)
    assert message.startswith(f"Error: {capture / file}: ")
    assert field in message
    assert remedy in message
    assert "\n" not in message
    assert set(tmp_path.rglob("*")) == before


def test_a_good_capture_passes_without_a_warning(capture: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        config = trainer_config(capture, tmp_path)
        config.pipeline.datamanager.data = capture
        config.set_timestamp()
        config.save_config()
    assert len(list((tmp_path / "outputs").rglob("config.yml"))) == 1


def check(capture: Path) -> None:
    RefinedDepthDataManagerConfig(data=capture).check_capture()


@pytest.mark.parametrize(
    ("stored_per_metre", "unit", "remedy"), [(1.0, 1e-3, "1"), (1000.0, 1.0, "0.001"), (5000.0, 0.1, "0.0002")]
)
def test_a_wrong_unit_is_warned_of_with_the_factor_that_mends_it(
    capture: Path, stored_per_metre: float, unit: float, remedy: str
) -> None:
    float_depth(capture, 2.0 * stored_per_metre)
    edit(capture, lambda m: m.update(depth_unit_scale_factor=unit))
    with pytest.warns(CaptureWarning, match=re.escape(f"set depth_unit_scale_factor to {remedy} in")) as caught:
        check(capture)
    assert any(str(capture / "depth" / "view_00.npy") in str(warning.message) for warning in caught)


def test_likely_units_are_those_of_common_sensors() -> None:
    assert likely_unit(2e-3, 1e-3) == 1.0
    assert likely_unit(2000.0, 1.0) == 1e-3
    assert likely_unit(10000.0, 1.0) == 1 / 5000


def test_nan_among_measured_pixels_counts_as_missing_and_is_warned_of(capture: Path) -> None:
    float_depth(capture, 2.0)
    depth = np.full((12, 16), 2.0, np.float32)
    depth[3, 4], depth[5, 6] = np.nan, -np.inf
    np.save(capture / "depth" / "view_02.npy", depth)
    with pytest.warns(CaptureWarning, match="2 of 192 pixels are NaN or infinite") as caught:
        check(capture)
    assert any("view_02.npy" in str(warning.message) for warning in caught)


def test_one_frame_without_depth_is_warned_of(capture: Path) -> None:
    write_depth_png(capture / "depth" / "view_02.png", np.zeros((12, 16)))
    with pytest.warns(CaptureWarning, match=re.escape("view_02.png: depth values: no pixel has depth")):
        check(capture)


def test_depth_of_another_size_but_the_same_aspect_is_welcome(capture: Path) -> None:
    for file in (capture / "depth").iterdir():
        write_depth_png(file, np.full((6, 8), 2.0))
    check(capture)


def test_errors_keep_their_parts(capture: Path) -> None:
    missing_depth_file(capture)
    with pytest.raises(CaptureError) as error:
        check(capture)
    assert error.value.file == capture / "depth" / "view_03.png"
    assert error.value.field == "depth file"
    assert error.value.remedy.startswith("Restore it")
