"""nerfstudio's pixel sampler, for images of different sizes with more than colour."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from nerfstudio.data.utils.pixel_sampling_utils import divide_rays_per_image


@dataclass
class RGBDPixelSamplerConfig(PixelSamplerConfig):
    """Uniform pixels from all images, whatever per-pixel values these carry."""

    _target: type = field(default_factory=lambda: RGBDPixelSampler)
    """Target class to instantiate."""


class RGBDPixelSampler(PixelSampler):
    """Where images differ in size, nerfstudio collects colour, mask and `depth_image` only; this one collects all."""

    def collate_image_dataset_batch_list(
        self, batch: dict, num_rays_per_batch: int, keep_full_image: bool = False
    ) -> dict:
        images = batch["image"]
        per_pixel = [key for key, value in batch.items() if isinstance(value, list) and key != "mask"]
        collated = {key: [] for key in per_pixel}
        indices = []
        for image_index, num_rays in enumerate(divide_rays_per_image(num_rays_per_batch, len(images))):
            height, width = images[image_index].shape[:2]
            mask = batch["mask"][image_index].unsqueeze(0) if "mask" in batch else None
            chosen = self.sample_method(num_rays, 1, height, width, mask=mask, device=images[image_index].device)
            row, column = chosen[:, 1].cpu(), chosen[:, 2].cpu()
            for key in per_pixel:
                collated[key].append(batch[key][image_index][row, column])
            chosen[:, 0] = batch["image_idx"][image_index]
            indices.append(chosen)
        result = {key: torch.cat(values) for key, values in collated.items()}
        result["indices"] = torch.cat(indices)
        if keep_full_image:
            result["full_image"] = images
        return result
