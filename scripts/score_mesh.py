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
from nerfstudio.models.base_model import Model
from nerfstudio.utils.eval_utils import eval_setup

from diffnerf_ns.captures.capture_files import write_json_atomically
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.depth_units import metres_from_scene, z_from_ray_length
from diffnerf_ns.evaluation.fused_surface import fused_surface
from diffnerf_ns.evaluation.mesh_scores import surface_scores
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig
from diffnerf_ns.rgbd_dataset import RGBDDataset


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
    config, pipeline, _, _ = eval_setup(options.load_config, test_mode="test")
    assert isinstance(config.pipeline.datamanager, RefinedDepthDataManagerConfig)
    parser = config.pipeline.datamanager.dataparser
    assert isinstance(parser, DiffnerfDataParserConfig)
    outputs = replace(parser, train_views=None).setup().get_dataparser_outputs(split="train")
    dataset = RGBDDataset(outputs, with_depth_truth=True)
    truths, rendered = [], []
    for index in range(len(dataset)):
        truth_z_m = reference_depth_z_m(dataset, index)
        camera = dataset.cameras[index].get_intrinsics_matrices().double().numpy(), pose_m(dataset, index)
        shown_z_m = np.where(truth_z_m > 0, rendered_depth_z_m(pipeline.model, dataset, index), np.float32(0.0))
        truths.append((truth_z_m, *camera))
        rendered.append((shown_z_m, *camera))
    surface, reference = (fused_surface(views, options.voxel_m) for views in (rendered, truths))
    scores = surface_scores(surface, reference, options.within_m)
    result = {"mesh_precision": scores.precision, "mesh_recall": scores.recall, "mesh_f_score": scores.f_score}
    write_json_atomically(options.output_path, result)
    print(json.dumps(result))


@torch.no_grad()
def rendered_depth_z_m(model: Model, dataset: RGBDDataset, index: int) -> npt.NDArray[np.float32]:
    """z-depth [height, width] that the scene shows a camera, metres."""
    camera = dataset.cameras[index : index + 1].to(model.device)
    depth_ray_scene = model.get_outputs_for_camera(camera)["depth"].cpu()
    norm = camera.generate_rays(camera_indices=0, keep_shape=True).metadata["directions_norm"].cpu()
    depth_z_scene = z_from_ray_length(depth_ray_scene, norm)
    return metres_from_scene(depth_z_scene, dataset.scene_units_per_metre)[..., 0].numpy()


def reference_depth_z_m(dataset: RGBDDataset, index: int) -> npt.NDArray[np.float32]:
    """Reference z-depth [height, width], metres, 0 where unknown."""
    data = dataset.get_data(index)
    if "depth_truth" not in data:
        raise SystemExit(f"Error: {dataset.image_filenames[index]} has no reference depth to score the surface against")
    return metres_from_scene(data["depth_truth"], dataset.scene_units_per_metre)[..., 0].numpy()


def pose_m(dataset: RGBDDataset, index: int) -> npt.NDArray[np.float64]:
    """Camera-to-world pose [4, 4], metres."""
    pose = np.eye(4)
    pose[:3] = dataset.cameras.camera_to_worlds[index].double().numpy()
    pose[:3, 3] /= dataset.scene_units_per_metre
    return pose


if __name__ == "__main__":
    main()
