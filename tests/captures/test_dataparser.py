"""The diffnerf-data dataparser: nerfstudio-data in metres, with reference depth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.configs.dataparser_configs import all_dataparsers
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.captures.dataparser_spec import diffnerf_data

EditTransforms = Callable[[Path, Callable[[dict], object]], None]


def parse(data: Path, split: str = "train", **settings):
    return DiffnerfDataParserConfig(data=data, **settings).setup().get_dataparser_outputs(split)


def test_scene_units_are_metres(capture: Path) -> None:
    outputs = parse(capture)
    assert outputs.dataparser_scale == 1.0
    centres = outputs.cameras.camera_to_worlds[:, :3, 3]
    assert torch.dist(centres[0], centres[3]).item() == pytest.approx(0.3, abs=1e-5)


def test_everything_else_is_as_nerfstudio_reads_it(capture: Path) -> None:
    ours = parse(capture)
    stock = NerfstudioDataParserConfig(data=capture, auto_scale_poses=False).setup().get_dataparser_outputs("train")
    assert ours.image_filenames == stock.image_filenames
    assert ours.metadata["depth_filenames"] == stock.metadata["depth_filenames"]
    torch.testing.assert_close(ours.cameras.camera_to_worlds, stock.cameras.camera_to_worlds)
    torch.testing.assert_close(ours.cameras.get_intrinsics_matrices(), stock.cameras.get_intrinsics_matrices())


def test_the_json_file_may_be_given_instead_of_the_folder(capture: Path) -> None:
    assert parse(capture / "transforms.json").image_filenames == parse(capture).image_filenames


def test_splits_are_those_of_the_capture(capture: Path) -> None:
    assert [file.stem for file in parse(capture).image_filenames] == ["view_00", "view_01", "view_02", "view_03"]
    assert [file.stem for file in parse(capture, "val").image_filenames] == ["view_04", "view_05"]


@pytest.mark.parametrize("only", ["val", "test"])
def test_a_capture_that_names_one_held_out_split_can_be_trained_and_evaluated(
    capture: Path, edit_transforms: EditTransforms, only: str
) -> None:
    edit_transforms(capture, lambda meta: meta.pop("test_filenames" if only == "val" else "val_filenames"))
    assert len(parse(capture, "val").image_filenames) == len(parse(capture, "test").image_filenames) == 2


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_few_views_without_splits_still_leave_one_to_evaluate(make_capture: Callable[..., Path], count: int) -> None:
    capture = make_capture(count=count, splits=False)
    assert len(parse(capture).image_filenames) == count - 1
    assert len(parse(capture, "val").image_filenames) == 1


def test_many_views_without_splits_are_split_as_nerfstudio_does(make_capture: Callable[..., Path]) -> None:
    capture = make_capture(count=20, splits=False)
    assert len(parse(capture).image_filenames) == 18


def test_the_unit_comes_from_the_capture_unless_a_setting_says_otherwise(
    capture: Path, edit_transforms: EditTransforms
) -> None:
    assert parse(capture).metadata["depth_unit_scale_factor"] == 0.001
    edit_transforms(capture, lambda meta: meta.update(depth_unit_scale_factor=0.0002))
    assert parse(capture).metadata["depth_unit_scale_factor"] == 0.0002
    assert parse(capture, depth_unit_scale_factor=1.0).metadata["depth_unit_scale_factor"] == 1.0
    edit_transforms(capture, lambda meta: meta.pop("depth_unit_scale_factor"))
    assert parse(capture).metadata["depth_unit_scale_factor"] == 0.001


def test_reference_depth_stays_with_its_image_whatever_the_order(
    capture: Path, edit_transforms: EditTransforms
) -> None:
    edit_transforms(capture, lambda meta: meta["frames"].reverse())
    for split in ("train", "val"):
        outputs = parse(capture, split)
        truth = outputs.metadata["depth_truth_filenames"]
        assert [file.stem for file in truth] == [file.stem for file in outputs.image_filenames]
        assert {file.parent.name for file in truth} == {"depth_truth"}


def test_reference_depth_may_lie_in_a_folder(capture: Path, edit_transforms: EditTransforms) -> None:
    edit_transforms(capture, lambda meta: [frame.pop("depth_truth_file_path") for frame in meta["frames"]])
    assert parse(capture).metadata["depth_truth_filenames"] is None
    truth = parse(capture, reference_depth_folder="depth_truth").metadata["depth_truth_filenames"]
    assert truth[1] == capture / "depth_truth" / "view_01.png"


def test_frames_may_have_cameras_of_their_own(capture: Path, edit_transforms: EditTransforms) -> None:
    def own_cameras(meta: dict) -> None:
        shared = {key: meta.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for index, frame in enumerate(meta["frames"]):
            frame.update({**shared, "fl_x": 14.0 + index})

    edit_transforms(capture, own_cameras)
    assert parse(capture, "val").cameras.fx.flatten().tolist() == [18.0, 19.0]


@pytest.mark.parametrize(("wanted", "kept"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])])
def test_fewer_training_views_are_spread_over_the_capture(capture: Path, wanted: int, kept: list[int]) -> None:
    every, some = parse(capture), parse(capture, train_views=wanted)
    assert some.image_filenames == [every.image_filenames[view] for view in kept]
    for key in ("depth_filenames", "depth_truth_filenames"):
        assert some.metadata[key] == [every.metadata[key][view] for view in kept]
    torch.testing.assert_close(some.cameras.camera_to_worlds, every.cameras.camera_to_worlds[kept])
    assert len(some.cameras) == wanted


def test_fewer_training_views_leave_the_evaluation_views_as_they_are(capture: Path) -> None:
    every, same = parse(capture, "val"), parse(capture, "val", train_views=2)
    assert same.image_filenames == every.image_filenames
    torch.testing.assert_close(same.cameras.camera_to_worlds, every.cameras.camera_to_worlds)


def test_fewer_training_views_keep_their_masks(capture: Path, edit_transforms: EditTransforms) -> None:
    def add_masks(meta: dict) -> None:
        for frame in meta["frames"]:
            frame["mask_path"] = frame["file_path"].replace("images", "masks")

    shutil.copytree(capture / "images", capture / "masks")
    edit_transforms(capture, add_masks)
    outputs = parse(capture, train_views=2)
    assert [file.stem for file in outputs.mask_filenames] == ["view_00", "view_03"]


@pytest.mark.parametrize("wanted", [0, 5])
def test_views_that_the_capture_does_not_have_are_named(capture: Path, wanted: int) -> None:
    with pytest.raises(CaptureError, match=rf"train_views.*{wanted} views.*has 4"):
        parse(capture, train_views=wanted)


def test_downscaled_images_keep_the_full_depth_files(capture: Path) -> None:
    import cv2

    (capture / "images_2").mkdir()
    for file in (capture / "images").iterdir():
        cv2.imwrite(str(capture / "images_2" / file.name), cv2.resize(cv2.imread(str(file)), (8, 6)))
    outputs = parse(capture, downscale_factor=2)
    assert outputs.image_filenames[0].parent.name == "images_2"
    assert outputs.metadata["depth_filenames"][0].parent.name == "depth"
    assert outputs.cameras.width[0].item() == 8
    assert outputs.metadata["depth_truth_filenames"][0] is not None


def test_the_settings_given_are_not_changed(make_capture: Callable[..., Path]) -> None:
    config = DiffnerfDataParserConfig(data=make_capture(count=3, splits=False))
    config.setup().get_dataparser_outputs("train")
    assert config.depth_unit_scale_factor is None
    assert config.train_split_fraction == 0.9


def test_a_moved_capture_is_read_from_where_it_is(capture: Path) -> None:
    moved = capture.with_name("elsewhere")
    shutil.move(capture, moved)
    assert all(file.is_file() for file in parse(moved).image_filenames)


def test_it_is_registered_by_name() -> None:
    assert isinstance(diffnerf_data.config, DiffnerfDataParserConfig)
    if "diffnerf-data" not in all_dataparsers:
        pytest.skip("diffnerf_ns is not installed, so nerfstudio cannot know its entry points")
    assert isinstance(all_dataparsers["diffnerf-data"], DiffnerfDataParserConfig)


def test_real_poses_are_accepted(kitchen_small: Path) -> None:
    outputs = parse(kitchen_small, reference_depth_folder="depth_ref")
    assert len(outputs.image_filenames) == 40
    assert all(file.is_file() for file in outputs.metadata["depth_truth_filenames"])


def test_a_split_without_its_counterpart_says_what_is_missing(capture: Path, edit_transforms: EditTransforms) -> None:
    edit_transforms(capture, lambda meta: [meta.pop(f"{split}_filenames") for split in ("val", "test")])
    with pytest.raises(CaptureError, match="val_filenames"):
        parse(capture)


def test_poses_keep_their_distances_under_every_orientation(capture: Path) -> None:
    for method in ("up", "none", "pca", "vertical"):
        centres = parse(capture, orientation_method=method).cameras.camera_to_worlds[:, :3, 3].numpy()
        np.testing.assert_allclose(np.linalg.norm(centres[1] - centres[0]), 0.1, atol=1e-5)
