"""Items with depth and sigma in scene units, from every dataparser that carries depth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.arkitscenes_dataparser import ARKitScenesDataParserConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.dataparsers.scannet_dataparser import ScanNetDataParserConfig
from nerfstudio.data.dataparsers.sdfstudio_dataparser import SDFStudioDataParserConfig

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import write_depth_png, write_image_png
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.rgbd_dataset import RGBDDataset

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def outputs_of(capture: Path, split: str = "train", **settings) -> DataparserOutputs:
    return DiffnerfDataParserConfig(data=capture, **settings).setup().get_dataparser_outputs(split)


def sensor_depth(capture: Path, index: int) -> np.ndarray:
    return read_depth_z_m(capture / "depth" / f"view_{index:02d}.png", 0.001)


def test_items_carry_depth_and_sigma_per_pixel(capture: Path) -> None:
    item = RGBDDataset(outputs_of(capture))[1]
    for key in ("depth_image", "depth_sigma"):
        assert item[key].shape == (12, 16, 1)
        assert item[key].dtype == torch.float32
    depth = item["depth_image"][..., 0].numpy()
    np.testing.assert_allclose(depth, sensor_depth(capture, 1))
    np.testing.assert_allclose(item["depth_sigma"][..., 0].numpy(), sensor_sigma_z_m(depth), rtol=1e-5)
    assert "depth_truth" not in item


def test_lengths_are_scaled_with_the_poses(capture: Path) -> None:
    outputs = outputs_of(capture, auto_scale_poses=True)
    dataset = RGBDDataset(outputs)
    assert outputs.dataparser_scale != 1.0
    assert dataset.metadata["dataparser_scale"] == pytest.approx(outputs.dataparser_scale)
    assert dataset.metadata["dataparser_transform"].shape == (3, 4)
    metric = RGBDDataset(outputs_of(capture))[0]
    for key in ("depth_image", "depth_sigma"):
        torch.testing.assert_close(dataset[0][key], metric[key] * outputs.dataparser_scale)


def test_evaluation_items_may_carry_the_truth(capture: Path) -> None:
    dataset = RGBDDataset(outputs_of(capture, "val"), with_depth_truth=True)
    truth = read_depth_z_m(capture / "depth_truth" / "view_05.png", 0.001)
    np.testing.assert_allclose(dataset[1]["depth_truth"][..., 0].numpy(), truth)


def test_frames_without_truth_have_zeros_among_frames_that_have_it(capture: Path, edit_transforms: Callable) -> None:
    edit_transforms(capture, lambda meta: meta["frames"][4].pop("depth_truth_file_path"))
    dataset = RGBDDataset(outputs_of(capture, "val"), with_depth_truth=True)
    assert dataset[0]["depth_truth"].eq(0).all()
    assert dataset[1]["depth_truth"].gt(0).all()


@pytest.mark.parametrize("orientation", ["up", "none"])
def test_normals_of_the_wall_face_the_cameras_along_the_scene_s_axes(capture: Path, orientation: str) -> None:
    outputs = outputs_of(capture, orientation_method=orientation, auto_scale_poses=True)
    dataset = RGBDDataset(outputs)
    turn = outputs.dataparser_transform[:, :3]
    dataset.with_normals = True
    for index in range(4):
        columns, rows = np.meshgrid((np.arange(16) + 0.5 - 8) / 14, (np.arange(12) + 0.5 - 6) / 14)
        angle = 0.02 * index
        wall_z_m = 2.0 / (np.cos(angle) + np.sin(angle) * columns + 0 * rows)
        dataset.refined_depth = lambda _, depth=wall_z_m: (depth.astype(np.float32), np.ones_like(depth, np.float32))
        normals = dataset[index]["normal_image"]
        assert normals.shape == (12, 16, 3)
        expected = (turn @ torch.tensor([0.0, 0.0, 1.0])).expand(8, 12, 3)
        torch.testing.assert_close(normals[2:-2, 2:-2], expected, atol=2e-3, rtol=0)


def test_refined_depth_takes_the_sensor_s_place(capture: Path) -> None:
    dataset = RGBDDataset(outputs_of(capture))
    box = dataset.scene_box.aabb.clone()
    ones = np.ones((12, 16), np.float32)
    dataset.refined_depth = lambda index: (ones * (3 + index), ones * np.float32(0.1))
    assert dataset[2]["depth_image"].eq(5).all()
    assert dataset[2]["depth_sigma"].eq(np.float32(0.1)).all()
    torch.testing.assert_close(dataset.scene_box.aabb, box)


@pytest.mark.parametrize("scale_factor", [0.5, 0.25, 2.0])
def test_depth_follows_the_camera_resolution(capture: Path, scale_factor: float) -> None:
    item = RGBDDataset(outputs_of(capture), scale_factor)[0]
    assert item["image"].shape[:2] == item["depth_image"].shape[:2] == (12 * scale_factor, 16 * scale_factor)
    assert item["depth_sigma"].shape == item["depth_image"].shape
    if scale_factor < 1:
        assert set(item["depth_image"].unique().tolist()) <= set(np.unique(sensor_depth(capture, 0)).tolist())


@pytest.mark.parametrize("size", [(8, 6), (32, 24)])
def test_depth_of_another_size_is_brought_to_the_image(capture: Path, size: tuple[int, int]) -> None:
    for file in (capture / "depth").iterdir():
        depth = np.full((size[1], size[0]), 2.0)
        depth[:, : size[0] // 2] = 0
        write_depth_png(file, depth)
    depth = RGBDDataset(outputs_of(capture))[0]["depth_image"][..., 0]
    assert depth.shape == (12, 16)
    assert depth[:, :8].eq(0).all()
    assert depth[:, 8:].eq(2).all()


def test_masks_are_kept_and_scaled_along(capture: Path, mask_left: Callable) -> None:
    mask_left(4)
    item = RGBDDataset(outputs_of(capture), 0.5)[0]
    assert item["mask"].shape == item["depth_image"].shape == (6, 8, 1)
    assert (~item["mask"]).sum() == 12


def test_a_capture_without_depth_is_refused(capture: Path) -> None:
    outputs = outputs_of(capture)
    without = replace(outputs, metadata={**outputs.metadata, "depth_filenames": None})
    with pytest.raises(CaptureError, match="images but no depth"):
        RGBDDataset(without)


def world_points(dataset: RGBDDataset, index: int) -> torch.Tensor:
    """Every measured pixel of a frame as nerfstudio's own rays place it."""
    rays = dataset.cameras.generate_rays(camera_indices=index, keep_shape=True)
    depth = dataset[index]["depth_image"]
    points = rays.origins + rays.directions * depth * rays.metadata["directions_norm"]
    return points[depth[..., 0] > 0]


