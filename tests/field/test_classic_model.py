"""NeRF as published: its encoding, its network, where its fine samples go, and that it learns."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from diffnerf_ns.field.classic_field import ClassicField
from diffnerf_ns.field.classic_model import ClassicModel, ClassicModelConfig
from diffnerf_ns.field.volume_rendering import stratified

PUBLISHED_PARAMETERS = 595844
"""Of one network of the paper's released code, which encodes 3 + 60 numbers of a position and 3 + 24 of a direction."""

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
BOX = torch.tensor([[-2.0, -2.0, -2.5], [2.0, 2.0, 0.5]])
WALL_Z = -2.0


def _model(**settings) -> ClassicModel:
    torch.manual_seed(0)
    sizes = {"coarse_samples": 12, "fine_samples": 12, "num_layers": 4, "hidden_dim": 32, "skip_layer": 1}
    config = ClassicModelConfig(**{**sizes, "position_frequencies": 4, **settings})
    return config.setup(scene_box=SceneBox(aabb=BOX), num_train_data=1, metadata={"dataparser_scale": 1.0})


def _rays(count: int, with_depth: bool = True) -> tuple[RayBundle, dict]:
    """Rays from the origin onto a wall at z = -2 that is red on its left half and blue on its right."""
    direction = torch.cat([torch.rand(count, 2) * 0.8 - 0.4, -torch.ones(count, 1)], dim=-1)
    norm = direction.norm(dim=-1, keepdim=True)
    metadata = {"directions_norm": norm}
    if with_depth:
        metadata |= {"depth_z": torch.full((count, 1), -WALL_Z), "depth_sigma": torch.full((count, 1), 0.05)}
    image = torch.where(direction[:, :1] < 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))
    cameras = torch.zeros(count, 1, dtype=torch.long)
    rays = RayBundle(torch.zeros(count, 3), direction / norm, torch.ones(count, 1), cameras, metadata=metadata)
    return rays, {"image": image}


