"""Pictures of sensor depth, refined depth and sigma for TensorBoard and its like, in colours that mean metres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.utils import colormaps, writer
from torch import Tensor

from diffnerf_ns.even_spread import evenly_spread
from diffnerf_ns.rgbd_dataset import RGBDDataset

SHOWN_FRAMES = 3
"""Frames of which pictures are written, spread evenly over the training split."""

DEPTH_RANGE_M = 5.0
"""Depth that the last colour stands for, metres; the first stands for 0."""

SIGMA_RANGE_M = 0.1
"""Sigma that the last colour stands for, metres; the first stands for 0."""

LARGEST_SIDE = 640
"""Pixels; larger pictures are thinned out."""


def show_depth_at_start(dataset: RGBDDataset) -> TrainingCallback:
    """Hands pictures of a few frames to nerfstudio's writers before the first step of a run, resumed or not."""
    waiting = [dataset]

    def show_once(step: int) -> None:
        while waiting:
            put_depth_pictures(waiting.pop(), step)

    return TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], show_once)


def put_depth_pictures(dataset: RGBDDataset, step: int) -> None:
    """Hands pictures of a few frames to nerfstudio's writers, if there is one that shows pictures.

    Args:
        dataset: training frames, whose refined depth is shown if there is any.
        step: training step that the pictures are filed under.
    """
    if not any(not isinstance(one, writer.LocalWriter) for one in writer.EVENT_WRITERS):
        return
    for index in evenly_spread(len(dataset.depth_files), SHOWN_FRAMES):
        for name, picture in depth_pictures(dataset, index).items():
            writer.put_image(f"{name}/{dataset.image_filenames[index].stem}", picture, step)


def depth_pictures(dataset: RGBDDataset, index: int) -> dict[str, Tensor]:
    """RGB pictures [height, width, 3] of one frame by a name that states their range; black where nothing is known."""
    depth_z_m, sigma_z_m = dataset.depth_and_sigma(index)
    depth_range, sigma_range = f"0_to_{DEPTH_RANGE_M:g}_m", f"0_to_{100 * SIGMA_RANGE_M:g}_cm"
    pictures = {f"sensor_depth_{depth_range}": coloured(dataset.sensor_depth_z_m(index), DEPTH_RANGE_M)}
    if dataset.refined_depth is not None:
        pictures[f"refined_depth_{depth_range}"] = coloured(depth_z_m, DEPTH_RANGE_M)
    pictures[f"depth_sigma_{sigma_range}"] = coloured(sigma_z_m, SIGMA_RANGE_M)
    return pictures


def coloured(values_m: npt.NDArray[np.float32], range_m: float) -> Tensor:
    """Colours from 0 to `range_m`, as RGB in [0, 1]; 0 itself, which is missing, is black.

    Args:
        values_m: [height, width], metres.
        range_m: what the last colour stands for, metres.
    """
    step = -(-max(values_m.shape) // LARGEST_SIDE)
    values = torch.from_numpy(values_m[::step, ::step].copy())[..., None]
    return colormaps.apply_depth_colormap(values, near_plane=0.0, far_plane=range_m) * (values > 0)