@pytest.mark.parametrize("scaled", [False, True])
def test_depth_rays_end_where_the_cameras_saw_the_surface(make_capture: Callable, scaled: bool) -> None:
    outputs = outputs_of(make_capture(width=64), auto_scale_poses=scaled)
    origins, directions, depth_ray, sigma_ray = RGBDDataset(outputs).depth_rays(3000)
    assert len(origins) == pytest.approx(3000, rel=0.1)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(len(directions)))
    pose, scale = outputs.cameras.camera_to_worlds[0], outputs.dataparser_scale
    first = (origins == pose[:, 3]).all(dim=-1)
    assert first.sum() == pytest.approx(750, rel=0.1)
    points = origins + directions * depth_ray
    depth_z = (points[first] - pose[:, 3]) @ -pose[:, 2] / scale
    near_surface = ((depth_z - 2.0).abs() < 0.03) | ((depth_z - 1.2).abs() < 0.03)
    assert near_surface.all()
    sigma_z_m = sigma_ray[first, 0] / depth_ray[first, 0] * depth_z
    np.testing.assert_allclose(sigma_z_m.numpy(), sensor_sigma_z_m(depth_z.numpy()), rtol=1e-4)


def test_depth_rays_take_refined_depth_and_pass_over_holes(capture: Path) -> None:
    dataset = RGBDDataset(outputs_of(capture))
    depth = np.full((12, 16), 3.0, np.float32)
    depth[:6] = 0.0
    dataset.refined_depth = lambda index: (depth, np.full_like(depth, 0.5))
    origins, _, depth_ray, sigma_ray = dataset.depth_rays(10**6)
    assert len(origins) == len(dataset) * 6 * 16
    torch.testing.assert_close(sigma_ray, depth_ray / 6)


