"""Samples: random crops of views, with parts of what the model is told left out, shuffled over several passes."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffnerf_ns.refinement.training.data_settings import Dropout, TrainingData
from diffnerf_ns.refinement.training.posed_views import PosedViews, ViewSource, joined
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator

GREY = 0.5
"""Colour of images that are not to be used."""


class SampleGroups(Dataset):
    """Group g holds `samples_per_group` samples and is a pure function of the seed and g.

    Sample i of the training is sample i % samples_per_group of group i // samples_per_group.
    """

    def __init__(
        self, sources: Sequence[tuple[ViewSource, float]], data: TrainingData, seed: int, pairs: bool = False
    ) -> None:
        """
        Args:
            sources: where views come from, with relative weights.
            data: the settings.
            seed: of the training.
            pairs: whether samples 2k and 2k + 1 show the same part of two views of one pass.
        """
        self.sources, self.data, self.seed, self.pairs = list(sources), data, seed, pairs
        whole = data.dropout.evidence / 2
        self.dropout = replace(data.dropout, evidence=whole / (1 - whole))
        """Rooms leave out other views for whole passes in half of the cases: what is left for single samples."""
        self.samples_per_pass = 2 * max(1, data.crops_per_view * sum(data.rooms.views) // 4)
        self.samples_per_group = data.passes_per_group * self.samples_per_pass

    def __getitem__(self, group: int) -> PosedViews:
        first = group * self.data.passes_per_group
        parts = [self._samples_of_pass(number) for number in range(first, first + self.data.passes_per_group)]
        samples = joined(parts)
        draw = numpy_generator(Stream.SAMPLES, self.seed, group, 1)
        if self.pairs:
            order = 2 * draw.permutation(len(samples) // 2)[:, None] + np.arange(2)
        else:
            order = draw.permutation(len(samples))
        return samples[torch.from_numpy(order.reshape(-1))]

    def _samples_of_pass(self, number: int) -> PosedViews:
        draw = numpy_generator(Stream.SAMPLES, self.seed, number)
        weights = np.array([weight for _, weight in self.sources])
        source = self.sources[int(draw.choice(len(weights), p=weights / weights.sum()))][0]
        samples = cut_samples(source.views(number), self.samples_per_pass, self.data.crop, draw, self.pairs)
        return hide_parts(samples.to("cpu"), self.dropout, draw)


def cut_samples(
    views: PosedViews, count: int, crop: tuple[int, int], draw: np.random.Generator, pairs: bool
) -> PosedViews:
    """Cuts random parts, half of them mirrored; every view is used before one is used twice.

    Args:
        views: of one pass.
        count: samples to cut; even.
        crop: their width and height, pixels.
        draw: source of randomness.
        pairs: whether each second sample shows the same part of the next view.
    """
    width, height = crop
    rows, columns = views.truth_z_m.shape[1:]
    if columns < width or rows < height:
        raise ValueError(
            f"data.crop is {crop}, but there are views of {columns} x {rows} pixels: choose a smaller crop"
        )
    order = np.concatenate([draw.permutation(len(views)) for _ in range(-(-count // len(views)))])
    samples: list[PosedViews] = []
    left, top, mirrored = 0, 0, False
    for index in range(count):
        second = pairs and index % 2 == 1
        view = (int(order[index - 1]) + 1) % len(views) if second else int(order[index])
        if not second:
            left, top = int(draw.integers(columns - width + 1)), int(draw.integers(rows - height + 1))
            mirrored = bool(draw.integers(2))
        samples.append(_cut(views[slice(view, view + 1)], left, top, width, height, mirrored))
    return joined(samples)


def _cut(view: PosedViews, left: int, top: int, width: int, height: int, mirrored: bool) -> PosedViews:
    def part(image: Tensor) -> Tensor:
        image = image[..., top : top + height, left : left + width]
        return image.flip(-1) if mirrored else image

    intrinsics = view.intrinsics.clone()
    intrinsics[:, 0, 2] -= left
    intrinsics[:, 1, 2] -= top
    if mirrored:
        intrinsics[:, 0, 2] = width - intrinsics[:, 0, 2]
        intrinsics[:, 0, 0] *= -1
    return replace(view.with_maps(part), intrinsics=intrinsics)


def hide_parts(samples: PosedViews, dropout: Dropout, draw: np.random.Generator) -> PosedViews:
    """Leaves out other views, colour and parts of the sensor's depth, each by its share of the samples."""
    count, (height, width) = len(samples), samples.truth_z_m.shape[1:]
    kept = torch.from_numpy(draw.uniform(size=count) >= dropout.evidence).float()[:, None, None]
    coloured = torch.from_numpy(draw.uniform(size=count) >= dropout.image)[:, None, None, None]
    sensor = samples.sensor_z_m.clone()
    for index in np.flatnonzero(draw.uniform(size=count) < dropout.holes):
        sensor[index][torch.from_numpy(random_hole(height, width, draw))] = 0.0
    return replace(
        samples,
        image=torch.where(coloured, samples.image, GREY),
        sensor_z_m=sensor,
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


def batches(
    groups: SampleGroups,
    batch_size: int,
    first_batch: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
) -> Iterator[PosedViews]:
    """Batches without end, from `first_batch` on. With several processes, each takes every `world`-th group.

    Args:
        groups: where samples come from.
        batch_size: samples in a batch of one process.
        first_batch: batches that were used already.
        workers: background processes; 0 for none.
        rank: number of this process.
        world: number of processes.
    """
    start = first_batch * batch_size
    skipped = start % groups.samples_per_group
    kept: list[PosedViews] = []
    for samples in _groups_from(groups, start // groups.samples_per_group, workers, rank, world):
        rest = joined([*kept, samples[slice(skipped, None)]])
        skipped = 0
        while len(rest) >= batch_size:
            yield rest[slice(0, batch_size)]
            rest = rest[slice(batch_size, None)]
        kept = [rest] if len(rest) else []


class _Numbers:
    """Group numbers of one process, without end."""

    def __init__(self, first: int, rank: int, world: int) -> None:
        self.first, self.rank, self.world = first, rank, world

    def __iter__(self) -> Iterator[int]:
        number = self.first
        while True:
            yield number * self.world + self.rank
            number += 1


def _groups_from(groups: SampleGroups, first: int, workers: int, rank: int, world: int) -> Iterator[PosedViews]:
    numbers = _Numbers(first, rank, world)
    if not workers:
        yield from (groups[number] for number in numbers)
        return
    # Forked processes cannot use a GPU, nor OpenMP after the parent has.
    loader = DataLoader(
        groups,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        multiprocessing_context="spawn",
        worker_init_fn=prepare_worker,
    )
    yield from loader


def prepare_worker(_: int) -> None:
    """A signal to the whole process group must not end workers before the parent has written its checkpoint; and what
    has ended goes at once: libraries whose threads still wait would abort it after that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    atexit.register(os._exit, 0)