def _train(model: ClassicModel, steps: int) -> list[float]:
    optimizer = torch.optim.Adam(model.get_param_groups()["fields"], lr=5e-3)
    history = []
    model.train()
    for _ in range(steps):
        rays, batch = _rays(128)
        loss = torch.stack(list(model.get_loss_dict(model(rays), batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


@pytest.fixture(scope="module")
def trained() -> ClassicModel:
    model = _model()
    history = _train(model, 120)
    assert sum(history[-10:]) < 0.2 * sum(history[:10])
    return model.eval()


def test_frequencies_are_those_of_the_paper() -> None:
    """sin and cos of 2^k pi u, u in [-1, 1]^3; a sign is left to the first layer."""
    field = ClassicField(CUBE)
    torch.manual_seed(0)
    u = torch.rand(50, 3) * 2 - 1
    for encoded, octaves in ((field.position_encoding(field.normalise(u)), 10), (field.encode_directions(u), 4)):
        assert encoded.shape == (50, 3 + 6 * octaves)
        phase = (u[:, :, None] * torch.pi * 2.0 ** torch.arange(octaves)).reshape(50, -1)
        expected = torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1).abs()
        torch.testing.assert_close(encoded[:, :-3].abs(), expected, atol=2e-3, rtol=0)
        torch.testing.assert_close(encoded[:, -3:], 0.5 * (u + 1))


def test_a_network_has_the_published_number_of_parameters() -> None:
    field = ClassicField(CUBE)
    assert sum(parameter.numel() for parameter in field.parameters()) == PUBLISHED_PARAMETERS
    assert [layer.weight.shape[1] for layer in field.trunk.layers] == [63, 256, 256, 256, 256, 319, 256, 256]


def test_colour_depends_on_the_viewing_direction_and_density_does_not() -> None:
    field = ClassicField(CUBE)
    density, geometry = field.density_and_geometry(torch.zeros(2, 3))
    colors = field.color(geometry, field.encode_directions(torch.eye(3)[:2]))
    assert density[0] == density[1] > 0
    assert (colors[0] - colors[1]).abs().max() > 1e-3


def test_fine_samples_go_where_the_coarse_weights_are_and_keep_the_coarse_edges() -> None:
    model = _model(fine_samples=100).eval()
    near, far = torch.zeros(3, 1), torch.full((3, 1), 10.0)
    coarse = torch.cat([near, stratified(near, far, 9, jitter=False), far], dim=-1)
    weights = torch.zeros(3, 10)
    weights[:, 6] = 1.0
    edges = model._fine_edges(coarse, weights)
    assert edges.shape == (3, 111)
    assert (edges.diff(dim=-1) >= 0).all()
    inside = ((edges > coarse[:, 6:7]) & (edges < coarse[:, 7:8])).sum(dim=-1)
    assert (inside >= 98).all()
    assert all(torch.isin(coarse[ray], edges[ray]).all() for ray in range(3))


def test_both_networks_are_charged_with_the_same_losses() -> None:
    model = _model().train()
    rays, batch = _rays(8)
    losses = set(model.get_loss_dict(model(rays), batch))
    fine = {"rgb_loss", "distortion_loss", "depth_loss", "free_space_loss"}
    assert losses == fine | {f"{name}_coarse" for name in fine} | {"exposure_penalty"}
    rays, batch = _rays(8, with_depth=False)
    free = set(model.get_loss_dict(model(rays), batch))
    assert losses - free == {"depth_loss", "free_space_loss", "depth_loss_coarse", "free_space_loss_coarse"}
    assert len(model.get_param_groups()["fields"]) == 2 * len(list(model.field.parameters()))


def test_a_trained_wall_is_rendered_where_it_is_without_being_told(trained: ClassicModel) -> None:
    torch.manual_seed(1)
    rays, batch = _rays(300, with_depth=False)
    with torch.no_grad():
        outputs = trained(rays)
    depth_z = outputs["depth"] / rays.metadata["directions_norm"]
    assert (depth_z - 2.0).abs().mean() < 0.1
    assert (outputs["rgb"] - batch["image"]).abs().mean() < 0.1
    assert (2 * outputs["normals"] - 1)[:, 2].mean() > 0.8


def test_a_camera_is_measured_as_with_diffnerf(trained: ClassicModel) -> None:
    camera = Cameras(torch.eye(4)[None, :3], fx=20.0, fy=20.0, cx=8.0, cy=6.0, width=16, height=12)
    outputs = trained.get_outputs_for_camera(camera)
    depth = torch.full((12, 16, 1), -WALL_Z)
    batch = {"image": torch.zeros(12, 16, 3), "depth_image": depth, "depth_truth": depth}
    metrics, _ = trained.get_image_metrics_and_images(outputs, batch)
    assert {"psnr", "ssim", "depth_mae_m", "depth_rmse_m"} <= set(metrics)
    without, images = trained.get_image_metrics_and_images(outputs, {"image": batch["image"]})
    assert set(without) == {"psnr", "ssim"} | ({"lpips"} & set(metrics))
    assert images["depth"].shape == (12, 16, 3)


def test_the_background_is_what_the_dataparser_put_behind_transparent_images() -> None:
    color = torch.tensor([0.2, 0.4, 0.6])
    box = SceneBox(aabb=BOX)
    model = ClassicModelConfig(num_layers=3, hidden_dim=8, skip_layer=0, coarse_samples=4, fine_samples=4).setup(
        scene_box=box, num_train_data=1, metadata={"alpha_color": color}
    )
    with torch.no_grad():
        model.field.density_head.bias.fill_(-100.0)
        rgb = model.eval()(_rays(5)[0])["rgb"]
    torch.testing.assert_close(rgb, color.expand(5, 3), atol=1e-4, rtol=0)
    assert _model().renderer_rgb.background_color == "last_sample"
