"""nerfstudio's pixel sampler, for images of different sizes with more than colour."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from nerfstudio.data.utils.pixel_sampling_utils import divide_rays_per_image
from torch import Tensor


@dataclass
class RGBDPixelSamplerConfig(PixelSamplerConfig):
    """Uniform pixels or square patches from all images, whatever per-pixel values these carry."""

    _target: type = field(default_factory=lambda: RGBDPixelSampler)
    """Target class to instantiate."""


class RGBDPixelSampler(PixelSampler):
    """Where images differ in size, nerfstudio collects colour, mask and `depth_image` only; this one collects all.

    A patch's pixels follow each other row by row, and all lie within the mask.
    """

    config: RGBDPixelSamplerConfig
    patch_size = 1
    """Side of the square patches that rays come in, pixels; 1 for single pixels."""

    def use_patches(self, patch_size: int) -> None:
        """Takes whole patches from now on, as many as fit into a batch."""
        curved = self.config.is_equirectangular or self.config.fisheye_crop_radius is not None
        if patch_size > 1 and curved:
            raise ValueError(
                "pipeline.datamanager.patch-size: patches are taken from perspective images only. "
                "Set it to 1 for fisheye and equirectangular captures."
            )
        self.patch_size = patch_size
        self.set_num_rays_per_batch(self.num_rays_per_batch)

    def set_num_rays_per_batch(self, num_rays_per_batch: int) -> None:
        """Sets the number of rays per batch, rounded down to whole patches."""
        pixels = self.patch_size**2
        self.num_rays_per_batch = max(1, num_rays_per_batch // pixels) * pixels

    def sample_method(
        self,
        batch_size: int,
        num_images: int,
        image_height: int,
        image_width: int,
        mask: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Image, row and column [batch_size, 3] of single pixels, or of whole patches one after the other."""
        side = self.patch_size
        if side == 1:
            return super().sample_method(batch_size, num_images, image_height, image_width, mask, device)
        if side > min(image_height, image_width):
            raise ValueError(
                f"pipeline.datamanager.patch-size: patches of {side} pixels do not fit into an image of "
                f"{image_width}x{image_height}. Choose a smaller side."
            )
        if mask is not None:
            outside = torch.nn.functional.max_pool2d(1.0 - mask.permute(0, 3, 1, 2).float(), side, stride=1)
            mask = (outside == 0).permute(0, 2, 3, 1)
        corners = super().sample_method(
            batch_size // side**2, num_images, image_height - side + 1, image_width - side + 1, mask, device
        )
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        offsets = torch.stack([torch.zeros_like(row), row, column], dim=-1).view(-1, 3).to(corners.device)
        return (corners[:, None] + offsets).view(-1, 3)

    def rejection_sample_mask(
        self,
        mask: Tensor,
        num_samples: int,
        num_images: int,
        image_height: int,
        image_width: int,
        device: torch.device | str,
    ) -> Tensor:
        """nerfstudio's, which fails on the mask of a single image."""
        size = image_height, image_width
        if num_images > 1:
            return super().rejection_sample_mask(mask, num_samples, num_images, *size, device)
        chosen = super().rejection_sample_mask(mask.expand(2, -1, -1, -1), num_samples, num_images, *size, device)
        chosen[:, 0] = 0
        return chosen

    def collate_image_dataset_batch_list(
        self, batch: dict, num_rays_per_batch: int, keep_full_image: bool = False
    ) -> dict:
        images = batch["image"]
        per_pixel = [key for key, value in batch.items() if isinstance(value, list) and key != "mask"]
        collated = {key: [] for key in per_pixel}
        indices = []
        pixels = self.patch_size**2
        for image_index, num_patches in enumerate(divide_rays_per_image(num_rays_per_batch // pixels, len(images))):
            height, width = images[image_index].shape[:2]
            mask = batch["mask"][image_index].unsqueeze(0) if "mask" in batch else None
            chosen = self.sample_method(
                num_patches * pixels, 1, height, width, mask=mask, device=images[image_index].device
            )
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
