"""Images and depth maps as tensors of the right size: read from what a caller has, resized, padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diffnerf_ns.depth_units import missing_as_zero
from diffnerf_ns.refinement.normalizer import span_around

SAME_SURFACE = 0.03
"""Largest relative spread of neighbouring depths that still counts as one surface."""

IMAGES_ACCEPTED = (
    "give a PIL image, an array [H, W, 3] or [N, H, W, 3] (uint8, or floats 0..1), a tensor [3, H, W] or [N, 3, H, W] "
    "(floats 0..1), or a list of single ones of equal size"
)
MAPS_ACCEPTED = "give an array or tensor of floats [H, W] or [N, H, W], or a list of single ones of equal size"

Shape = tuple[int, int, int]
"""Images, height, width."""


def image_shape(image: Any) -> Shape:
    """Number, height and width of what `image_tensor` takes; TypeError or ValueError for anything else."""
    if isinstance(image, Sequence) and not isinstance(image, str):
        return _shape_of_list("image", [image_shape(one) for one in image], IMAGES_ACCEPTED)
    if isinstance(image, Image.Image):
        return 1, image.height, image.width
    if not isinstance(image, np.ndarray | Tensor):
        raise TypeError(f"`image` is {type(image).__name__}: {IMAGES_ACCEPTED}")
    shape, on_tensor = tuple(image.shape), isinstance(image, Tensor)
    if len(shape) not in (3, 4) or shape[-3 if on_tensor else -1] != 3:
        raise ValueError(f"`image` is {shape}: {IMAGES_ACCEPTED}")
    if not (_is_float(image) or (not on_tensor and image.dtype == np.uint8)):
        raise TypeError(f"`image` is {image.dtype}: {IMAGES_ACCEPTED}")
    height, width = shape[-2:] if on_tensor else shape[-3:-1]
    return shape[0] if len(shape) == 4 else 1, height, width


def map_shape(name: str, values: Any) -> Shape:
    """Number, height and width of what `map_tensor` takes; TypeError or ValueError for anything else.

    Args:
        name: of the argument, for the message.
        values: maps.
    """
    if isinstance(values, Sequence) and not isinstance(values, str):
        return _shape_of_list(name, [map_shape(name, one) for one in values], MAPS_ACCEPTED)
    if not isinstance(values, np.ndarray | Tensor):
        raise TypeError(f"`{name}` is {type(values).__name__}: {MAPS_ACCEPTED}")
    if not _is_float(values) and name.endswith("_m"):
        raise TypeError(f"`{name}` is {values.dtype}, which looks like stored units: {MAPS_ACCEPTED}, in metres")
    shape = tuple(values.shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"`{name}` is {shape}: {MAPS_ACCEPTED}")
    return shape[0] if len(shape) == 3 else 1, shape[-2], shape[-1]


def _is_float(values: npt.NDArray | Tensor) -> bool:
    return values.is_floating_point() if isinstance(values, Tensor) else np.issubdtype(values.dtype, np.floating)


def _shape_of_list(name: str, shapes: list[Shape], accepted: str) -> Shape:
    if len({shape[1:] for shape in shapes}) != 1:
        raise ValueError(f"`{name}` is a list of sizes {sorted({shape[1:] for shape in shapes})}: {accepted}")
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def image_tensor(image: Any) -> Tensor:
    """Colour [N, 3, H, W], float32, 0..1.

    Args:
        image: PIL image, array [H, W, 3] or [N, H, W, 3] (uint8, or floats 0..1), tensor [3, H, W] or [N, 3, H, W]
            (floats 0..1), or a sequence of single ones of equal size.
    """
    if isinstance(image, Image.Image):
        image = np.array(image.convert("RGB"))
    if isinstance(image, Sequence):
        return torch.cat([image_tensor(one) for one in image])
    if isinstance(image, np.ndarray):
        levels = torch.from_numpy(np.ascontiguousarray(image))
        colour = levels.to(torch.float32) / 255.0 if image.dtype == np.uint8 else levels.to(torch.float32)
        image = colour.movedim(-1, -3)
    return (image if image.ndim == 4 else image[None]).to(torch.float32)


def map_tensor(values: Any) -> Tensor:
    """Maps [N, H, W], float32, NaN, infinite and negative values as 0.

    Args:
        values: array or tensor [H, W] or [N, H, W], or a sequence of single ones of equal size.
    """
    if isinstance(values, Sequence):
        return torch.cat([map_tensor(one) for one in values])
    tensor = torch.from_numpy(np.ascontiguousarray(values)) if isinstance(values, np.ndarray) else values
    return missing_as_zero((tensor if tensor.ndim == 3 else tensor[None]).to(torch.float32))


def size_for_longest_side(height: int, width: int, longest: int | None) -> tuple[int, int]:
    """Height and width with that longest side in pixels; as they are for None and 0."""
    if not longest:
        return height, width
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_image(image: Tensor, height: int, width: int) -> Tensor:
    """Colour [N, 3, H', W'] at another size, averaged where it shrinks."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def resize_nearest(values: Tensor, height: int, width: int) -> Tensor:
    """Maps [N, H', W'] at another size, each pixel from its nearest."""
    if values.shape[-2:] == (height, width):
        return values
    floats = F.interpolate(values[:, None].to(torch.float32), size=(height, width), mode="nearest-exact")
    return floats[:, 0].to(values.dtype)


def resize_depth(depth_z_m: Tensor, height: int, width: int) -> Tensor:
    """Depth [N, H', W'] (0 where missing) at another size, never mixed across holes or edges.

    Pixels take their nearest neighbour. Where depth is enlarged and its 3x3 neighbourhood is one surface without holes,
    it is interpolated: a slanted wall must not become stairs.
    """
    nearest = resize_nearest(depth_z_m, height, width)
    if depth_z_m.shape[-2:] == (height, width) or height < depth_z_m.shape[-2] or width < depth_z_m.shape[-1]:
        return nearest
    lowest, highest = span_around(depth_z_m, 1)
    smooth = (lowest > 0) & (highest - lowest < SAME_SURFACE * highest)
    linear = F.interpolate(depth_z_m[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    return torch.where(resize_nearest(smooth, height, width), linear, nearest)


def pad_to_multiple(maps: Tensor, multiple: int, outside: float | None = None) -> Tensor:
    """Maps [..., H, W] with rows and columns added below and to the right until both sizes are multiples.

    Args:
        maps: at least one dimension before H and W.
        multiple: of pixels.
        outside: value there; None repeats the last row and column.
    """
    rows, columns = -maps.shape[-2] % multiple, -maps.shape[-1] % multiple
    if not rows and not columns:
        return maps
    if outside is not None:
        return F.pad(maps, (0, columns, 0, rows), value=outside)
    return F.pad(maps, (0, columns, 0, rows), mode="replicate")
