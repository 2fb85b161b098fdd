from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from diffnerf_ns.captures.synthetic_room import Camera, camera_path, generate_room, render
from diffnerf_ns.refinement.training.learning_rate import one_cycle
from diffnerf_ns.refinement.training.losses import consistency_loss, edge_loss, snr_weight, sobel, v_loss


def test_a_noise_level_counts_by_its_snr_held_between_one_and_gamma() -> None:
    snr = torch.tensor([0.0, 0.5, 3.0, 100.0])
    weight = snr_weight(snr / (1 + snr), gamma=5.0)
    torch.testing.assert_close(weight, torch.tensor([1.0, 1.0 / 1.5, 3.0 / 4.0, 5.0 / 101.0]), rtol=1e-4, atol=1e-6)


def test_the_v_loss_is_the_mean_square_over_the_pixels_that_count() -> None:
    predicted, target = torch.zeros(2, 4, 4), torch.ones(2, 4, 4)
    target[:, 0] = 100.0
    weight = torch.ones(2, 4, 4)
    weight[:, 0] = 0.0
    loss = v_loss(predicted, target, weight, torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(2.0)


def test_a_loss_without_any_pixel_that_counts_is_a_differentiable_zero() -> None:
    predicted = torch.randn(1, 16, 16, requires_grad=True)
    nothing = torch.zeros(1, 16, 16)
    loss = v_loss(predicted, nothing, nothing, torch.ones(1)) + edge_loss(predicted, nothing, nothing)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(predicted.grad, torch.zeros_like(predicted))


def test_sobel_gives_slopes_per_pixel() -> None:
    ramp = 0.3 * torch.arange(8.0).expand(1, 6, 8) + 0.1 * torch.arange(6.0)[:, None]
    across, down = sobel(ramp)
    torch.testing.assert_close(across, torch.full((1, 4, 6), 0.3))
    torch.testing.assert_close(down, torch.full((1, 4, 6), 0.1))


def test_the_edge_loss_of_a_ramp_is_its_slope_at_each_scale() -> None:
    ramp = 0.01 * torch.arange(32.0).expand(1, 32, 32)
    flat, everywhere = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    assert edge_loss(ramp, flat, everywhere, (1,)).item() == pytest.approx(0.01, rel=1e-4)
    assert edge_loss(ramp, flat, everywhere).item() == pytest.approx(0.01 * (1 + 2 + 4) / 3, rel=1e-4)
    assert edge_loss(ramp + 5.0, ramp, everywhere).item() == pytest.approx(0.0, abs=1e-6)


def test_the_edge_loss_ignores_slopes_that_touch_unknown_truth() -> None:
    truth, weight = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    predicted = torch.zeros(1, 16, 16)
    predicted[:, 4:8, 4:8], weight[:, 4:8, 4:8] = 7.0, 0.0
    assert edge_loss(predicted, truth, weight).item() == 0.0


def test_the_gradients_of_the_smooth_losses_are_right() -> None:
    torch.manual_seed(0)
    predicted = torch.randn(2, 8, 8, dtype=torch.float64, requires_grad=True)
    target, weight = torch.randn(2, 8, 8).double(), torch.rand(2, 8, 8).double()
    levels = torch.tensor([0.5, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: v_loss(v, target, weight, levels), predicted)
    assert torch.autograd.gradcheck(lambda v: edge_loss(v, target, weight, (1, 2)), predicted)


@pytest.mark.parametrize("mirrored", [False, True])
def test_exact_depth_of_two_views_is_consistent_and_scaled_depth_is_not(mirrored: bool) -> None:
    room = generate_room(2)
    poses, camera = camera_path(room, 40, 0)[:2].float(), Camera.of_size(64, 48)
    depth = render(room, poses, camera, antialias=False).depth_z_m
    intrinsics = torch.tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]]).repeat(2, 1, 1)
    if mirrored:
        depth = depth.flip(-1)
        intrinsics[:, 0, 0] *= -1
        intrinsics[:, 0, 2] = 64 - intrinsics[:, 0, 2]
    assert consistency_loss(depth, depth, intrinsics, poses).item() < 0.006
    shrunk = depth * torch.tensor([1.0, 0.9])[:, None, None]
    assert consistency_loss(shrunk, depth, intrinsics, poses).item() == pytest.approx(-math.log(0.9), abs=0.006)


def test_the_learning_rate_rises_once_and_falls_to_almost_nothing() -> None:
    rates = [one_cycle(step / 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(1e-3)
    rising = [after > before for before, after in pairwise(rates)]
    assert rising == [True] * 10 + [False] * 90