def test_depth_rays_of_a_long_capture_come_from_views_spread_over_it(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffnerf_ns.rgbd_dataset.DEPTH_RAY_FRAMES", 2)
    dataset = RGBDDataset(outputs_of(capture))
    origins = dataset.depth_rays(100)[0]
    ends = dataset.cameras.camera_to_worlds[[0, -1], :, 3]
    assert torch.equal(origins.unique(dim=0), ends.unique(dim=0))


@pytest.mark.parametrize("settings", [{}, {"auto_scale_poses": True}, {"scale_factor": 3.0}])
@pytest.mark.parametrize("k1", [0.0, -0.2])
def test_the_scene_box_encloses_cameras_and_what_they_saw(
    capture: Path, edit_transforms: Callable, settings: dict, k1: float
) -> None:
    edit_transforms(capture, lambda meta: meta.update(k1=k1))
    dataset = RGBDDataset(outputs_of(capture, **settings))
    points = torch.cat([world_points(dataset, index) for index in range(4)])
    box, scale = dataset.scene_box.aabb, dataset.metadata["dataparser_scale"]
    for inside in (points, dataset.cameras.camera_to_worlds[:, :3, 3]):
        assert (inside > box[0]).all()
        assert (inside < box[1]).all()
    together = torch.cat([points, dataset.cameras.camera_to_worlds[:, :3, 3]])
    slack = torch.stack([together.amin(0) - box[0], box[1] - together.amax(0)])
    assert slack.max() < 0.5 * scale


def test_the_scene_box_is_not_stretched_by_a_few_wild_pixels(make_capture: Callable) -> None:
    capture = make_capture(width=64)
    box = RGBDDataset(outputs_of(capture)).scene_box.aabb
    file = capture / "depth" / "view_01.png"
    depth = read_depth_z_m(file, 0.001)
    depth[5, 7], depth[20, 30] = 60.0, 0.01
    write_depth_png(file, depth)
    torch.testing.assert_close(RGBDDataset(outputs_of(capture)).scene_box.aabb, box, atol=0.05, rtol=0)


def test_the_scene_box_is_always_the_same_and_needs_no_depth_to_render(capture: Path) -> None:
    first, second = (RGBDDataset(outputs_of(capture)).scene_box.aabb for _ in range(2))
    assert torch.equal(first, second)
    for file in (capture / "depth").iterdir():
        file.unlink()
    outputs = outputs_of(capture)
    assert torch.equal(RGBDDataset(outputs).scene_box.aabb, outputs.scene_box.aabb)


def test_a_hundred_frames_are_boxed_in_less_than_a_second(make_capture: Callable) -> None:
    outputs = outputs_of(make_capture(count=102, width=160))
    start = time.process_time()
    RGBDDataset(outputs)
    assert time.process_time() - start < 1.0


def test_nerfstudio_data_works(capture: Path) -> None:
    outputs = NerfstudioDataParserConfig(data=capture).setup().get_dataparser_outputs("train")
    item = RGBDDataset(outputs)[0]
    np.testing.assert_allclose(
        item["depth_image"][..., 0].numpy(), sensor_depth(capture, 0) * outputs.dataparser_scale, rtol=1e-5
    )


def copy_frames(capture: Path, write: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]) -> None:
    meta = json.loads((capture / "transforms.json").read_text())
    for index, frame in enumerate(meta["frames"]):
        image = cv2.cvtColor(cv2.imread(str(capture / frame["file_path"])), cv2.COLOR_BGR2RGB)
        write(index, image, sensor_depth(capture, index), np.array(frame["transform_matrix"]))


