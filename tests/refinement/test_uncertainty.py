"""From the spread of an ensemble to calibrated metres."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from diffnerf_ns.refinement.interface import Provenance
from diffnerf_ns.refinement.uncertainty import (
    Calibration,
    SigmaModel,
    ensemble_median,
    ensemble_spread,
    fit_calibration,
    pixels_by_class,
    provenance_of,
)

TRUE = Calibration(
    SigmaModel(1.5, 0.005, 0.002),
    SigmaModel(1.0, 0.002, 0.0, 0.6),
    SigmaModel(2.5, 0.01, 0.0),
    SigmaModel(0.7, 0.03, 0.01),
)


def drawn(count: int = 80_000) -> tuple[np.ndarray, ...]:
    """Spread, error, depth, provenance and disagreement as they are if `TRUE` holds."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 5, count).astype(np.float32)
    spread = (rng.lognormal(-5, 1, count) * depth).astype(np.float32)
    provenance = rng.integers(1, 4, count).astype(np.uint8)
    disagreement = (rng.lognormal(-4.5, 1, count) * (rng.uniform(size=count) < 0.5)).astype(np.float32)
    known = (torch.from_numpy(values) for values in (spread, depth, provenance, disagreement))
    sigma = TRUE.sigma_z_m(*known).numpy()
    return spread, (sigma * rng.standard_normal(count)).astype(np.float32), depth, provenance, disagreement


def test_the_calibration_that_errors_were_drawn_from_is_found_again() -> None:
    spread, error, depth, provenance, disagreement = drawn()
    fitted = fit_calibration(spread, error, depth, provenance, disagreement)
    arguments = [torch.from_numpy(values) for values in (spread, depth, provenance, disagreement)]
    np.testing.assert_allclose(fitted.sigma_z_m(*arguments), TRUE.sigma_z_m(*arguments), rtol=0.15)
    assert fitted.measured.temperature == pytest.approx(1.5, rel=0.15)
    assert fitted.confirmed.disagreement == pytest.approx(0.6, rel=0.15)
    assert fitted.other_views.temperature == pytest.approx(2.5, rel=0.15)
    assert fitted.generated.relative == pytest.approx(0.03, rel=0.15)


def test_sigma_covers_68_percent_of_each_class_even_if_errors_are_not_normal() -> None:
    spread, error, depth, provenance, disagreement = drawn()
    error = np.sign(error) * np.abs(error) ** 1.6 * 3
    sigma = fit_calibration(spread, error, depth, provenance, disagreement).sigma_z_m(
        *(torch.from_numpy(values) for values in (spread, depth, provenance, disagreement))
    )
    classes = pixels_by_class(provenance, disagreement)
    assert list(classes) == list(TRUE.to_json())
    for pixels in classes.values():
        covered = (np.abs(error) <= sigma.numpy())[pixels].mean()
        assert covered == pytest.approx(0.6827, abs=0.005)


def test_a_class_that_was_not_seen_takes_the_calibration_of_all() -> None:
    spread, error, depth, provenance, disagreement = drawn()
    seen = provenance != Provenance.OTHER_VIEWS
    spread, error, depth, disagreement = (values[seen] for values in (spread, error, depth, disagreement))
    fitted = fit_calibration(spread, error, depth, provenance[seen], disagreement)
    pooled = fit_calibration(spread, error, depth, np.full_like(provenance[seen], 3), disagreement)
    assert fitted.other_views == pooled.generated


def test_too_few_pixels_are_refused() -> None:
    few = np.ones(10, np.float32)
    with pytest.raises(ValueError, match="holds 10 pixels: fit_calibration needs 200"):
        fit_calibration(few, few, few, np.ones(10, np.uint8), few)


def test_a_calibration_survives_json() -> None:
    assert Calibration.from_json(json.loads(json.dumps(TRUE.to_json()))) == TRUE


def test_sigma_adds_spread_and_floor_in_squares_and_is_0_where_depth_is_missing() -> None:
    spread, depth = torch.tensor([0.03, 0.0, 0.1]), torch.tensor([2.0, 2.0, 0.0])
    model, seen = SigmaModel(2.0, 0.01, 0.02, 0.5), torch.tensor([1, 1, 0])
    sigma = Calibration(measured=model).sigma_z_m(spread, depth, seen, torch.zeros(3))
    floor = np.hypot(0.02, 0.08)
    torch.testing.assert_close(sigma, torch.tensor([np.hypot(0.06, floor), floor, 0.0], dtype=torch.float32))
    sigma = Calibration(confirmed=model).sigma_z_m(spread, depth, seen, torch.full((3,), 0.04))
    floor = np.hypot(floor, 0.02)
    torch.testing.assert_close(sigma, torch.tensor([np.hypot(0.06, floor), floor, 0.0], dtype=torch.float32))


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two_and_the_spread_a_standard_deviation() -> None:
    members = torch.tensor([4.0, 1.0, 100.0, 2.0]).reshape(1, 4, 1, 1)
    assert ensemble_median(members).item() == 3.0
    assert ensemble_median(members[:, :3]).item() == 4.0
    assert ensemble_spread(members).item() == pytest.approx(np.std([4, 1, 100, 2], ddof=1))
    assert ensemble_spread(members[:, :1]).item() == 0.0


def test_depth_belongs_to_the_sensor_then_to_other_views_then_to_nobody() -> None:
    depth = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0])
    sensor = torch.tensor([2.01, 2.0, 0.0, 2.3, 2.3])
    fused = torch.tensor([0.0, 2.0, 2.01, 1.99, 0.0])
    assert provenance_of(depth, sensor, fused).tolist() == [1, 1, 2, 2, 3]
    assert provenance_of(depth, sensor, None).tolist() == [1, 1, 3, 3, 3]
