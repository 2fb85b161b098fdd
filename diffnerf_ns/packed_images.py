"""All images of a split in memory with their depth and sigma, in 7 bytes per pixel where floats take 20."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import torch
from nerfstudio.data.utils.dataloaders import CacheDataloader
from nerfstudio.data.utils.nerfstudio_collate import nerfstudio_collate
from nerfstudio.utils.misc import get_dict_to_torch
from rich.progress import track
from torch import Tensor

from diffnerf_ns.rgbd_dataset import RGBDDataset

DEPTH_LEVELS = 65535
"""Steps of packed depth between 0 and the frame's largest."""

LEVEL_OFFSET = 32768
"""What a stored level is less than the real one: torch computes with signed 16-bit numbers only."""

ROUNDED_TO = {"depth_sigma": torch.bfloat16, "normal_image": torch.float16}
"""Values that are kept with fewer digits."""


class PackedImageLoader(CacheDataloader):
    """nerfstudio's loader of whole images, which keeps them packed and never holds a second copy of them.

    Colour has 8 bits, as in its files; depth 65535 steps up to the largest of its frame, and stays 0 where missing;
    sigma 8 significant bits. Samplers see packed pixels; `unpack` makes floats of what they chose.
    """

    dataset: RGBDDataset

    def __init__(self, dataset: RGBDDataset, *arguments: Any, **settings: Any) -> None:
        self.depth_per_level = {name: torch.zeros(len(dataset)) for name in ("depth_image", "depth_truth")}
        super().__init__(dataset, *arguments, **settings)

    def unpack(self, batch: dict[str, Any]) -> None:
        """Turns sampled pixels into what the dataset's items hold.

        Args:
            batch: pixels of packed images, and `indices` [n, 3] with the image of each; changed in place.
        """
        image_index = batch["indices"][:, 0].cpu()
        batch["image"] = batch["image"].float() / 255
        for name in ROUNDED_TO.keys() & batch.keys():
            batch[name] = batch[name].float()
        for name in self.depth_per_level.keys() & batch.keys():
            per_level = self.depth_per_level[name][image_index, None].to(batch[name].device)
            batch[name] = (batch[name].int() + LEVEL_OFFSET) * per_level

    def _get_collated_batch(self) -> dict[str, Any]:
        indices = random.sample(range(len(self.dataset)), k=self.num_images_to_sample_from)
        with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) - 1)) as pool:
            items = track(
                pool.map(self._packed_item, indices), "Loading data batch", total=len(indices), transient=True
            )
            same_size = self.collate_fn is nerfstudio_collate
            batch = _stacked(items, len(indices)) if same_size else self.collate_fn(list(items))
        return get_dict_to_torch(batch, device=self.device, exclude=self.exclude_batch_keys_from_device)

    def _packed_item(self, index: int) -> dict[str, Any]:
        item = self.dataset[index]
        item["image"] = (item["image"] * 255).round().to(torch.uint8)
        for name in ROUNDED_TO.keys() & item.keys():
            item[name] = item[name].to(ROUNDED_TO[name])
        for name in self.depth_per_level.keys() & item.keys():
            per_level = item[name].max() / DEPTH_LEVELS
            self.depth_per_level[name][index] = per_level
            levels = (item[name] / per_level.clamp(min=1e-12)).round().int()
            item[name] = (torch.where(item[name] > 0, levels.clamp(min=1), 0) - LEVEL_OFFSET).short()
        return item


def _stacked(items: Iterable[Mapping[str, Any]], count: int) -> dict[str, Tensor]:
    """Items of one size as one tensor for each of their values, filled as the items come."""
    items = iter(items)
    first = {name: torch.as_tensor(value) for name, value in next(items).items()}
    batch = {name: torch.empty(count, *value.shape, dtype=value.dtype) for name, value in first.items()}
    for place, item in enumerate(chain([first], items)):
        for name, values in batch.items():
            values[place] = item[name]
    return batch