def test_scannet_data_works(make_capture: Callable, tmp_path: Path) -> None:
    capture, scene = make_capture(count=10), tmp_path / "scene0000_00"
    for folder in ("color", "depth", "pose", "intrinsic"):
        (scene / folder).mkdir(parents=True)
    intrinsics = np.array([[14.0, 0, 8, 0], [0, 14, 6, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.savetxt(scene / "intrinsic" / "intrinsic_color.txt", intrinsics)

    def write(index: int, image: np.ndarray, depth: np.ndarray, pose: np.ndarray) -> None:
        cv2.imwrite(str(scene / "color" / f"{index}.jpg"), image)
        write_depth_png(scene / "depth" / f"{index}.png", depth)
        np.savetxt(scene / "pose" / f"{index}.txt", pose @ OPENCV_FROM_OPENGL)

    copy_frames(capture, write)
    parser = ScanNetDataParserConfig(data=scene, load_3D_points=False).setup()
    outputs = parser.get_dataparser_outputs("train")
    dataset = RGBDDataset(outputs)
    np.testing.assert_allclose(
        dataset[0]["depth_image"][..., 0].numpy(), sensor_depth(capture, 0) * outputs.dataparser_scale, rtol=1e-5
    )
    assert torch.isfinite(dataset.scene_box.aabb).all()


def test_arkit_data_works(make_capture: Callable, tmp_path: Path) -> None:
    capture, scene = make_capture(count=10), tmp_path / "41000000"
    frames = scene / "41000000_frames"
    for folder in ("lowres_wide", "lowres_depth", "lowres_wide_intrinsics"):
        (frames / folder).mkdir(parents=True)
    trajectory = []

    def write(index: int, image: np.ndarray, depth: np.ndarray, pose: np.ndarray) -> None:
        name = f"41000000_{index}.000"
        write_image_png(frames / "lowres_wide" / f"{name}.png", image)
        write_depth_png(frames / "lowres_depth" / f"{name}.png", depth)
        (frames / "lowres_wide_intrinsics" / f"{name}.pincam").write_text("16 12 14 14 8 6")
        world_to_camera = np.linalg.inv(pose @ OPENCV_FROM_OPENGL)
        rotation = cv2.Rodrigues(world_to_camera[:3, :3])[0].flatten()
        trajectory.append(" ".join(map(str, (f"{index}.000", *rotation, *world_to_camera[:3, 3]))))

    copy_frames(capture, write)
    (frames / "lowres_wide.traj").write_text("\n".join(trajectory))
    outputs = ARKitScenesDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    item = RGBDDataset(outputs)[0]
    np.testing.assert_allclose(
        item["depth_image"][..., 0].numpy(), sensor_depth(capture, 0) * outputs.dataparser_scale, rtol=1e-5
    )


def test_sdfstudio_data_works_where_its_depth_is_metric(make_capture: Callable, tmp_path: Path) -> None:
    capture, scene = make_capture(count=4), tmp_path / "sdfstudio"
    scene.mkdir()
    frames = []

    def write(index: int, image: np.ndarray, depth: np.ndarray, pose: np.ndarray) -> None:
        write_image_png(scene / f"{index}_rgb.png", image)
        np.save(scene / f"{index}_depth.npy", depth)
        np.save(scene / f"{index}_normal.npy", np.zeros((3, 12, 16), np.float32))
        frames.append(
            {
                "rgb_path": f"{index}_rgb.png",
                "mono_depth_path": f"{index}_depth.npy",
                "mono_normal_path": f"{index}_normal.npy",
                "intrinsics": [[14, 0, 8, 0], [0, 14, 6, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
                "camtoworld": (pose @ OPENCV_FROM_OPENGL).tolist(),
            }
        )

    copy_frames(capture, write)
    scene_box = {"aabb": [[-1, -1, -1], [1, 1, 1]]}
    meta = {"frames": frames, "height": 12, "width": 16, "has_mono_prior": True, "scene_box": scene_box}
    (scene / "meta_data.json").write_text(json.dumps(meta))
    config = SDFStudioDataParserConfig(data=scene, include_mono_prior=True, depth_unit_scale_factor=1.0)
    dataset = RGBDDataset(config.setup().get_dataparser_outputs("train"))
    np.testing.assert_allclose(dataset[0]["depth_image"][..., 0].numpy(), sensor_depth(capture, 0), rtol=1e-5)
