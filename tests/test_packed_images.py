"""Images in memory: how many bytes they take, and what comes out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.utils.nerfstudio_collate import nerfstudio_collate

from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.packed_images import PackedImageLoader
from diffnerf_ns.rgbd_dataset import RGBDDataset


def outputs_of(capture: Path) -> DataparserOutputs:
    return DiffnerfDataParserConfig(data=capture).setup().get_dataparser_outputs("train")


def every_pixel(batch: dict) -> dict:
    """All pixels of the images in a batch, as samplers hand them on."""
    count, height, width = batch["image"].shape[:3]
    place, row, column = torch.meshgrid(*map(torch.arange, (count, height, width)), indexing="ij")
    chosen = {name: values[place, row, column].flatten(0, 2) for name, values in batch.items() if name != "image_idx"}
    indices = torch.stack([batch["image_idx"][place], row, column], dim=-1).view(-1, 3)
    return {**chosen, "indices": indices}


@pytest.mark.parametrize("scale_factor", [1.0, 0.5])
def test_what_was_packed_comes_out_again(capture: Path, scale_factor: float) -> None:
    dataset = RGBDDataset(outputs_of(capture), scale_factor, with_depth_truth=True)
    dataset.with_normals = True
    loader = PackedImageLoader(dataset, collate_fn=nerfstudio_collate)
    batch = every_pixel(next(iter(loader)))
    loader.unpack(batch)
    for index in range(len(dataset)):
        item, chosen = dataset[index], batch["indices"][:, 0] == index
        assert torch.equal(batch["image"][chosen], item["image"].flatten(0, 1))
        for name in ("depth_image", "depth_truth"):
            values, expected = batch[name][chosen], item[name].flatten(0, 1)
            assert torch.equal(values == 0, expected == 0)
            assert (values - expected).abs().max() <= 0.51 * expected.max() / 65535
        sigma, normal = item["depth_sigma"].flatten(0, 1), item["normal_image"].flatten(0, 1)
        torch.testing.assert_close(batch["depth_sigma"][chosen], sigma, rtol=2**-8, atol=0)
        torch.testing.assert_close(batch["normal_image"][chosen], normal, atol=5e-4, rtol=0)


def test_a_pixel_takes_seven_bytes(capture: Path) -> None:
    batch = next(iter(PackedImageLoader(RGBDDataset(outputs_of(capture)), collate_fn=nerfstudio_collate)))
    images = [values for name, values in batch.items() if name != "image_idx"]
    assert sum(values.nbytes for values in images) == 7 * 4 * 12 * 16


def test_depth_that_is_nowhere_stays_nowhere(capture: Path) -> None:
    dataset = RGBDDataset(outputs_of(capture))
    depth, sigma = dataset.depth_and_sigma(0)
    dataset.refined_depth = lambda _: (0 * depth, 0 * sigma)
    loader = PackedImageLoader(dataset, collate_fn=nerfstudio_collate)
    batch = every_pixel(next(iter(loader)))
    loader.unpack(batch)
    assert batch["depth_image"].eq(0).all()
    assert batch["depth_sigma"].eq(0).all()


def test_a_changing_choice_of_images_keeps_each_one_s_depth(make_capture: Callable[..., Path]) -> None:
    dataset = RGBDDataset(outputs_of(make_capture(count=8)))
    loader = PackedImageLoader(dataset, 2, 0, collate_fn=nerfstudio_collate)
    seen = set()
    for _, packed in zip(range(20), loader, strict=False):
        batch = every_pixel(packed)
        loader.unpack(batch)
        for index in batch["indices"][:, 0].unique().tolist():
            expected = dataset[index]["depth_image"].flatten(0, 1)
            torch.testing.assert_close(
                batch["depth_image"][batch["indices"][:, 0] == index], expected, atol=1e-4, rtol=0
            )
            seen.add(index)
    assert seen == set(range(6))
