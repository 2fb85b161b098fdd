"""The same evaluation for every method: z-depth in metres by region, PSNR, SSIM, seconds per view."""

from __future__ import annotations

import time

from nerfstudio.models.base_model import Model
from torch import Tensor

from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.depth_units import metres_from_scene
from diffnerf_ns.evaluation.depth_metrics import depth_errors_by_region
from diffnerf_ns.field.image_metrics import colour_scores
from diffnerf_ns.rgbd_dataset import RGBDDataset
from scripts.benchmarking.prepared_capture import chosen_views
from scripts.rendered_depth import rendered_depth_z_m


class HeldOutViews:
    """Held-out views with the sensor's depth and the reference depth.

    Args:
        dataparser: as the methods read the capture.
        count: views that are scored, evenly spread; None for all.
    """

    def __init__(self, dataparser: DiffnerfDataParserConfig, count: int | None) -> None:
        outputs = dataparser.setup().get_dataparser_outputs(split="val")
        self.dataset = RGBDDataset(outputs, with_depth_truth=True)
        self.indices = chosen_views(len(self.dataset), count)

    def score(self, model: Model) -> dict[str, float]:
        """Means over the views. A region that no view has is left out."""
        model.eval()
        views = [self._score_view(model, index) for index in self.indices]
        names = dict.fromkeys(name for view in views for name in view)
        scores = {name: [view[name] for view in views if name in view] for name in names}
        return {name: sum(values) / len(values) for name, values in scores.items()}

    def _score_view(self, model: Model, index: int) -> dict[str, float]:
        camera = self.dataset.cameras[index : index + 1].to(model.device)
        started = time.perf_counter()
        outputs = model.get_outputs_for_camera(camera)
        rgb, depth_ray_scene = outputs["rgb"].cpu().clamp(0.0, 1.0), outputs["depth"].cpu()
        seconds = time.perf_counter() - started
        depth_z_m = rendered_depth_z_m(depth_ray_scene, camera, self.dataset.scene_units_per_metre)
        data = self.dataset.get_data(index)
        photo = data["image"][..., :3]
        return {**colour_scores(rgb, photo), **self._depth_scores(depth_z_m, data), "render_s_per_view": seconds}

    def _depth_scores(self, depth_z_m: Tensor, data: dict[str, Tensor]) -> dict[str, float]:
        def metres(name: str) -> Tensor:
            return metres_from_scene(data[name][..., 0], self.dataset.scene_units_per_metre)

        has_truth = "depth_truth" in data and bool((data["depth_truth"] > 0).any())
        sensor = metres("depth_image")
        errors = depth_errors_by_region(depth_z_m[..., 0], metres("depth_truth") if has_truth else sensor, sensor)
        scores = errors["all"].as_dict("depth_")
        for region in ("observed", "hole", "edge"):
            scores |= errors[region].as_dict(f"depth_{region}_")
        return scores
