"""Whether a stated standard deviation is true: likelihood, coverage, calibration, and the order it puts pixels in.

Errors and sigmas are flat tensors over the pixels that are judged, in one unit, sigma above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CALIBRATION_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Shares of the errors that a Gaussian of the stated sigma would put within some bound."""

SPARSIFICATION_STEPS = 100
"""Points of the sparsification curve."""


@dataclass(frozen=True)
class UncertaintyScores:
    """How true the stated sigmas are."""

    count: int
    """Pixels that were judged."""
    nll: float
    """Mean negative log-likelihood of the errors under a Gaussian, nats, metres as the unit of length."""
    coverage_68: float
    """Share of the errors within one sigma; 0.683 if sigma is true and errors are Gaussian."""
    ause: float
    """Area between the sparsification curves of sigma and of the errors themselves, as a share of the mean absolute
    error: 0 if sigma puts the pixels in the order of their errors."""
    calibration: tuple[float, ...]
    """Share of the errors within the bound of each of CALIBRATION_LEVELS."""


def uncertainty_scores(error: Tensor, sigma: Tensor) -> UncertaintyScores | None:
    """All scores of one set of pixels; None if there is no pixel.

    Args:
        error: predicted minus true depth, metres.
        sigma: the stated standard deviation, metres.
    """
    if error.shape != sigma.shape or error.ndim != 1:
        raise ValueError(f"error is {tuple(error.shape)}, sigma {tuple(sigma.shape)}: both must be flat and alike")
    if not error.numel():
        return None
    return UncertaintyScores(
        count=error.numel(),
        nll=gaussian_nll(error, sigma),
        coverage_68=coverage(error, sigma),
        ause=area_under_sparsification_error(error, sigma),
        calibration=tuple(calibration_curve(error, sigma)),
    )


def gaussian_nll(error: Tensor, sigma: Tensor) -> float:
    """Mean negative log-likelihood, nats."""
    error, sigma = error.double(), sigma.double()
    return (0.5 * (error / sigma) ** 2 + sigma.log() + 0.5 * math.log(2 * math.pi)).mean().item()


def coverage(error: Tensor, sigma: Tensor, sigmas: float = 1.0) -> float:
    """Share of the errors within a number of sigmas."""
    return (error.abs() <= sigmas * sigma).double().mean().item()


def calibration_curve(error: Tensor, sigma: Tensor) -> list[float]:
    """Share of the errors within the central interval of each of CALIBRATION_LEVELS."""
    bounds = math.sqrt(2) * torch.erfinv(torch.tensor(CALIBRATION_LEVELS, dtype=torch.float64))
    return [coverage(error, sigma, bound) for bound in bounds.tolist()]


def area_under_sparsification_error(error: Tensor, sigma: Tensor) -> float:
    """AUSE of the absolute error, as a share of its mean: pixels leave in the order of sigma, largest first, and the
    mean error of those that are left is compared with what the best order would leave. Pixels of equal sigma leave in
    no particular order: each counts with their mean error."""
    error, sigma = error.abs().double(), sigma.double()
    overall = error.mean()
    if overall == 0:
        return 0.0
    _, group = sigma.unique(return_inverse=True)
    total = torch.zeros(int(group.max()) + 1, dtype=error.dtype, device=error.device).index_add(0, group, error)
    expected = (total / torch.bincount(group))[group]
    by_sigma, best = (
        _mean_error_of_those_left(expected[sigma.argsort()]),
        _mean_error_of_those_left(error.sort().values),
    )
    return ((by_sigma - best).mean() / overall).item()


def _mean_error_of_those_left(ordered_error: Tensor) -> Tensor:
    """Mean of the first 1 %, 2 %, ... 100 % of the errors."""
    count = len(ordered_error)
    mean = ordered_error.cumsum(0) / torch.arange(1, count + 1, dtype=ordered_error.dtype, device=ordered_error.device)
    shares = torch.arange(1, SPARSIFICATION_STEPS + 1, dtype=torch.float64) / SPARSIFICATION_STEPS
    return mean[((shares * count).ceil().long() - 1).clamp(0, count - 1)]
