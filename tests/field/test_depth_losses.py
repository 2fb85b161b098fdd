"""Losses as sentences: what they charge, and for what they charge nothing."""

import math

import pytest
import torch

from diffnerf_ns.field.depth_losses import (
    distortion_loss,
    free_space_loss,
    gated_likelihood_loss,
)

LENGTHS = torch.tensor([[1.0, 2.0, 3.0]])


def _at(index: int) -> torch.Tensor:
    weights = torch.zeros(1, 3)
    weights[0, index] = 1.0
    return weights.requires_grad_(True)


def _losses(weights: torch.Tensor, depth: torch.Tensor, sigma: torch.Tensor) -> list[torch.Tensor]:
    return [
        gated_likelihood_loss(weights, LENGTHS.expand_as(weights), depth, sigma),
        free_space_loss(weights, LENGTHS.expand_as(weights), depth, sigma, 3.0),
    ]


def test_all_depths_missing_gives_a_differentiable_zero():
    weights = torch.full((2, 3), 0.3, requires_grad=True)
    for loss in _losses(weights, torch.zeros(2, 1), torch.full((2, 1), 0.1)):
        assert loss.item() == 0
        loss.backward()
        assert torch.equal(weights.grad, torch.zeros(2, 3))


def test_missing_depths_do_not_dilute_the_mean():
    weights = _at(0).detach()
    alone = _losses(weights, torch.tensor([[3.0]]), torch.tensor([[0.1]]))
    among = _losses(weights.expand(4, 3), torch.tensor([[3.0], [0.0], [0.0], [0.0]]), torch.full((4, 1), 0.1))
    for one, many in zip(alone, among, strict=True):
        assert one.item() == pytest.approx(many.item())
        assert one.item() > 0


def test_a_ray_within_one_sigma_is_left_to_colour():
    loss = gated_likelihood_loss(_at(1), LENGTHS, torch.tensor([[2.05]]), torch.tensor([[0.1]]))
    assert loss.item() == 0


def test_a_ray_four_sigmas_off_pays_the_log_of_the_likelihood():
    loss = gated_likelihood_loss(_at(1), LENGTHS, torch.tensor([[2.4]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(0.125 * 16, rel=1e-3)


def test_a_ray_spread_wider_than_sigma_pays_even_if_its_mean_is_right():
    weights = torch.tensor([[0.5, 0.0, 0.5]])
    loss = gated_likelihood_loss(weights, LENGTHS, torch.tensor([[2.0]]), torch.tensor([[0.5]]))
    assert loss.item() == pytest.approx(0.5, rel=1e-3)


def test_light_that_passes_through_everything_pays_most_and_is_pulled_to_its_depth():
    weights = torch.zeros(1, 3, requires_grad=True)
    loss = gated_likelihood_loss(weights, LENGTHS, torch.tensor([[2.0]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(-math.log(1e-5), rel=1e-4)
    loss.backward()
    assert weights.grad[0].argmin() == 1
    assert weights.grad[0, 1] < -1e4


def test_matter_in_front_of_the_band_pays_and_matter_within_does_not():
    depth, sigma = torch.tensor([[2.0]]), torch.tensor([[0.2]])
    assert free_space_loss(_at(0), LENGTHS, depth, sigma, 3.0).item() == pytest.approx(1.0)
    assert free_space_loss(_at(1), LENGTHS, depth, sigma, 3.0).item() == 0
    assert free_space_loss(_at(0), LENGTHS, depth, sigma, 6.0).item() == 0


def test_distortion_of_two_spikes_is_their_weighted_distance():
    edges = torch.tensor([[0.0, 1e-6, 0.5, 0.5 + 1e-6, 1.0]])
    weights = torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    loss = distortion_loss(weights, edges, torch.zeros(1, 1), torch.ones(1, 1))
    assert loss.item() == pytest.approx(2 * 0.25 * 0.5, abs=1e-5)
