"""Samples: random crops of the latest views, with parts of what the model is told left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from diffnerf_ns.refinement.training.data_settings import Dropout, TrainingData
from diffnerf_ns.refinement.training.posed_views import MAPS, PosedViews
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator

GREY = 0.5
"""Colour of images that are not to be used."""


class SamplePool:
    """The views of the latest passes, on the device that trains; batches are cut from them at random.

    Batch n is a pure function of the seed, n, and the passes that are there when it is drawn: `passes_before` tells
    which.
    """

    def __init__(
        self, data: TrainingData, seed: int, batch_size: int, device: torch.device, pairs: bool = False, rank: int = 0
    ) -> None:
        """
        Args:
            data: the settings.
            seed: of the training.
            batch_size: samples in a batch.
            device: where views are kept and samples are.
            pairs: whether samples 2k and 2k + 1 show the same part of two views of one pass.
            rank: number of this process; others draw other samples.
        """
        self.data, self.seed, self.batch_size, self.device, self.pairs = data, seed, batch_size, device, pairs
        self.rank = rank
        whole = data.dropout.evidence / 2
        self.dropout = replace(data.dropout, evidence=whole / (1 - whole))
        """Rooms leave out other views for whole passes in half of the cases: what is left for single samples."""
        self.passes: deque[PosedViews] = deque(maxlen=data.pool_passes)

    @property
    def samples_per_pass(self) -> float:
        """Samples that are cut from a pass of the usual number of views before it leaves the pool."""
        return self.data.crops_per_view * sum(self.data.rooms.views) / 2

    def passes_before(self, batch: int) -> int:
        """Passes of this process that have to be made before that batch is drawn."""
        first = max(1, self.data.pool_passes // 4)
        return first + int(batch * self.batch_size / self.samples_per_pass)

    def first_needed(self, batch: int) -> int:
        """Number of the earliest pass that is in the pool when that batch is drawn."""
        return max(0, self.passes_before(batch) - self.data.pool_passes)

    def add(self, views: PosedViews) -> None:
        """Takes the views of the next pass; those of the earliest one leave if the pool is full."""
        width, height = self.data.crop
        rows, columns = views.truth_z_m.shape[1:]
        if columns < width or rows < height:
            raise ValueError(
                f"data.crop is {(width, height)}, but there are views of {columns} x {rows} pixels: "
                "choose a smaller crop"
            )
        self.passes.append(views.to(self.device))

    def batch(self, number: int) -> PosedViews:
        """The samples of that batch."""
        draw = numpy_generator(Stream.SAMPLES, self.seed, number, self.rank, 1)
        samples = cut_samples(self.passes, self.batch_size, self.data.crop, draw, self.pairs)
        return hide_parts(samples, self.dropout, draw)


def cut_samples(
    passes: Sequence[PosedViews], count: int, crop: tuple[int, int], draw: np.random.Generator, pairs: bool
) -> PosedViews:
    """Cuts random parts of random views of random passes, half of them mirrored.

    Args:
        passes: to choose from.
        count: samples to cut.
        crop: their width and height, pixels.
        draw: source of randomness.
        pairs: whether each second sample shows the same part of the next view.
    """
    width, height = crop
    chosen: list[tuple[PosedViews, int, int, int]] = []
    mirrored: list[bool] = []
    for index in range(count):
        if pairs and index % 2 == 1:
            views, view, left, top = chosen[-1]
            chosen.append((views, (view + 1) % len(views), left, top))
            mirrored.append(mirrored[-1])
            continue
        views = passes[int(draw.integers(len(passes)))]
        rows, columns = views.truth_z_m.shape[1:]
        left, top = int(draw.integers(columns - width + 1)), int(draw.integers(rows - height + 1))
        chosen.append((views, int(draw.integers(len(views))), left, top))
        mirrored.append(bool(draw.integers(2)))

    def cut(name: str) -> Tensor:
        parts = (
            getattr(views, name)[view, ..., top : top + height, left : left + width]
            for views, view, left, top in chosen
        )
        return torch.stack(list(parts))

    intrinsics = torch.stack([views.intrinsics[view] for views, view, _, _ in chosen])
    corner = intrinsics.new_tensor([[left, top] for _, _, left, top in chosen])
    intrinsics[:, :2, 2] -= corner
    poses = torch.stack([views.camera_to_world[view] for views, view, _, _ in chosen])
    samples = PosedViews(**{name: cut(name) for name in MAPS}, intrinsics=intrinsics, camera_to_world=poses)
    return _mirrored(samples, torch.tensor(mirrored, device=intrinsics.device))


def _mirrored(samples: PosedViews, which: Tensor) -> PosedViews:
    """The samples, those of them mirrored that are marked [N]."""

    def mirror(image: Tensor) -> Tensor:
        return torch.where(which.view(-1, *[1] * (image.ndim - 1)), image.flip(-1), image)

    turned = samples.intrinsics.clone()
    turned[:, 0, 2] = samples.truth_z_m.shape[-1] - turned[:, 0, 2]
    turned[:, 0, 0] *= -1
    intrinsics = torch.where(which[:, None, None], turned, samples.intrinsics)
    return replace(samples.with_maps(mirror), intrinsics=intrinsics)


def hide_parts(samples: PosedViews, dropout: Dropout, draw: np.random.Generator) -> PosedViews:
    """Leaves out other views, colour and parts of the sensor's depth, each by its share of the samples."""
    count, (height, width) = len(samples), samples.truth_z_m.shape[1:]
    device = samples.image.device
    kept = torch.from_numpy(draw.uniform(size=count) >= dropout.evidence).to(device).float()[:, None, None]
    coloured = torch.from_numpy(draw.uniform(size=count) >= dropout.image).to(device)[:, None, None, None]
    lost = np.zeros((count, height, width), dtype=bool)
    for index in np.flatnonzero(draw.uniform(size=count) < dropout.holes):
        lost[index] = random_hole(height, width, draw)
    return replace(
        samples,
        image=torch.where(coloured, samples.image, GREY),
        sensor_z_m=torch.where(torch.from_numpy(lost).to(device), 0.0, samples.sensor_z_m),
        fused_z_m=samples.fused_z_m * kept,
        support=samples.support * kept,
        violations=samples.violations * kept,
    )


def random_hole(height: int, width: int, draw: np.random.Generator) -> np.ndarray:
    """A mask [height, width] of what is lost: ellipses, a rectangle, or half of the image."""
    row, column = np.mgrid[:height, :width]
    kind = draw.integers(3)
    if kind == 0:
        mask = np.zeros((height, width), dtype=bool)
        for _ in range(draw.integers(1, 7)):
            middle = draw.uniform((0, 0), (height, width))
            radius = draw.uniform(0.04, 0.2, 2) * height
            mask |= ((row - middle[0]) / radius[0]) ** 2 + ((column - middle[1]) / radius[1]) ** 2 < 1
        return mask
    if kind == 1:
        size = draw.uniform(0.15, 0.7, 2) * (height, width)
        corner = draw.uniform((0, 0), (height - size[0], width - size[1]))
        inside_rows = (row >= corner[0]) & (row < corner[0] + size[0])
        return inside_rows & (column >= corner[1]) & (column < corner[1] + size[1])
    axis, limit = ((row, height), (column, width))[draw.integers(2)]
    half = axis < draw.uniform(0.3, 0.6) * limit
    return half if draw.integers(2) else half[::-1, ::-1].copy()
