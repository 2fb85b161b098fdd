"""The model learns a wall from rays that know its depth, and renders it without knowing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation

from diffnerf_ns.field.depth_calibration import DepthCalibrationConfig
from diffnerf_ns.field.diffnerf_model import DiffnerfModel, DiffnerfModelConfig
from diffnerf_ns.field.doubtful_depth import DoubtfulDepthConfig
from diffnerf_ns.field.exposure import ExposureConfig
from diffnerf_ns.field.pose_drift import PoseDriftConfig

WALL_Z = -2.0
BOX = torch.tensor([[-2.0, -2.0, -2.5], [2.0, 2.0, 0.5]])


def _model(**settings) -> DiffnerfModel:
    torch.manual_seed(0)
    config = DiffnerfModelConfig(
        num_levels=6,
        max_resolution=64,
        log2_hashmap_size=12,
        hidden_dim=16,
        hidden_dim_color=16,
        density_grid_resolution=24,
        **settings,
    )
    metadata = {"dataparser_scale": 1.0, "camera_to_worlds": torch.eye(4)[None, :3]}
    return config.setup(scene_box=SceneBox(aabb=BOX), num_train_data=1, metadata=metadata)


def _rays(count: int, with_depth: bool = True) -> tuple[RayBundle, dict]:
    """Rays from the origin onto a wall at z = -2 that is red on its left half and blue on its right."""
    direction = torch.cat([torch.rand(count, 2) * 0.8 - 0.4, -torch.ones(count, 1)], dim=-1)
    norm = direction.norm(dim=-1, keepdim=True)
    metadata = {"directions_norm": norm}
    if with_depth:
        metadata |= {"depth_z": torch.full((count, 1), -WALL_Z), "depth_sigma": torch.full((count, 1), 0.02)}
    red = direction[:, :1] < 0
    image = torch.where(red, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))
    rays = RayBundle(
        origins=torch.zeros(count, 3),
        directions=direction / norm,
        pixel_area=torch.ones(count, 1),
        camera_indices=torch.zeros(count, 1, dtype=torch.long),
        metadata=metadata,
    )
    return rays, {"image": image}


def _train(model: DiffnerfModel, steps: int, with_depth: bool = True) -> list[float]:
    groups = [{"params": params} for params in model.get_param_groups().values()]
    optimizer = torch.optim.Adam(groups, lr=1e-2, eps=1e-15)
    history = []
    model.train()
    for step in range(steps):
        if step % 8 == 0:
            model.update_density_grid()
        rays, batch = _rays(256, with_depth)
        outputs = model(rays)
        losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


@pytest.fixture(scope="module")
def trained() -> DiffnerfModel:
    model = _model()
    history = _train(model, 150)
    assert sum(history[-10:]) < 0.2 * sum(history[:10])
    return model


def test_a_trained_wall_is_rendered_where_it_is_without_being_told(trained):
    trained.eval()
    rays, batch = _rays(500, with_depth=False)
    with torch.no_grad():
        outputs = trained(rays)
    depth_z = outputs["depth"] / rays.metadata["directions_norm"]
    assert (depth_z - 2.0).abs().mean() < 0.04
    assert (outputs["rgb"] - batch["image"]).abs().mean() < 0.1
    assert outputs["accumulation"].mean() > 0.98


def test_evaluation_does_not_look_at_the_known_depth(trained):
    trained.eval()
    torch.manual_seed(1)
    told, _ = _rays(50, with_depth=True)
    untold = RayBundle(told.origins, told.directions, told.pixel_area, told.camera_indices)
    told.metadata["depth_z"] *= 0.5
    with torch.no_grad():
        torch.testing.assert_close(trained(told)["rgb"], trained(untold)["rgb"])


def test_normals_face_the_camera_and_fit_the_exporter(trained):
    trained.eval()
    rays, _ = _rays(200, with_depth=False)
    with torch.no_grad():
        coded = trained(rays)["normals"]
    assert coded.min() >= 0
    assert coded.max() <= 1
    normals = 2 * coded - 1
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(200), atol=1e-3, rtol=0)
    assert normals[:, 2].mean() > 0.8


def test_a_camera_renders_whole_pictures_with_metrics_in_metres(trained):
    trained.eval()
    pose = torch.eye(4)[None, :3]
    camera = Cameras(pose, fx=20.0, fy=20.0, cx=8.0, cy=6.0, width=16, height=12)
    outputs = trained.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (12, 16, 3)
    depth = torch.full((12, 16, 1), -WALL_Z)
    batch = {"image": torch.zeros(12, 16, 3), "depth_image": depth, "depth_truth": depth}
    metrics, images = trained.get_image_metrics_and_images(outputs, batch)
    assert metrics["depth_mae_m"] < 0.05
    assert metrics["depth_rmse_m"] >= metrics["depth_mae_m"]
    assert {"psnr", "ssim"} <= set(metrics)
    assert images["img"].shape == (12, 32, 3)
    assert images["depth"].shape == (12, 48, 3)


def test_depth_metrics_follow_the_scale_of_the_scene(trained):
    pose = torch.eye(4)[None, :3]
    camera = Cameras(pose, fx=20.0, fy=20.0, cx=8.0, cy=6.0, width=16, height=12)
    outputs = trained.eval().get_outputs_for_camera(camera)
    batch = {"image": torch.zeros(12, 16, 3), "depth_image": torch.full((12, 16, 1), 3.0)}
    metrics, _ = trained.get_image_metrics_and_images(outputs, batch)
    trained.image_metrics.scene_units_per_metre = 0.5
    doubled, _ = trained.get_image_metrics_and_images(outputs, batch)
    trained.image_metrics.scene_units_per_metre = 1.0
    assert doubled["depth_mae_m"] == pytest.approx(2 * metrics["depth_mae_m"], rel=1e-5)


def test_rays_without_any_depth_train_on_colour_alone():
    history = _train(_model(), 30, with_depth=False)
    assert history[-1] < history[0]


def test_depth_losses_are_charged_only_where_depth_is_known():
    model = _model().train()
    charged = set(model.get_loss_dict(model(_rays(8)[0]), _rays(8)[1]))
    free = set(model.get_loss_dict(model(_rays(8, with_depth=False)[0]), _rays(8)[1]))
    assert charged - free == {"depth_loss", "free_space_loss"}


@pytest.mark.parametrize("depth_loss_type", ["l1", "berhu", "wasserstein"])
def test_every_depth_loss_pulls_the_end_of_rays_to_the_wall(depth_loss_type):
    model = _model(depth_loss_type=depth_loss_type, depth_loss_mult=1e-3)
    before = model.train()(_rays(200)[0])["expected_depth"]
    _train(model, 40)
    rays, _ = _rays(200)
    after = model(rays)["expected_depth"]
    wall = rays.metadata["depth_z"] * rays.metadata["directions_norm"]
    assert (after - wall).abs().mean() < 0.5 * (before - wall).abs().mean()


def test_surface_losses_without_what_they_need_say_how_to_get_it():
    rays, batch = _rays(9)
    model = _model(smoothness_loss_mult=0.1).train()
    with pytest.raises(ValueError, match=r"datamanager\.patch-size"):
        model.get_loss_dict(model(rays), {**batch, "patch_size": 1})
    model = _model(normal_loss_mult=0.1).train()
    with pytest.raises(ValueError, match="normals-from-depth"):
        model.get_loss_dict(model(rays), batch)


def test_surface_losses_reach_the_field():
    rays, batch = _rays(18)
    batch |= {"patch_size": 3, "normal_image": torch.tensor([[0.6, 0.0, 0.8]]).expand(18, 3)}
    model = _model(smoothness_loss_mult=0.1, normal_loss_mult=0.1).train()
    losses = model.get_loss_dict(model(rays), batch)
    for name in ("smoothness_loss", "normal_loss"):
        model.zero_grad()
        losses[name].backward(retain_graph=True)
        assert model.field.density_mlp.layers[0].weight.grad.abs().max() > 0


def test_normals_turn_to_where_the_loss_wants_them():
    model = _model(normal_loss_mult=0.01)
    history = []
    optimizer = torch.optim.Adam(model.field.parameters(), lr=1e-2, eps=1e-15)
    for _ in range(40):
        rays, batch = _rays(128)
        batch["normal_image"] = torch.tensor([[0.0, 0.0, 1.0]]).expand(128, 3)
        losses = model.train().get_loss_dict(model(rays), batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        history.append(losses["normal_loss"].item() / 0.01)
    assert history[0] > 0.5
    assert history[-1] < 0.2


def test_exposure_and_depth_calibration_are_learnt_and_evaluation_does_without_them():
    settings = {"exposure": ExposureConfig(enabled=True), "depth_calibration": DepthCalibrationConfig(enabled=True)}
    model = _model(**settings)
    assert {"exposure", "depth_calibration"} <= set(model.get_param_groups())
    rays, batch = _rays(64)
    losses = model.train().get_loss_dict(model(rays), batch)
    assert {"exposure_penalty", "depth_calibration_prior"} <= set(losses)
    with torch.no_grad():
        evaluated = model.eval()(rays)["rgb"]
        for module in (model.exposure, model.depth_calibration):
            for parameter in module.parameters():
                parameter += torch.rand_like(parameter)
        torch.testing.assert_close(model(rays)["rgb"], evaluated)


def test_doubtful_depth_is_held_to_loosely_after_its_share_of_a_training():
    model = _model(doubtful_depth=DoubtfulDepthConfig(until=0.5, widening=3.0)).train()
    rays, _ = _rays(8)
    rays.metadata["depth_sigma"][:4], rays.metadata["depth_sigma"][4:] = 0.1, 0.005
    trainer = SimpleNamespace(config=SimpleNamespace(max_num_iterations=10))
    before, after = [], []
    for step, known in ((4, before), (5, after)):
        _start_training(model, object(), step, trainer)
        known.extend(model(rays)["known_depth"])
    assert before[0].equal(after[0])
    assert before[2].equal(before[0])
    assert (after[2][:, 0] > 0).tolist() == [False] * 4 + [True] * 4
    torch.testing.assert_close(after[1] / before[1], torch.tensor([[3.0]] * 4 + [[1.0]] * 4))


def test_samples_are_not_placed_by_doubtful_depth_that_has_had_its_time():
    model = _model(doubtful_depth=DoubtfulDepthConfig(until=0.5), samples_anywhere=0, samples_from_grid=0).train()
    rays, _ = _rays(8)
    depth_ray = rays.metadata["depth_z"] * rays.metadata["directions_norm"]
    rays.metadata["depth_sigma"][:] = 0.02
    trainer = SimpleNamespace(config=SimpleNamespace(max_num_iterations=10))
    near_depth = []
    for step in (4, 5):
        _start_training(model, object(), step, trainer)
        edges = model(rays)["edges"]
        near_depth.append(((edges - depth_ray).abs() < 0.1).float().sum(dim=-1).mean())
    assert near_depth[0] >= model.config.samples_in_band
    assert near_depth[1] < 0.5 * model.config.samples_in_band


class _LooksAtTheWall:
    """A dataset of one view."""

    def depth_rays(self, count: int) -> tuple[torch.Tensor, ...]:
        rays, _ = _rays(count)
        norm = rays.metadata["directions_norm"]
        return rays.origins, rays.directions, rays.metadata["depth_z"] * norm, rays.metadata["depth_sigma"] * norm


def _start_training(model: DiffnerfModel, dataset: object, step: int, trainer: object = None) -> None:
    pipeline = SimpleNamespace(datamanager=SimpleNamespace(train_dataset=dataset))
    model.update_density_grid = lambda: None
    for callback in model.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, trainer)):
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)


def test_training_starts_without_samples_in_the_space_that_views_look_through():
    torch.manual_seed(0)
    model = _model(free_space_rays=5000)
    _start_training(model, _LooksAtTheWall(), step=0)
    grid = model.density_grid
    points = torch.tensor([[0.0, 0.0, -0.5], [0.0, 0.0, -1.4], [0.0, 0.0, -2.0], [1.5, 0.0, -1.0]])
    assert (grid.density[grid.cell_index(points)] > 0).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("rays", "dataset", "step"), [(5000, _LooksAtTheWall(), 1), (5000, object(), 0), (0, _LooksAtTheWall(), 0)]
)
def test_a_resumed_training_and_a_dataset_without_depth_leave_the_density_grid_as_it_is(rays, dataset, step):
    model = _model(free_space_rays=rays)
    before = model.density_grid.density.clone()
    _start_training(model, dataset, step)
    assert torch.equal(model.density_grid.density, before)


def test_emptiness_can_be_revised():
    model = _model(camera_optimizer=PoseDriftConfig(mode="off"))
    with torch.no_grad():
        model.field.density_mlp.layers[-1].weight[0] = -50.0
        model.field.hash_grid.table.fill_(1.0)
        model.field.density_mlp.layers[0].weight.abs_()
    outputs = model.train()(_rays(64)[0])
    model.get_loss_dict(outputs, _rays(64)[1])["depth_loss"].backward()
    assert model.field.density_mlp.layers[-1].weight.grad[0].abs().max() > 1e-4


def test_what_is_not_learnt_has_no_parameter_group():
    settings = {"camera_optimizer": PoseDriftConfig(mode="off"), "exposure": ExposureConfig(enabled=False)}
    assert set(_model(**settings).get_param_groups()) == {"fields"}
    assert set(_model().get_param_groups()) == {"fields", "camera_opt", "exposure"}


def test_numbers_stay_finite_where_density_is_extreme():
    model = _model()
    with torch.no_grad():
        model.field.density_mlp.layers[-1].weight.fill_(50.0)
        model.field.hash_grid.table.fill_(5.0)
    outputs = model.train()(_rays(64)[0])
    losses = model.get_loss_dict(outputs, _rays(64)[1])
    assert all(torch.isfinite(loss) for loss in losses.values())
