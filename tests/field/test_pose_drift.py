"""Corrections are shared by neighbouring poses, and known for poses that were never trained on."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle

from diffnerf_ns.field.pose_drift import PoseDrift, PoseDriftConfig, pose_distance


def _path(count: int, step: float) -> torch.Tensor:
    poses = torch.eye(4)[:3].repeat(count, 1, 1)
    poses[:, 0, 3] = step * torch.arange(count)
    return poses


def _drift(poses: torch.Tensor, reach: float | None = 0.1, mode="SO3xR3") -> PoseDrift:
    return PoseDriftConfig(mode=mode, reach=reach).setup(num_cameras=len(poses), device="cpu", camera_to_worlds=poses)


def _camera(x: float) -> Cameras:
    pose = torch.eye(4)[None, :3].clone()
    pose[0, 0, 3] = x
    return Cameras(pose, fx=10.0, fy=10.0, cx=4.0, cy=3.0, width=8, height=6)


def test_distance_is_metres_plus_radians():
    poses = torch.eye(4)[:3].repeat(2, 1, 1)
    angle = torch.tensor(0.3)
    poses[1, :2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    poses[1, 2, 3] = 4.0
    assert pose_distance(poses[:1], poses[1:], scene_units_per_metre=2.0).item() == pytest.approx(2.3, abs=1e-4)


def test_nothing_moves_before_training():
    drift = _drift(_path(5, 0.1))
    torch.testing.assert_close(drift(torch.arange(5)), torch.eye(4)[:3].expand(5, 3, 4))


def test_distant_views_do_not_share_and_the_mean_stays_put():
    drift = _drift(_path(4, 10.0))
    with torch.no_grad():
        drift.pose_adjustment[0, 0] = 0.4
    moved = drift(torch.arange(4))[:, 0, 3]
    torch.testing.assert_close(moved, torch.tensor([0.3, -0.1, -0.1, -0.1]))


def test_neighbours_share_a_correction():
    drift = _drift(_path(6, 0.02), reach=0.2)
    with torch.no_grad():
        drift.pose_adjustment[0, 0] = 0.6
    moved = drift(torch.arange(6))[:, 0, 3]
    assert moved.max() - moved.min() < 0.05


def test_a_view_between_two_training_views_is_corrected_by_their_mean():
    poses = _path(4, 10.0)
    poses[1, 0, 3] = 0.1
    drift = _drift(poses, reach=0.03)
    with torch.no_grad():
        drift.pose_adjustment[:, 1] = torch.tensor([0.02, 0.06, -0.04, -0.04])
    corrected = drift.corrected(_camera(0.05))
    torch.testing.assert_close(corrected.camera_to_worlds[0, :, 3], torch.tensor([0.05, 0.04, 0.0]), atol=1e-6, rtol=0)


def test_a_view_far_from_all_training_views_stays_where_it_is():
    drift = _drift(_path(3, 0.05))
    with torch.no_grad():
        drift.pose_adjustment[0, 0] = 0.5
    torch.testing.assert_close(drift.corrected(_camera(5.0)).camera_to_worlds, _camera(5.0).camera_to_worlds)


@pytest.mark.parametrize(("spacing", "reach"), [(0.02, 0.1), (0.5, 0.2), (2.0, 0.8)])
def test_corrections_reach_further_where_views_are_further_apart(spacing, reach):
    assert _drift(_path(5, spacing), reach=None).reach == pytest.approx(reach)
    assert _drift(_path(5, spacing), reach=0.3).reach == 0.3


def test_a_held_out_view_among_few_is_corrected_with_its_neighbours():
    poses = _path(6, 1.0)
    moved = {}
    for reach in (None, 0.1):
        drift = _drift(poses, reach)
        with torch.no_grad():
            drift.pose_adjustment[:, 1] = torch.tensor([0.03, 0.03, 0.03, -0.03, -0.03, -0.03])
        moved[reach] = drift.corrected(_camera(0.5)).camera_to_worlds[0, 1, 3].item()
    assert moved[None] == pytest.approx(0.03, abs=0.002)
    assert moved[0.1] < 0.003


def test_without_training_poses_no_view_is_near():
    drift = PoseDriftConfig(mode="SO3xR3").setup(num_cameras=3, device="cpu", camera_to_worlds=None)
    torch.testing.assert_close(drift.nearness(_camera(0.0)), torch.zeros(1, 3))
    assert _drift(_path(3, 1.0)).nearness(_camera(1.0)).argmax() == 1


def test_one_view_has_a_reach():
    assert _drift(_path(1, 1.0), reach=None).reach == 0.1


def test_training_rays_get_the_correction_of_their_view_and_its_gradient():
    drift = _drift(_path(3, 10.0))
    with torch.no_grad():
        drift.pose_adjustment[:, 2] = torch.tensor([0.1, 0.0, -0.1])
    rays = RayBundle(
        origins=torch.zeros(2, 3),
        directions=torch.tensor([[0.0, 0.0, -1.0]] * 2),
        pixel_area=torch.ones(2, 1),
        camera_indices=torch.tensor([[0], [2]]),
    )
    drift.apply_to_raybundle(rays)
    torch.testing.assert_close(rays.origins[:, 2], torch.tensor([0.1, -0.1]))
    rays.origins.sum().backward()
    assert drift.pose_adjustment.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_does_not_round_where_rays_go(dtype):
    drift = _drift(_path(3, 10.0))
    with torch.no_grad():
        drift.pose_adjustment[:, 1:4] = torch.tensor([[0.0123, 0.0456, 0.0789], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    moved = []
    for enabled in (False, True):
        directions = torch.nn.functional.normalize(torch.tensor([[0.3, 0.2, -0.9]]), dim=-1)
        rays = RayBundle(torch.ones(1, 3) / 3, directions, torch.ones(1, 1), torch.tensor([[0]]))
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            drift.apply_to_raybundle(rays)
        moved.append(torch.cat([rays.origins, rays.directions]))
    assert moved[1].dtype == torch.float32
    torch.testing.assert_close(moved[1], moved[0], atol=1e-7, rtol=0)


def test_the_corrections_survive_a_checkpoint():
    drift = _drift(_path(3, 0.05))
    with torch.no_grad():
        drift.pose_adjustment[0, 0] = 0.5
    other = _drift(_path(3, 0.05))
    other.load_state_dict(drift.state_dict())
    torch.testing.assert_close(
        other.corrected(_camera(0.01)).camera_to_worlds, drift.corrected(_camera(0.01)).camera_to_worlds
    )


def test_without_poses_refinement_is_off_and_says_so(capsys):
    drift = PoseDriftConfig(mode="SO3xR3").setup(num_cameras=3, device="cpu")
    assert list(drift.parameters()) == []
    assert "no camera_to_worlds" in capsys.readouterr().out
    assert torch.equal(drift.corrected(_camera(1.0)).camera_to_worlds, _camera(1.0).camera_to_worlds)
