"""The surface of a trained scene against that of a capture's reference depth.

    python -m scripts.score_mesh --load-config CONFIG --output-path scores.json

The scene's depth is rendered from all training views of the capture, also from those that it was not trained on, and
fused; the reference depth of the same views is fused likewise. Pixels without reference depth are left out of both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import tyro
from nerfstudio.utils.eval_utils import eval_setup

from diffnerf_ns.captures.capture_files import write_json_atomically
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.dataparser_frames import stage_frames
from diffnerf_ns.depth_units import metres_from_scene
from diffnerf_ns.open3d_library import Open3DLoadError, require_open3d
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig
from diffnerf_ns.rgbd_dataset import RGBDDataset
from scripts.rendered_depth import rendered_depth_z_m


@dataclass
class ScoreMesh:
    """Score the surface of a trained scene."""

    load_config: Path
    """config.yml of the training."""
    output_path: Path = Path("mesh.json")
    """JSON file for the scores."""
    voxel_m: float = 0.02
    """Resolution of both surfaces, metres."""
    within_m: float = 0.05
    """Distance up to which a point counts as on the other surface, metres."""


def main() -> None:
    options = tyro.cli(ScoreMesh, prog="python -m scripts.score_mesh", description=__doc__)
    try:
        require_open3d()
    except Open3DLoadError as error:
        raise SystemExit(f"Error: {error}") from error
    from diffnerf_ns.evaluation.fused_surface import fused_surface
    from diffnerf_ns.evaluation.mesh_scores import surface_scores

    config, pipeline, _, _ = eval_setup(options.load_config, test_mode="test")
    assert isinstance(config.pipeline.datamanager, RefinedDepthDataManagerConfig)
    parser = config.pipeline.datamanager.dataparser
    assert isinstance(parser, DiffnerfDataParserConfig)
    outputs = replace(parser, train_views=None).setup().get_dataparser_outputs(split="train")
    dataset = RGBDDataset(outputs, with_depth_truth=True)
    truths, rendered = [], []
    for index, frame in enumerate(stage_frames(outputs)):
        truth_z_m = reference_depth_z_m(dataset, index)
        camera = dataset.cameras[index : index + 1].to(pipeline.device)
        with torch.no_grad():
            depth_ray_scene = pipeline.model.get_outputs_for_camera(camera)["depth"]
        shown_z_m = rendered_depth_z_m(depth_ray_scene, camera, dataset.scene_units_per_metre)[..., 0].numpy()
        truths.append((truth_z_m, frame.intrinsics, frame.camera_to_world))
        rendered.append((np.where(truth_z_m > 0, shown_z_m, 0), frame.intrinsics, frame.camera_to_world))
    surface, reference = (fused_surface(views, options.voxel_m) for views in (rendered, truths))
    scores = surface_scores(surface, reference, options.within_m)
    result = {"mesh_precision": scores.precision, "mesh_recall": scores.recall, "mesh_f_score": scores.f_score}
    write_json_atomically(options.output_path, result)
    print(json.dumps(result))


def reference_depth_z_m(dataset: RGBDDataset, index: int) -> npt.NDArray[np.float32]:
    """Reference z-depth [height, width], metres, 0 where unknown."""
    data = dataset.get_data(index)
    if "depth_truth" not in data:
        raise SystemExit(f"Error: {dataset.image_filenames[index]} has no reference depth to score the surface against")
    return metres_from_scene(data["depth_truth"], dataset.scene_units_per_metre)[..., 0].numpy()


if __name__ == "__main__":
    main()
