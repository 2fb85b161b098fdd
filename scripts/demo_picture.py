"""Draw what the demo learned: held-out views, what the sensor saw of them and what the trained field renders.

python -m scripts.demo_picture CONFIG.yml PICTURE.png [--views 3]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from nerfstudio.pipelines.base_pipeline import Pipeline
from nerfstudio.utils.eval_utils import eval_setup

from diffnerf_ns.dataparser_frames import stage_frames
from diffnerf_ns.depth_units import metres_from_scene
from diffnerf_ns.even_spread import evenly_spread
from diffnerf_ns.refined_datamanager import RefinedDepthDataManager
from diffnerf_ns.refinement.frame_files import refiner_frame
from diffnerf_ns.refinement.stage import load_refiner
from scripts.rendered_depth import rendered_depth_z_m

Image = npt.NDArray[np.float32]
LARGEST_ERROR_M = 0.2


@dataclass(frozen=True)
class HeldOutView:
    """One view that was not trained on. Depth is z-depth in metres, 0 where missing."""

    photo: Image
    sensor: Image
    refined: Image
    rendered_photo: Image
    rendered: Image
    truth: Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--views", type=int, default=3)
    options = parser.parse_args()
    _, pipeline, _, _ = eval_setup(options.config)
    views = held_out_views(pipeline, options.views)
    draw(views).savefig(options.picture, dpi=130, bbox_inches="tight")


def held_out_views(pipeline: Pipeline, count: int) -> list[HeldOutView]:
    """Views spread over the evaluation split. Their depth is refined for this picture alone, never for scoring."""
    manager = pipeline.datamanager
    assert isinstance(manager, RefinedDepthDataManager)
    dataset = manager.eval_dataset
    chosen = evenly_spread(len(dataset), count)
    frames = [refiner_frame(frame) for frame in stage_frames(dataset._dataparser_outputs)]
    refiner = load_refiner(manager.config.refiner)
    views = []
    for index, refined in zip(chosen, refiner.refine(frames, chosen), strict=True):
        item = dataset[index]
        camera = dataset.cameras[index : index + 1].to(pipeline.device)
        with torch.no_grad():
            outputs = pipeline.model.get_outputs_for_camera(camera)
        rendered = rendered_depth_z_m(outputs["depth"], camera, dataset.scene_units_per_metre)
        metres = {
            name: metres_from_scene(item[name], dataset.scene_units_per_metre)
            for name in ("depth_image", "depth_truth")
        }
        views.append(
            HeldOutView(
                photo=item["image"].numpy(),
                sensor=metres["depth_image"][..., 0].numpy(),
                refined=refined.depth_z_m,
                rendered_photo=outputs["rgb"].cpu().numpy().clip(0, 1),
                rendered=rendered[..., 0].numpy(),
                truth=metres["depth_truth"][..., 0].numpy(),
            )
        )
    return views


def draw(views: list[HeldOutView]) -> Figure:
    """One row per view; missing depth is grey."""
    farthest = max(float(view.truth.max()) for view in views)
    nearest = min(float(view.truth[view.truth > 0].min()) for view in views)
    titles = (
        "photo",
        "sensor depth",
        "refined depth",
        "rendered",
        "rendered depth",
        "true depth",
        "error of rendered depth",
    )
    height, width = views[0].truth.shape
    figure, axes = plt.subplots(
        len(views),
        len(titles),
        figsize=(2.1 * len(titles), 2.2 * len(views) * height / width + 0.9),
        squeeze=False,
        layout="constrained",
    )
    depth_colors = ScalarMappable(Normalize(nearest, farthest), "turbo")
    error_colors = ScalarMappable(Normalize(0, LARGEST_ERROR_M), "magma")
    for row, view in zip(axes, views, strict=True):
        row[0].imshow(view.photo)
        row[3].imshow(view.rendered_photo)
        for column, depth in ((1, view.sensor), (2, view.refined), (4, view.rendered), (5, view.truth)):
            shown = np.ma.masked_less_equal(depth, 0)
            row[column].imshow(shown, cmap=depth_colors.cmap, norm=depth_colors.norm)
        error = np.ma.masked_where(view.truth <= 0, np.abs(view.rendered - view.truth))
        row[6].imshow(error, cmap=error_colors.cmap, norm=error_colors.norm)
        row[6].set_xlabel(f"mean {error.mean():.3f} m", fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_facecolor("0.8")
    bar = {"location": "bottom", "pad": 0.02}
    figure.colorbar(depth_colors, ax=axes[:, 1:6], label="depth (m)", shrink=0.5, aspect=50, **bar)
    figure.colorbar(error_colors, ax=axes[:, 6], label="error (m)", aspect=16, extend="max", **bar)
    return figure


if __name__ == "__main__":
    main()
