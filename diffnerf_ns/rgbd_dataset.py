"""Images with metric depth: what a dataparser found on disk, as the batch that the model trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.captures.depth_resampling import resample_depth, resample_nearest
from diffnerf_ns.depth_normals import normals_from_depth
from diffnerf_ns.depth_samples import enclosing_box, sampled_pixels, sampled_points, sampled_rays
from diffnerf_ns.depth_units import metres_per_unit_of, ray_length_from_z, scene_from_metres, sensor_sigma_z_m
from diffnerf_ns.even_spread import evenly_spread

DepthAndSigma = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""depth_z_m and sigma_z_m [height, width]."""

BOX_FRAMES = 128
"""Frames whose depth stands for all when the scene box is fitted."""

BOX_PIXELS_PER_FRAME = 800
"""Pixels of such a frame that are unprojected."""

DEPTH_RAY_FRAMES = 200
"""Frames whose depth stands for all as rays through the whole scene."""


class RGBDDataset(InputDataset):
    """Items with `depth_image`, `depth_sigma` and, on demand, `depth_truth` [height, width, 1], scene units.

    On demand also with `normal_image` [height, width, 3]: unit normals along the scene's axes, 0 where unknown.

    Works with every dataparser whose metadata holds `depth_filenames` (and optionally `depth_unit_scale_factor` and
    `depth_truth_filenames`). Depth may be of another size than the image, as long as both show the same view.

    Args:
        dataparser_outputs: description of where and how to read input images.
        scale_factor: how much to scale images, masks and depth by.
        with_depth_truth: whether items carry reference depth where there is any; meant for evaluation.
        depth_required: whether captures without any depth are refused; otherwise their items carry colour alone.
    """

    def __init__(
        self,
        dataparser_outputs: DataparserOutputs,
        scale_factor: float = 1.0,
        with_depth_truth: bool = False,
        depth_required: bool = True,
    ) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        self.exclude_batch_keys_from_device = [
            *InputDataset.exclude_batch_keys_from_device,
            *("depth_image", "depth_sigma", "depth_truth", "normal_image"),
        ]
        self.depth_files: list[Path] = list(self.metadata.get("depth_filenames") or ())
        if depth_required and not self.depth_files:
            raise no_depth_found(dataparser_outputs)
        self.metres_per_unit = metres_per_unit_of(self.metadata)
        truth_files: Sequence[Path | None] | None = self.metadata.get("depth_truth_filenames")
        self.truth_files = truth_files if with_depth_truth else None
        self.refined_depth: Callable[[int], DepthAndSigma] | None = None
        """Gives refined depth_z_m and sigma_z_m for an image index; None for what the sensor measured."""
        self.with_normals = False
        """Whether items carry the normals of their depth."""
        self.metadata["dataparser_scale"] = self.scene_units_per_metre
        self.metadata["dataparser_transform"] = dataparser_outputs.dataparser_transform
        self.metadata["camera_to_worlds"] = self.cameras.camera_to_worlds
        if dataparser_outputs.alpha_color is not None:
            self.metadata["alpha_color"] = dataparser_outputs.alpha_color
        self.scene_box = self._fit_scene_box()

    @property
    def scene_units_per_metre(self) -> float:
        """The dataparser's scale."""
        return float(self._dataparser_outputs.dataparser_scale)

    def get_metadata(self, data: dict) -> dict:
        if not self.depth_files:
            return {}
        index = int(data["image_idx"])
        height, width = data["image"].shape[:2]
        depth_z_m, sigma_z_m = self.depth_and_sigma(index)
        items = {
            "depth_image": self._to_scene(resample_depth(depth_z_m, width, height)),
            "depth_sigma": self._to_scene(resample_nearest(sigma_z_m, width, height)),
        }
        if self.with_normals:
            items["normal_image"] = self._normals(index, items["depth_image"][..., 0])
        if self.truth_files is not None:
            items["depth_truth"] = self._to_scene(self._truth_z_m(index, width, height))
        return items

    def sensor_depth_z_m(self, index: int) -> npt.NDArray[np.float32]:
        """What the sensor measured, metres, at the size that the file has."""
        return read_depth_z_m(self.depth_files[index], self.metres_per_unit)

    def depth_and_sigma(self, index: int) -> DepthAndSigma:
        """Refined depth where there is any, else the sensor's; metres, at the size that either has."""
        if self.refined_depth is not None:
            return self.refined_depth(index)
        depth_z_m = self.sensor_depth_z_m(index)
        return depth_z_m, sensor_sigma_z_m(depth_z_m)

    def depth_rays(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """About `count` rays with known depth, spread evenly over frames and pixels; poses are the capture's.

        Origins and unit directions [n, 3]; depth along the ray and its standard deviation [n, 1]; scene units.
        """
        frames = evenly_spread(len(self.depth_files), DEPTH_RAY_FRAMES)
        if not frames:
            return torch.empty(0, 3), torch.empty(0, 3), torch.empty(0, 1), torch.empty(0, 1)
        per_frame = count / len(frames)
        pixels = torch.cat(
            [sampled_pixels(self.cameras, frame, per_frame, *self.depth_and_sigma(frame)) for frame in frames]
        )
        rays = sampled_rays(self.cameras, pixels)
        depth_and_sigma = scene_from_metres(pixels[:, 3:].float(), self.scene_units_per_metre)
        depth_ray, sigma_ray = ray_length_from_z(depth_and_sigma, rays.metadata["directions_norm"]).split(1, dim=-1)
        return rays.origins, rays.directions, depth_ray, sigma_ray

    def _normals(self, index: int, depth_z: Tensor) -> Tensor:
        """Unit normals [height, width, 3] along the scene's axes; 0 where depth does not show a surface."""
        rays = self.cameras.generate_rays(camera_indices=index)
        rays_per_z = rays.directions * rays.metadata["directions_norm"]
        return normals_from_depth(depth_z, rays.origins, rays_per_z)

    def _truth_z_m(self, index: int, width: int, height: int) -> npt.NDArray[np.float32]:
        assert self.truth_files is not None
        file = self.truth_files[index]
        if file is None:
            return np.zeros((height, width), np.float32)
        return resample_depth(read_depth_z_m(file, self.metres_per_unit), width, height)

    def _to_scene(self, length_m: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(scene_from_metres(length_m, self.scene_units_per_metre))[..., None].float()

    def _fit_scene_box(self) -> SceneBox:
        """Encloses the cameras and what their sensors saw, scene units; the dataparser's box where there is no depth.

        Reads sensor depth whether or not refined depth is used, so that all commands see the same box. Files that are
        gone are passed over: rendering a trained scene needs no depth.
        """
        samples = [
            sampled_pixels(self.cameras, frame, BOX_PIXELS_PER_FRAME, self.sensor_depth_z_m(frame))
            for frame in evenly_spread(len(self.depth_files), BOX_FRAMES)
            if self.depth_files[frame].is_file()
        ]
        if not sum(map(len, samples)):
            return self.scene_box
        points = sampled_points(self.cameras, torch.cat(samples), self.scene_units_per_metre)
        centres = self.cameras.camera_to_worlds[:, :3, 3].cpu()
        return enclosing_box(points, centres, self.scene_units_per_metre)


def no_depth_found(outputs: DataparserOutputs) -> CaptureError:
    """The error for captures whose dataparser found images only."""
    return CaptureError(
        outputs.image_filenames[0].parent if outputs.image_filenames else Path("."),
        "depth_filenames",
        "the dataparser found images but no depth",
        "Add depth to the capture, or train a method that needs none, e.g. diffnerf-mlp or nerfacto.",
    )
