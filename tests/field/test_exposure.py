"""Exposure and depth calibration: identity at the start and on average, learnt where it shows, unused at evaluation."""

from __future__ import annotations

import math

import pytest
import torch

from diffnerf_ns.field.depth_calibration import DepthCalibration, DepthCalibrationConfig
from diffnerf_ns.field.exposure import Exposure, ExposureConfig

INDICES = torch.tensor([[0], [1], [2]])


def _exposure() -> Exposure:
    return Exposure(ExposureConfig(enabled=True), 3)


def _calibration(scene_units_per_metre: float = 1.0) -> DepthCalibration:
    return DepthCalibration(DepthCalibrationConfig(enabled=True), 3, scene_units_per_metre)


def test_both_start_at_the_identity():
    rgb, depth = torch.rand(3, 3), torch.rand(3, 1)
    torch.testing.assert_close(_exposure()(rgb, INDICES), rgb)
    torch.testing.assert_close(_calibration()(depth, INDICES), depth)


def test_switched_off_they_learn_nothing_and_change_nothing():
    exposure = Exposure(ExposureConfig(enabled=False), 3)
    calibration = DepthCalibration(DepthCalibrationConfig(), 3, 1.0)
    groups, losses = {}, {}
    for module in (exposure, calibration):
        module.get_param_groups(groups)
        module.get_loss_dict(losses)
    assert groups == losses == {}
    assert exposure(INDICES, INDICES) is INDICES
    assert calibration(INDICES, INDICES) is INDICES


def test_what_all_images_share_is_not_exposure():
    exposure = _exposure()
    with torch.no_grad():
        exposure.log_gain_and_bias.add_(0.3)
    rgb = torch.rand(3, 3)
    torch.testing.assert_close(exposure(rgb, INDICES), rgb)


def test_gain_and_bias_act_per_image_and_channel():
    exposure = _exposure()
    with torch.no_grad():
        exposure.log_gain_and_bias[0, 0, 0] = 0.3
        exposure.log_gain_and_bias[1, 1, 2] = 0.06
    shown = exposure(torch.full((3, 3), 0.5), INDICES)
    assert shown[0, 0].item() == pytest.approx(0.5 * math.exp(0.2), rel=1e-5)
    assert shown[1, 0].item() == pytest.approx(0.5 * math.exp(-0.1), rel=1e-5)
    torch.testing.assert_close(shown[:, 1], torch.full((3,), 0.5))
    torch.testing.assert_close(shown[:, 2], torch.tensor([0.48, 0.54, 0.48]))


def test_a_view_without_an_exposure_of_its_own_has_that_of_its_neighbours():
    exposure = _exposure()
    with torch.no_grad():
        exposure.log_gain_and_bias[:, 0] = torch.tensor([0.3, -0.1, -0.2])[:, None]
    field = torch.full((4, 5, 3), 0.5)
    between = exposure.of_neighbours(field, torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(between, field * math.exp(0.1))
    torch.testing.assert_close(exposure.of_neighbours(field, torch.zeros(1, 3)), field)
    assert exposure.of_neighbours(field * 1.9, torch.tensor([[1.0, 0.0, 0.0]])).max() == 1.0
    assert Exposure(ExposureConfig(enabled=False), 3).of_neighbours(field, torch.zeros(1, 3)) is field


def test_what_all_frames_share_is_not_calibration_so_the_scene_stays_metric():
    calibration = _calibration()
    with torch.no_grad():
        calibration.in_sigmas.add_(2.0)
    depth = torch.rand(3, 1) + 1
    torch.testing.assert_close(calibration(depth, INDICES), depth)


def test_scale_is_in_percent_and_shift_in_centimetres_whatever_the_scene_s_unit():
    for scene_units_per_metre in (1.0, 0.5):
        calibration = _calibration(scene_units_per_metre)
        with torch.no_grad():
            calibration.in_sigmas[:, 0] = torch.tensor([1.0, -1.0, 0.0])
            calibration.in_sigmas[:, 1] = torch.tensor([0.0, -1.0, 1.0])
        metres = calibration(torch.full((3, 1), 2.0 * scene_units_per_metre), INDICES) / scene_units_per_metre
        expected = torch.tensor([[2 * math.exp(0.01)], [2 * math.exp(-0.01) - 0.01], [2.01]])
        torch.testing.assert_close(metres, expected, atol=1e-5, rtol=0)


def test_missing_depth_stays_missing():
    calibration = _calibration()
    with torch.no_grad():
        calibration.in_sigmas[0] = 3.0
    assert calibration(torch.zeros(3, 1), INDICES).eq(0).all()


def test_the_priors_count_standard_deviations():
    calibration, exposure, losses = _calibration(), _exposure(), {}
    with torch.no_grad():
        calibration.in_sigmas[0] = 3.0
        exposure.log_gain_and_bias[0, 0] = 0.1
    calibration.get_loss_dict(losses)
    exposure.get_loss_dict(losses)
    assert losses["depth_calibration_prior"].item() == pytest.approx(1e-3 * 9 / 3)
    assert losses["exposure_penalty"].item() == pytest.approx(1e-2 * 0.01 * 3 / 18)


def test_a_brighter_image_is_learnt_as_such():
    exposure = _exposure()
    optimizer = torch.optim.Adam(exposure.parameters(), lr=0.02)
    truth = torch.rand(3, 60, 3)
    seen = truth * torch.tensor([1.2, 1.0, 1 / 1.2])[:, None, None]
    indices = INDICES.expand(3, 60).reshape(-1, 1)
    for _ in range(200):
        loss = (exposure(truth.view(-1, 3), indices) - seen.view(-1, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gains = torch.exp(exposure.log_gain_and_bias[:, 0] - exposure.log_gain_and_bias[:, 0].mean(dim=0))
    torch.testing.assert_close(gains.mean(dim=1), torch.tensor([1.2, 1.0, 1 / 1.2]), atol=0.02, rtol=0)
