"""Pose refinement for trackers that drift: corrections vary smoothly with the pose that they correct.

A tracker's error changes slowly along its path, so neighbouring views share it. Every view's correction is a weighted
mean of learned ones, with weights that fall off with the distance between poses. The same mean gives a correction to a
view that was never trained on, from nothing but its pose: so evaluation views are rendered where the refined training
views say that they are, and no evaluation pixel takes part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizer, CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.lie_groups import exp_map_SO3xR3
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor


@dataclass
class PoseDriftConfig(CameraOptimizerConfig):
    """How training poses are refined."""

    _target: type = field(default_factory=lambda: PoseDrift)
    """Target class to instantiate."""
    mode: Literal["off", "SO3xR3"] = "off"  # type: ignore[assignment]
    """Refinement of the training poses: off, or a rotation and a translation each; nerfstudio's SE3 is not offered."""
    reach: float | None = None
    """Distance between poses over which corrections are shared, and exposures told from neighbours: metres of
    translation plus radians of rotation. None for two fifths of the distance between neighbouring training poses, at
    least 0.1."""


SMALLEST_REACH, REACH_OF_SPACING = 0.1, 0.4
"""Few views stand far apart, and held-out views far from them: with a fixed reach these would stay where they were."""


def pose_distance(first: Tensor, second: Tensor, scene_units_per_metre: float) -> Tensor:
    """Distances [N, M] between camera-to-world poses [N, 3, 4] and [M, 3, 4]: metres plus radians."""
    metres = torch.cdist(first[:, :3, 3], second[:, :3, 3]) / scene_units_per_metre
    cosine = 0.5 * (torch.einsum("nab,mab->nm", first[:, :3, :3], second[:, :3, :3]) - 1.0)
    return metres + torch.acos(cosine.clamp(-1.0, 1.0))


def reach_of(poses: Tensor, scene_units_per_metre: float) -> float:
    """Distance over which training poses [N, 3, 4] share their corrections where none is given."""
    if len(poses) < 2:
        return SMALLEST_REACH
    distance = pose_distance(poses, poses, scene_units_per_metre).fill_diagonal_(torch.inf)
    return max(SMALLEST_REACH, REACH_OF_SPACING * distance.amin(dim=1).median().item())


class PoseDrift(CameraOptimizer):
    """Corrections of training poses, and of any other pose near them.

    Rotation and translation are those of nerfstudio's SO3xR3: both along world axes, about the camera's own position.
    The mean correction is held at zero: it would move the whole scene.

    Args:
        camera_to_worlds: [N, 3, 4] training poses; None leaves poses as they are.
        scene_units_per_metre: the dataparser's scale.
    """

    config: PoseDriftConfig
    training_poses: Tensor
    sharing: Tensor

    def __init__(
        self,
        config: PoseDriftConfig,
        num_cameras: int,
        device: torch.device | str,
        camera_to_worlds: Tensor | None = None,
        scene_units_per_metre: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if camera_to_worlds is None:
            if config.mode != "off":
                CONSOLE.print("[yellow]poses are not refined: the dataset's metadata has no camera_to_worlds")
            config = replace(config, mode="off")
            camera_to_worlds = torch.empty(0, 3, 4)
        super().__init__(config, num_cameras, device, **kwargs)
        self.scene_units_per_metre = scene_units_per_metre
        self.register_buffer("training_poses", camera_to_worlds.float().clone())
        self.reach = config.reach if config.reach is not None else reach_of(self.training_poses, scene_units_per_metre)
        self.register_buffer("sharing", self._nearness(self.training_poses), persistent=False)

    def nearness(self, camera: Cameras) -> Tensor:
        """Weights [M, N] of the training views in what is known of cameras; they fade away from training poses."""
        poses = camera.camera_to_worlds.view(-1, 3, 4).to(self.training_poses)
        return self._nearness(poses) if len(self.training_poses) else poses.new_zeros(len(poses), self.num_cameras)

    def _nearness(self, poses: Tensor) -> Tensor:
        distance = pose_distance(poses, self.training_poses, self.scene_units_per_metre) / self.reach
        weights = torch.exp(-0.5 * distance**2)
        return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.exp(torch.tensor(-4.5)).item())

    def _mean(self) -> Tensor:
        return (self.sharing @ self.pose_adjustment).mean(dim=0)

    def forward(self, indices: Tensor) -> Tensor:
        """Correction matrices [len(indices), 3, 4] of training views."""
        if self.config.mode == "off":
            return super().forward(indices)
        with torch.autocast(self.sharing.device.type, enabled=False):
            shared = self.sharing @ self.pose_adjustment
            return exp_map_SO3xR3(shared - shared.mean(dim=0))[indices]

    def apply_to_raybundle(self, raybundle: RayBundle) -> None:
        """Moves rays of training views; not by a matrix product: mixed precision would round it."""
        if self.config.mode != "off":
            assert raybundle.camera_indices is not None
            correction = self(raybundle.camera_indices[:, 0])
            raybundle.origins = raybundle.origins + correction[:, :, 3]
            raybundle.directions = (correction[:, :, :3] * raybundle.directions[:, None, :]).sum(dim=-1)

    @torch.no_grad()
    def corrected(self, camera: Cameras) -> Cameras:
        """The camera where the refined training views say that it is."""
        if self.config.mode == "off":
            return camera
        poses = camera.camera_to_worlds.view(-1, 3, 4).to(self.training_poses)
        sharing = self.nearness(camera)
        tangent = sharing @ self.pose_adjustment - sharing.sum(dim=1, keepdim=True) * self._mean()
        correction = exp_map_SO3xR3(tangent)
        moved = torch.cat([correction[:, :, :3] @ poses[:, :, :3], poses[:, :, 3:] + correction[:, :, 3:]], dim=-1)
        corrected = camera[...] if camera.shape else camera
        corrected.camera_to_worlds = moved.view(camera.camera_to_worlds.shape).to(camera.camera_to_worlds)
        return corrected
