"""Depth errors in metres, by region, with nothing averaged in that is not known."""

from __future__ import annotations

import math

import pytest
import torch

from diffnerf_ns.evaluation.depth_metrics import depth_edges, depth_errors, depth_errors_by_region


def test_values_are_those_of_the_definitions() -> None:
    errors = depth_errors(torch.tensor([1.0, 2.2, 6.0]), torch.tensor([1.0, 2.0, 4.0]))
    assert errors.count == 3
    assert errors.mae_m == pytest.approx(2.2 / 3)
    assert errors.rmse_m == pytest.approx(math.sqrt((0.04 + 4) / 3))
    assert errors.abs_rel == pytest.approx((0 + 0.1 + 0.5) / 3)
    assert errors.log10 == pytest.approx((math.log10(1.1) + math.log10(1.5)) / 3)
    assert errors.deltas == pytest.approx(
        {"delta_1.05": 1 / 3, "delta_1.25": 2 / 3, "delta_1.25^2": 1.0, "delta_1.25^3": 1.0}
    )


def test_a_perfect_prediction_has_no_error() -> None:
    truth = torch.rand(8, 8) + 0.5
    errors = depth_errors(truth, truth)
    assert (errors.mae_m, errors.rmse_m, errors.abs_rel, errors.log10) == (0, 0, 0, 0)
    assert set(errors.deltas.values()) == {1.0}


@pytest.mark.parametrize("missing", [0.0, -1.0, math.nan, math.inf])
def test_missing_depth_is_in_no_average_but_counted(missing: float) -> None:
    truth = torch.tensor([2.0, 2.0, 0.0])
    errors = depth_errors(torch.tensor([2.5, missing, 7.0]), truth)
    assert (errors.count, errors.missing) == (1, 1)
    assert errors.mae_m == pytest.approx(0.5)
    unknown_truth = depth_errors(truth, torch.tensor([2.0, missing, missing]))
    assert (unknown_truth.count, unknown_truth.missing) == (1, 0)


def test_an_empty_region_gives_zeros_that_say_so() -> None:
    errors = depth_errors(torch.ones(4, 4), torch.ones(4, 4), torch.zeros(4, 4, dtype=torch.bool))
    assert errors.count == 0
    assert errors.as_dict() == {}
    assert not math.isnan(errors.rmse_m)


def test_regions_follow_the_sensor_and_the_truth_not_the_prediction() -> None:
    truth = torch.full((8, 16), 3.0)
    truth[:, :8] = 1.0
    sensor = truth.clone()
    sensor[:2] = 0
    predicted = truth + torch.where(sensor > 0, 0.1, 0.3)
    errors = depth_errors_by_region(predicted, truth, sensor)
    assert errors["all"].count == 128
    assert errors["observed"].mae_m == pytest.approx(0.1, abs=1e-6)
    assert errors["hole"].mae_m == pytest.approx(0.3, abs=1e-6)
    assert errors["hole"].count == 32
    assert errors["edge"].count == 8 * 4


def test_edges_are_jumps_not_slopes_and_holes_are_no_edges() -> None:
    slope = torch.linspace(1, 1.5, 32).expand(8, 32).clone()
    slope[3, 10] = 0
    assert not depth_edges(slope).any()
    step = torch.ones(8, 32)
    step[:, 16:] = 1.2
    assert depth_edges(step)[4].nonzero().flatten().tolist() == [14, 15, 16, 17]


def test_names_carry_their_prefix_and_unit() -> None:
    names = depth_errors(torch.ones(2), torch.ones(2)).as_dict("depth_")
    assert {"depth_mae_m", "depth_rmse_m", "depth_abs_rel", "depth_log10", "depth_delta_1.25"} <= set(names)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="truth_m"):
        depth_errors(torch.ones(2, 3), torch.ones(3, 2))
