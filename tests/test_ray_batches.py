"""What a batch of training rays holds: depth, sigma, normals of its own pixels; masks kept out, patches if wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diffnerf_ns.refined_datamanager import RefinedDepthDataManager


def assert_sigma_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Images in memory keep 8 bits of sigma."""
    torch.testing.assert_close(actual, expected, rtol=2**-8, atol=0)


def test_rays_know_their_pixel_s_depth_and_sigma(manage: Callable) -> None:
    manager = manage()
    rays, batch = manager.next_train(0)
    assert rays.metadata["depth_z"].shape == rays.metadata["depth_sigma"].shape == (64, 1)
    camera, row, column = batch["indices"].T
    for index in range(64):
        item = manager.train_dataset[int(camera[index])]
        half_a_step = float(item["depth_image"].max()) / 65535 / 2  # images in memory keep 16 bits of depth
        expected = item["depth_image"][row[index], column[index]]
        torch.testing.assert_close(rays.metadata["depth_z"][index], expected, rtol=1e-6, atol=half_a_step)
        assert_sigma_close(rays.metadata["depth_sigma"][index], item["depth_sigma"][row[index], column[index]])
    torch.testing.assert_close(batch["depth_image"], rays.metadata["depth_z"])


def test_images_of_different_sizes_keep_their_depth_and_sigma(
    manage: Callable, capture: Path, edit_transforms: Callable
) -> None:
    def enlarge_second(meta: dict) -> None:
        shared = {key: meta.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for index, frame in enumerate(meta["frames"]):
            factor = 2 if index == 1 else 1
            frame.update({key: value * factor for key, value in shared.items()})
        image = cv2.imread(str(capture / "images" / "view_01.png"))
        cv2.imwrite(str(capture / "images" / "view_01.png"), cv2.resize(image, (32, 24)))

    edit_transforms(capture, enlarge_second)
    manager = manage()
    rays, batch = manager.next_train(0)
    assert rays.metadata["depth_sigma"].shape == (64, 1)
    camera, row, column = batch["indices"].T
    assert set(camera.tolist()) == {0, 1, 2, 3}
    for index in range(64):
        item = manager.train_dataset[int(camera[index])]
        assert torch.equal(batch["image"][index], item["image"][row[index], column[index]])
        assert_sigma_close(batch["depth_sigma"][index], item["depth_sigma"][row[index], column[index]])


def test_masked_pixels_are_never_sampled_and_sizes_follow_the_scale(manage: Callable, mask_left: Callable) -> None:
    mask_left(8)
    manager = manage(camera_res_scale_factor=0.5)
    for step in range(5):
        _, batch = manager.next_train(step)
        assert batch["indices"][:, 2].min() >= 4
        assert batch["indices"][:, 1:].max() < 8


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes_differ", [False, True])
def test_rays_may_come_in_square_patches_row_by_row(
    manage: Callable, capture: Path, edit_transforms: Callable, masked: bool, sizes_differ: bool
) -> None:
    (capture / "masks").mkdir()

    def rewrite(meta: dict) -> None:
        shared = {key: meta.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for index, frame in enumerate(meta["frames"]):
            factor = 2 if index == 1 and sizes_differ else 1
            frame.update({key: value * factor for key, value in shared.items()})
            image = cv2.imread(str(capture / frame["file_path"]))
            cv2.imwrite(str(capture / frame["file_path"]), cv2.resize(image, (16 * factor, 12 * factor)))
            if masked:
                frame["mask_path"] = frame["file_path"].replace("images", "masks")
                mask = np.full((12 * factor, 16 * factor), 255, np.uint8)
                mask[:, : 4 * factor] = 0
                cv2.imwrite(str(capture / frame["mask_path"]), mask)

    edit_transforms(capture, rewrite)
    manager = manage(patch_size=3, train_num_rays_per_batch=80, model="none")
    rays, batch = manager.next_train(0)
    assert batch["patch_size"] == 3
    assert len(rays) == len(batch["image"]) == 8 * 9
    assert manager.get_train_rays_per_batch() == 72
    patches = batch["indices"].view(8, 3, 3, 3)
    assert torch.equal(patches[..., 0], patches[:, :1, :1, 0].expand(8, 3, 3))
    assert (patches[..., 1] - patches[:, :1, :1, 1]).eq(torch.arange(3)[:, None]).all()
    assert (patches[..., 2] - patches[:, :1, :1, 2]).eq(torch.arange(3)).all()
    for camera, row, column in batch["indices"].tolist():
        width = 32 if camera == 1 and sizes_differ else 16
        assert 0 <= row < width * 12 // 16
        assert (width // 4 if masked else 0) <= column < width


def test_patches_that_fit_into_no_image_are_named(manage: Callable) -> None:
    with pytest.raises(ValueError, match=r"patch-size.*13 pixels do not fit into an image of 16x12"):
        manage(patch_size=13, train_num_rays_per_batch=200, model="none").next_train(0)


def test_rays_know_normals_on_demand_only(manage: Callable) -> None:
    assert "normal_image" not in manage(model="none").next_train(0)[1]
    manager = manage(model="none", normals_from_depth=True)
    _, batch = manager.next_train(0)
    camera, row, column = batch["indices"].T
    assert batch["normal_image"].shape == (64, 3)
    expected = _normals_of_pixels(manager, camera, row, column)
    torch.testing.assert_close(batch["normal_image"], expected, atol=5e-4, rtol=0)
    assert "normal_image" not in manager.next_eval(0)[1]


def _normals_of_pixels(manager: RefinedDepthDataManager, *indices: torch.Tensor) -> torch.Tensor:
    normals = torch.stack([manager.train_dataset[index]["normal_image"] for index in range(4)])
    assert normals.norm(dim=-1).max() < 1.001
    return normals[indices]
