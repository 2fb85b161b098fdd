"""Where the web viewer's camera stands when a browser connects: before the first training camera.

nerfstudio has it near the middle of all cameras, looking where it may be that no view ever looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer
    from viser import ClientHandle

DISTANCE_WITHOUT_DEPTH = 1.0
"""Scene units before the camera that it turns around where no depth is known."""

FRUSTUMS_AHEAD = 4.0
"""Sizes of a drawn camera that the viewer's stands before it, so that its picture does not hide what is rendered."""


class FirstViewCamera(ViewerControl):
    """Found by nerfstudio's viewer as an attribute of a model."""

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        viewer.viser_server.on_client_connect(self.show_first_view)

    def show_first_view(self, client: ClientHandle) -> None:
        """Puts a browser's camera before that of the first training view, half the way to what it sees at most."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        dataset = self.viewer.pipeline.datamanager.train_dataset
        if dataset is None:
            return
        eye, middle = (VISER_NERFSTUDIO_SCALE_RATIO * point.numpy() for point in eye_and_middle(dataset))
        ahead = FRUSTUMS_AHEAD * self.viewer.config.camera_frustum_scale / float(np.linalg.norm(middle - eye))
        with client.atomic():
            client.camera.position = eye + min(ahead, 0.5) * (middle - eye)
            client.camera.look_at = middle


def eye_and_middle(dataset: InputDataset) -> tuple[Tensor, Tensor]:
    """Where the first view was taken from, and what is in its middle, as far away as half of what it sees.

    Both [3], scene units.
    """
    pose = dataset.cameras.camera_to_worlds[0].cpu()
    depth = dataset[0].get("depth_image", torch.zeros(1))
    known = depth[depth > 0]
    distance = known.median() if len(known) else DISTANCE_WITHOUT_DEPTH
    return pose[:, 3], pose[:, 3] - distance * pose[:, 2]
