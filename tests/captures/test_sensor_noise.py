"""Each noise model against its formula, and whole sensors against what they promise."""

from __future__ import annotations

import math
from typing import Any, cast, get_args

import pytest
import torch

from diffnerf_ns.captures import sensor_noise as noise
from diffnerf_ns.captures.sensor_noise.random_fields import smooth_like, uniform_like

FOCAL_PX, BASELINE_M = 500.0, 0.08


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plane(depth_m: float, size: tuple[int, int, int] = (2, 120, 160)) -> torch.Tensor:
    return torch.full(size, depth_m)


def step_edge(near_m: float = 1.0, far_m: float = 2.0, size: tuple[int, int] = (60, 200)) -> torch.Tensor:
    """The near half is on the right."""
    depth = torch.full((1, *size), far_m)
    depth[:, :, size[1] // 2 :] = near_m
    return depth


def test_axial_noise_has_the_deviation_asked_for_and_no_bias() -> None:
    depth = plane(2.0)
    error = noise.axial_noise(depth, torch.full_like(depth, 0.01), seeded()) - depth
    assert error.std() == pytest.approx(0.01, rel=0.02)
    assert error.mean().abs() < 2e-4


def test_sigmas_are_their_published_formulas() -> None:
    z = torch.tensor([0.4, 1.4, 3.4])
    assert noise.nguyen_sigma_z_m(z).tolist() == pytest.approx([0.0012, 0.0031, 0.0183])
    assert noise.khoshelham_sigma_z_m(z).tolist() == pytest.approx([0.000228, 0.002793, 0.016473])
    assert noise.stereo_sigma_z_m(torch.tensor(2.0), 400.0, 0.05).item() == pytest.approx(4 * 0.08 / 20)
    facing, slanted = torch.tensor(1.0), torch.tensor(math.cos(math.radians(75)))
    assert noise.nguyen_sigma_z_m(torch.tensor(1.0), facing) == noise.nguyen_sigma_z_m(torch.tensor(1.0))
    extra = 0.0001 * (math.radians(75) / math.radians(15)) ** 2
    found = noise.nguyen_sigma_z_m(torch.tensor(1.0), slanted) - noise.nguyen_sigma_z_m(torch.tensor(1.0))
    assert found.item() == pytest.approx(extra, rel=1e-3)


def test_disparity_comes_in_steps_of_an_eighth_of_a_pixel() -> None:
    depth = torch.linspace(0.5, 6.0, 5000).view(1, 50, 100)
    measured = noise.quantise_disparity(depth, FOCAL_PX, BASELINE_M, 0.125)
    steps = FOCAL_PX * BASELINE_M / measured / 0.125
    assert (steps - steps.round()).abs().max() < 1e-3
    error = (FOCAL_PX * BASELINE_M / measured - FOCAL_PX * BASELINE_M / depth).abs()
    assert error.max() <= 0.0625 + 1e-4
    assert error.mean() == pytest.approx(0.125 / 4, rel=0.1)


def test_kinect_rounding_returns_whole_disparities_with_steps_that_grow_with_squared_depth() -> None:
    depth = 1.0 + 4.0 * torch.rand(1, 100, 100, generator=seeded())
    measured = noise.kinect_rounding(depth, seeded(1))
    disparity = 351.30 / measured
    assert (disparity - disparity.round()).abs().max() < 1e-3
    error = (measured - depth).abs()
    near, far = error[depth < 2].mean(), error[depth > 4].mean()
    assert 3 < far / near < 20
    assert (measured - depth).mean().abs() < 0.01


def test_redwood_rounding_has_the_published_deviation_and_loses_ten_metres() -> None:
    depth = 1.0 + 3.0 * torch.rand(1, 200, 200, generator=seeded(1))
    disparity = 35.13 / noise.redwood_rounding(depth, seeded())
    assert ((8 * disparity) - (8 * disparity).round()).abs().max() < 1e-3
    expected = math.sqrt(0.0278**2 + (1 / 8) ** 2 / 12)
    assert (disparity - 35.13 / depth).std() == pytest.approx(expected, rel=0.02)
    assert (noise.redwood_rounding(plane(10.5), seeded()) == 0).all()


def test_time_of_flight_error_grows_with_the_inverse_amplitude() -> None:
    one = torch.ones(1)
    sigma = noise.time_of_flight_sigma_z_m(one, one, one, 0.002)
    assert sigma.item() == pytest.approx(0.002)
    assert noise.time_of_flight_sigma_z_m(2 * one, one, one, 0.002).item() == pytest.approx(0.008)
    assert noise.time_of_flight_sigma_z_m(one, 0.25 * one, 0.5 * one, 0.002).item() == pytest.approx(0.016)
    assert noise.time_of_flight_sigma_z_m(9 * one, 0.01 * one, one).item() == pytest.approx(0.15)


def test_multipath_lengthens_concave_corners_only() -> None:
    column = torch.arange(200).expand(1, 80, 200)
    concave = 3.0 - (column - 100).abs() * 0.01
    convex = 2.0 + (column - 100).abs() * 0.01
    longer = noise.multipath_in_corners(concave, 300.0, largest_m=0.02) - concave
    assert 0.008 < longer[0, 40, 100] < 0.02
    assert longer[0, 40, 20].abs() < 1e-5
    inner = slice(20, 180)
    assert (noise.multipath_in_corners(convex, 300.0) - convex)[:, :, inner].abs().max() < 1e-5
    assert (noise.multipath_in_corners(plane(2.0), 300.0) == plane(2.0)).all()


def test_low_frequency_bias_is_bounded_smooth_and_as_large_as_asked() -> None:
    depth = plane(2.0, (16, 120, 160))
    share = noise.low_frequency_bias(depth, 0.02, seeded()) / depth - 1
    assert share.abs().max() <= 0.02 + 1e-6
    assert share.std() > 0.005
    assert (share[:, :, 1:] - share[:, :, :-1]).abs().max() < 0.002


def test_millimetres_are_whole() -> None:
    depth = torch.rand(1, 20, 20, generator=seeded()) * 5
    measured = noise.quantise_millimetres(depth)
    assert torch.allclose(measured * 1000, (measured * 1000).round(), atol=1e-3)
    assert (measured - depth).abs().max() <= 0.0005 + 1e-6


@pytest.mark.parametrize("side", ["left", "right"])
def test_shadow_band_has_the_width_of_its_formula_on_one_side(side) -> None:
    depth = torch.full((1, 40, 200), 2.0)
    depth[:, :, 90:140] = 1.0
    measured = noise.shadow_band(depth, FOCAL_PX, BASELINE_M, side)
    width = FOCAL_PX * BASELINE_M * (1 / 1.0 - 1 / 2.0)
    lost = (measured == 0)[0, 20].nonzero()[:, 0]
    assert len(lost) == pytest.approx(width, abs=1)
    assert (lost.max() == 89) if side == "left" else (lost.min() == 140)
    assert (measured[:, :, 90:140] == 1.0).all()


def test_missing_depth_casts_no_shadow() -> None:
    depth = torch.full((1, 4, 50), 2.0)
    depth[:, :, 25:] = 0.0
    assert torch.equal(noise.shadow_band(depth, FOCAL_PX, BASELINE_M), depth)


def test_grazing_dropout_begins_and_ends_at_its_angles() -> None:
    cosine = torch.cos(torch.deg2rad(torch.tensor([0.0, 73.0, 78.0, 83.0])))
    assert noise.grazing_dropout_probability(cosine).tolist() == pytest.approx([0.0, 0.0, 0.5, 1.0], abs=1e-3)


def test_dark_and_specular_dropouts_follow_their_formulas() -> None:
    one = torch.ones(1)
    assert noise.dark_dropout_probability(one, one, one, 0.01).item() == 0.0
    assert noise.dark_dropout_probability(4 * one, 0.08 * one, one, 0.01).item() == pytest.approx(0.25)
    assert noise.specular_dropout_probability(0.5 * one, one, 0.9).item() == pytest.approx(0.45)
    assert noise.specular_dropout_probability(0.5 * one, 0.5 * one, 0.9).item() == pytest.approx(0.225)
    assert noise.specular_dropout_probability(0 * one, one).item() == 0.0


@pytest.mark.parametrize("correlation_px", [1.0, 4.0])
def test_pixels_are_lost_with_their_probability(correlation_px) -> None:
    depth = plane(1.0, (8, 120, 160))
    lost = noise.drop_pixels(depth, torch.full_like(depth, 0.3), seeded(), correlation_px) == 0
    assert lost.float().mean() == pytest.approx(0.3, abs=0.03)
    neighbours = (lost[:, :, 1:] == lost[:, :, :-1]).float().mean()
    assert (neighbours < 0.6) if correlation_px == 1.0 else (neighbours > 0.75)


def test_random_fields_have_unit_deviation_and_even_distribution() -> None:
    image = torch.zeros(32, 60, 80)
    assert smooth_like(image, seeded(), 5.0).std() == pytest.approx(1.0, rel=0.05)
    drawn = uniform_like(image, seeded(), 5.0)
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.std() == pytest.approx(math.sqrt(1 / 12), rel=0.05)


def test_blobs_cover_no_more_than_their_area_and_each_frame_has_its_own() -> None:
    lost = noise.blobs(plane(1.0, (3, 100, 100)), 4, 10.0, seeded()) == 0
    share = lost.float().mean((1, 2))
    assert (share > 0.001).all()
    assert (share <= 4 * math.pi * 100 / 10_000).all()
    assert not torch.equal(lost[0], lost[1])
    assert not (noise.blobs(plane(1.0), 0, 10.0, seeded()) == 0).any()


def test_border_strip_and_range() -> None:
    kept = noise.border_strip(plane(1.0, (1, 10, 20)), left=3, right=2, top=1, bottom=4) > 0
    assert kept.sum() == (20 - 5) * (10 - 5)
    assert kept[0, 1, 3]
    assert not kept[0, 0, 3]
    depth = torch.tensor([[[0.0, 0.3, 0.5, 4.0, 4.1]]])
    assert noise.out_of_range(depth, 0.4, 4.0).tolist() == [[[0.0, 0.0, 0.5, 4.0, 0.0]]]


def test_jitter_moves_pixels_by_its_deviation() -> None:
    column = torch.arange(400, dtype=torch.float32).expand(1, 100, 400) + 1.0
    moved = (noise.lateral_jitter(column, 2.0, seeded()) - column)[:, :, 20:-20]
    assert moved.std() == pytest.approx(math.sqrt(4.0 + 1 / 12), rel=0.03)
    assert (moved == moved.round()).all(), "depths are read, not mixed"


def test_misregistration_shifts_and_leaves_the_gap_missing() -> None:
    depth = torch.arange(1.0, 26.0).view(1, 5, 5)
    moved = noise.misregister(depth, (2.0, -1.0))
    assert torch.equal(moved[0, :4, 2:], depth[0, 1:, :3])
    assert (moved[0, :, :2] == 0).all()
    assert (moved[0, 4] == 0).all()


def test_flying_pixels_appear_at_edges_only_and_lie_between_the_surfaces() -> None:
    depth = step_edge()
    measured = noise.flying_pixels(depth, 1.0, seeded())
    changed = (measured != depth)[0].any(0).nonzero()[:, 0]
    assert set(changed.tolist()) == {99, 100}
    flying = measured[:, :, 99:101]
    assert flying.min() > 1.0
    assert flying.max() < 2.0
    assert flying.mean() == pytest.approx(1.5, abs=0.1)
    half = (noise.flying_pixels(depth, 0.5, seeded()) != depth)[:, :, 99:101].float().mean()
    assert half == pytest.approx(0.5, abs=0.15)


def test_fattening_moves_edges_mostly_outwards_and_leaves_slopes_and_gaps_alone() -> None:
    depth = step_edge(size=(600, 200))
    moved = noise.fatten_edges(depth, 3.0, seeded())
    outwards = 100 - (moved == 2.0)[0].sum(1)
    assert set(moved.unique().tolist()) == {1.0, 2.0}
    assert set(outwards.tolist()) == {-1, 0, 1, 2, 3}
    assert outwards.float().mean() == pytest.approx(1.0, abs=0.3)
    assert (outwards.diff().abs() <= 2).all(), "the edge stays one line"
    assert torch.equal(noise.fatten_edges(depth, 0.0, seeded()), depth)

    slope = torch.linspace(1.0, 4.0, 100).expand(1, 60, 100).clone()
    slope[:, 20:25] = 0.0
    assert torch.equal(noise.fatten_edges(slope, 3.0, seeded()), slope)


def test_erosion_removes_the_pixels_beside_an_edge() -> None:
    for width in (0, 1, 3):
        lost = (noise.erode_edges(step_edge(), width) == 0)[0, 30].sum()
        assert lost == 2 * width


def test_window_support_removes_thin_things_and_keeps_walls() -> None:
    depth = plane(2.0, (1, 60, 60))
    depth[:, :, 30] = 1.0
    measured = noise.window_support(depth, window_px=9, least=0.5)
    assert (measured[:, 10:50, 30] == 0).all()
    assert (measured[:, 10:50, 10:25] == 2.0).all()


def test_low_resolution_blurs_edges_and_keeps_planes() -> None:
    assert torch.allclose(noise.low_resolution(plane(2.0), 40, 30), plane(2.0), atol=1e-5)
    measured = noise.low_resolution(step_edge(), 50, 15)
    mixed = ((measured > 1.02) & (measured < 1.98))[0, 30].sum()
    assert 4 <= mixed <= 20
    holey = plane(2.0)
    holey[:, :, :80] = 0.0
    seen = noise.low_resolution(holey, 40, 30)
    assert set(seen.unique().round(decimals=3).tolist()) == {0.0, 2.0}, "missing depth is not mixed in"


def test_stairs_begin_at_their_distance_and_grow() -> None:
    depth = torch.linspace(1.0, 5.0, 4000).view(1, 40, 100)
    measured = noise.far_stairs(depth, from_m=2.5, step_m=0.02)
    assert torch.equal(measured[depth <= 2.5], depth[depth <= 2.5])
    levels = measured[depth > 2.5].unique().diff()
    assert levels[1].item() == pytest.approx(0.02, rel=0.1)
    assert levels[-1].item() == pytest.approx(0.02 * (5 / 2.5) ** 2, rel=0.1)


def test_poses_drift_smoothly_by_the_amount_asked_for_and_stay_rigid() -> None:
    poses = torch.eye(4, dtype=torch.float64).repeat(4000, 1, 1)
    drifted = noise.pose_drift(poses, 0.01, 0.4, seeded())
    offset = drifted[:, :3, 3]
    assert torch.equal(drifted[0], poses[0])
    assert 0.006 < offset.std() < 0.014
    assert offset.diff(dim=0).abs().max() < 0.003
    rotation = drifted[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, poses[:, :3, :3], atol=1e-9)
    angle = torch.rad2deg(torch.arccos(((rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    assert 0.1 < angle.mean() < 1.5


def scene() -> dict[str, Any]:
    """A slanted floor with a box before a wall, a window, and a dark and a mirroring patch."""
    depth = torch.linspace(2.7, 3.4, 160).expand(2, 120, 160).clone()
    depth[:, 60:] = torch.linspace(3.0, 1.2, 60)[None, :, None]
    depth[:, 40:90, 60:110] = 1.1
    depth[:, :20, :30] = 0.0
    albedo = torch.full((2, 120, 160, 3), 0.5)
    albedo[:, 40:90, 85:110] = 0.02
    specular = torch.zeros_like(depth)
    specular[:, 90:, :40] = 0.8
    return {"depth_z_m": depth, "albedo": albedo, "view_cosine": torch.full_like(depth, 0.8), "specular": specular}


@pytest.mark.parametrize("kind", [kind for kind in get_args(noise.SensorKind) if kind != "none"])
def test_sensors_keep_missing_pixels_lose_some_and_err_by_centimetres(kind) -> None:
    given = scene()
    depth = given["depth_z_m"]
    measured = noise.simulate_sensor(kind, focal_px=140.0, generator=seeded(), **given)
    assert measured.shape == depth.shape
    assert torch.isfinite(measured).all()
    assert (measured >= 0).all()
    assert (measured[depth == 0] == 0).all()
    both = (measured > 0) & (depth > 0)
    lost = 1 - both.sum() / (depth > 0).sum()
    assert 0.001 < lost < 0.35
    error = (measured - depth)[both].abs()
    assert 0.002 < error.median() < 0.04
    assert torch.equal(measured, noise.simulate_sensor(kind, focal_px=140.0, generator=seeded(), **given))
    assert not torch.equal(measured, noise.simulate_sensor(kind, focal_px=140.0, generator=seeded(1), **given))


@pytest.mark.parametrize("kind", [kind for kind in get_args(noise.SensorKind) if kind != "none"])
def test_stronger_sensors_err_more(kind) -> None:
    given = scene()
    depth = given["depth_z_m"]

    def error(strength: float) -> float:
        measured = noise.simulate_sensor(kind, focal_px=140.0, generator=seeded(), strength=strength, **given)
        both = (measured > 0) & (depth > 0)
        return (measured - depth)[both].abs().median().item()

    assert error(0.3) < 0.7 * error(1.0)
    assert error(1.0) < 0.8 * error(2.0)
    assert error(0.0) == 0.0


def test_no_sensor_returns_a_copy_of_the_truth() -> None:
    given = scene()
    measured = noise.simulate_sensor("none", focal_px=140.0, generator=seeded(), **given)
    assert torch.equal(measured, given["depth_z_m"])
    assert measured.data_ptr() != given["depth_z_m"].data_ptr()


def test_unknown_sensor_and_negative_strength_are_refused() -> None:
    with pytest.raises(ValueError, match="sensor is 'sonar', it must be one of kinect, lidar"):
        noise.simulate_sensor(cast(Any, "sonar"), focal_px=140.0, generator=seeded(), **scene())
    with pytest.raises(ValueError, match="strength is -1"):
        noise.simulate_sensor("tof", focal_px=140.0, generator=seeded(), strength=-1, **scene())
