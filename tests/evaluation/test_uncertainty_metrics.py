"""Scores of stated standard deviations: what a true one gets, and what a false one gets."""

from __future__ import annotations

import math

import pytest
import torch

from diffnerf_ns.evaluation.uncertainty_metrics import (
    CALIBRATION_LEVELS,
    area_under_sparsification_error,
    calibration_curve,
    coverage,
    gaussian_nll,
    uncertainty_scores,
)


@pytest.fixture
def gaussian() -> tuple[torch.Tensor, torch.Tensor]:
    """Errors that are what their sigmas say, sigmas from 1 cm to 20 cm."""
    generator = torch.Generator().manual_seed(0)
    sigma = 0.01 + 0.19 * torch.rand(100_000, generator=generator)
    return sigma * torch.randn(100_000, generator=generator), sigma


def test_the_likelihood_is_that_of_a_gaussian() -> None:
    error, sigma = torch.tensor([0.0, 0.2]), torch.tensor([0.1, 0.1])
    constant = math.log(0.1) + 0.5 * math.log(2 * math.pi)
    assert gaussian_nll(error, sigma) == pytest.approx(constant + 0.5 * (0 + 4) / 2)


def test_a_true_sigma_covers_68_percent_and_lies_on_the_diagonal(gaussian: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert coverage(*gaussian) == pytest.approx(0.683, abs=0.005)
    assert calibration_curve(*gaussian) == pytest.approx(CALIBRATION_LEVELS, abs=0.006)


def test_too_small_a_sigma_covers_less_and_is_less_likely(gaussian: tuple[torch.Tensor, torch.Tensor]) -> None:
    error, sigma = gaussian
    assert coverage(error, sigma / 2) == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.005)
    assert gaussian_nll(error, sigma / 2) > gaussian_nll(error, sigma) < gaussian_nll(error, 2 * sigma)


def test_ause_is_zero_for_a_perfect_order() -> None:
    error = torch.linspace(-1, 1, 1001)
    assert area_under_sparsification_error(error, 3 * error.abs() + 0.1) == pytest.approx(0, abs=1e-9)
    assert area_under_sparsification_error(torch.zeros(5), torch.ones(5)) == 0


def test_ause_of_a_sigma_that_says_nothing_is_the_area_above_the_best_order() -> None:
    error = torch.arange(1, 1001).double()
    of_constant = area_under_sparsification_error(error, torch.ones(1000).double())
    assert of_constant == pytest.approx(0.5, abs=0.01)  # 1 minus the mean of a line from 0 to 1
    assert area_under_sparsification_error(error.flip(0), torch.ones(1000).double()) == pytest.approx(of_constant)
    assert area_under_sparsification_error(error, 1 / error) > 0.9


def test_all_scores_come_together_and_no_pixel_has_none(gaussian: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores = uncertainty_scores(*gaussian)
    assert scores is not None
    assert scores.count == 100_000
    assert scores.coverage_68 == pytest.approx(scores.calibration[5] + 0.183, abs=0.02)
    assert uncertainty_scores(torch.empty(0), torch.empty(0)) is None
    with pytest.raises(ValueError, match="both must be flat"):
        uncertainty_scores(torch.ones(2, 2), torch.ones(2, 2))
