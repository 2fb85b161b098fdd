"""The web viewer opens at the first training view."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import nn

from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.field.viewer_camera import DISTANCE_WITHOUT_DEPTH, FirstViewCamera, eye_and_middle


def test_a_browser_that_connects_is_put_before_the_camera_of_the_first_view(manage: Callable) -> None:
    dataset = manage().train_dataset
    connected = []
    viewer = SimpleNamespace(
        viser_server=SimpleNamespace(on_client_connect=connected.append),
        pipeline=SimpleNamespace(datamanager=SimpleNamespace(train_dataset=dataset)),
        config=SimpleNamespace(camera_frustum_scale=0.3),
    )
    FirstViewCamera()._setup(viewer)  # pyright: ignore[reportArgumentType]
    browser = SimpleNamespace(camera=SimpleNamespace(position=None, look_at=None), atomic=nullcontext)
    (on_connect,) = connected
    on_connect(browser)

    pose = dataset.cameras.camera_to_worlds[0]
    position, look_at = (
        torch.as_tensor(point) / VISER_NERFSTUDIO_SCALE_RATIO
        for point in (browser.camera.position, browser.camera.look_at)
    )
    depth = dataset[0]["depth_image"]
    forward, distance = -pose[:, 2], depth[depth > 0].median()
    torch.testing.assert_close(position, pose[:, 3] + 0.12 * forward)
    torch.testing.assert_close(look_at, pose[:, 3] + distance * forward)


def test_without_depth_it_looks_ahead_all_the_same() -> None:
    class Colours:
        cameras = SimpleNamespace(camera_to_worlds=torch.eye(4)[None, :3])

        def __getitem__(self, _: int) -> dict:
            return {}

    eye, middle = eye_and_middle(Colours())  # pyright: ignore[reportArgumentType]
    assert eye.tolist() == [0, 0, 0]
    assert middle.tolist() == [0, 0, -DISTANCE_WITHOUT_DEPTH]


def test_nerfstudio_s_viewer_finds_it_in_a_pipeline() -> None:
    pipeline = nn.Module()
    pipeline.model = DiffnerfModelConfig(num_levels=2, log2_hashmap_size=8, free_space_rays=0).setup(
        scene_box=SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=1, metadata={}
    )
    found = parse_object(pipeline, ViewerControl, "Custom Elements")
    assert [type(control) for _, control in found] == [FirstViewCamera]
