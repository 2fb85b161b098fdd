"""Losses as sentences: what they charge, and for what they charge nothing."""

import math

import pytest
import torch

from diffnerf_ns.field.depth_losses import (
    OUTLIER_SHARE,
    berhu_loss,
    distortion_loss,
    free_space_loss,
    gated_likelihood_loss,
    l1_loss,
    wasserstein_loss,
)

LENGTHS = torch.tensor([[1.0, 2.0, 3.0]])
EDGES = torch.tensor([[0.5, 1.5, 2.5, 3.5]])


def _at(index: int) -> torch.Tensor:
    weights = torch.zeros(1, 3)
    weights[0, index] = 1.0
    return weights.requires_grad_(True)


def _losses(weights: torch.Tensor, depth: torch.Tensor, sigma: torch.Tensor) -> list[torch.Tensor]:
    expected = (weights * LENGTHS).sum(dim=-1, keepdim=True)
    return [
        gated_likelihood_loss(weights, LENGTHS.expand_as(weights), depth, sigma),
        free_space_loss(weights, LENGTHS.expand_as(weights), depth, sigma, 3.0),
        l1_loss(expected, depth, sigma),
        berhu_loss(expected, depth, sigma, 10.0),
        wasserstein_loss(weights, EDGES.expand(len(weights), 4).contiguous(), depth, sigma),
    ]


def test_all_depths_missing_gives_a_differentiable_zero():
    weights = torch.full((2, 3), 0.3, requires_grad=True)
    for loss in _losses(weights, torch.zeros(2, 1), torch.full((2, 1), 0.1)):
        assert loss.item() == 0
        loss.backward(retain_graph=True)
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


def test_a_ray_four_sigmas_off_pays_the_log_of_the_likelihood_and_the_outlier_share():
    loss = gated_likelihood_loss(_at(1), LENGTHS, torch.tensor([[2.4]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(-math.log(math.exp(-0.125 * 16) + OUTLIER_SHARE), rel=1e-3)


def test_a_ray_spread_wider_than_sigma_pays_even_if_its_mean_is_right():
    weights = torch.tensor([[0.5, 0.0, 0.5]])
    loss = gated_likelihood_loss(weights, LENGTHS, torch.tensor([[2.0]]), torch.tensor([[0.5]]))
    assert loss.item() == pytest.approx(-math.log(math.exp(-0.5) + OUTLIER_SHARE), rel=1e-3)


def test_light_that_passes_through_everything_pays_most_and_is_pulled_to_its_depth():
    weights = torch.zeros(1, 3, requires_grad=True)
    loss = gated_likelihood_loss(weights, LENGTHS, torch.tensor([[2.0]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(-math.log(OUTLIER_SHARE), rel=1e-4)
    loss.backward()
    assert weights.grad[0].argmin() == 1
    assert weights.grad[0, 1].item() == pytest.approx(-1 / OUTLIER_SHARE)


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


def test_l1_counts_standard_deviations():
    depth, sigma = torch.tensor([[2.0], [1.0]]), torch.tensor([[0.1], [0.5]])
    assert l1_loss(torch.tensor([[2.3], [0.5]]), depth, sigma).item() == pytest.approx((3 + 1) / 2, rel=1e-5)


def test_berhu_is_linear_up_to_its_threshold_and_quadratic_beyond_without_a_step():
    def loss(deviation: float) -> float:
        return berhu_loss(
            torch.tensor([[2.0 + 0.1 * deviation]]), torch.tensor([[2.0]]), torch.tensor([[0.1]]), 4
        ).item()

    assert loss(3.0) == pytest.approx(3.0, rel=1e-4)
    assert loss(-3.0) == pytest.approx(3.0, rel=1e-4)
    assert loss(4.001) == pytest.approx(loss(3.999), rel=1e-3)
    assert loss(12.0) == pytest.approx((144 + 16) / 8, rel=1e-4)


def _bins(first: float, last: float, count: int) -> torch.Tensor:
    return torch.linspace(first, last, count + 1)[None]


def _normal_weights(edges: torch.Tensor, mean: float, sigma: float) -> torch.Tensor:
    return torch.special.ndtr((edges - mean) / sigma).diff(dim=-1)


def test_a_ray_that_ends_like_its_depth_is_distributed_is_free_of_earth_to_move():
    edges = _bins(0.0, 4.0, 400)
    loss = wasserstein_loss(_normal_weights(edges, 2.0, 0.1), edges, torch.tensor([[2.0]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(0, abs=1e-3)


def test_earth_moves_as_far_as_the_depth_is_off_in_both_directions():
    edges = _bins(0.0, 4.0, 400)
    for mean in (1.5, 2.5):
        loss = wasserstein_loss(_normal_weights(edges, mean, 0.1), edges, torch.tensor([[2.0]]), torch.tensor([[0.1]]))
        assert loss.item() == pytest.approx(5.0, rel=1e-3)


def test_a_spike_within_the_depth_s_distribution_pays_its_mean_deviation():
    edges = _bins(1.0, 3.0, 2000)
    weights = torch.zeros(1, 2000)
    weights[0, 1000] = 1.0
    loss = wasserstein_loss(weights, edges, torch.tensor([[2.0]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(math.sqrt(2 / math.pi), rel=1e-2)


def test_light_that_passes_through_everything_has_moved_to_the_end_of_the_ray():
    edges = _bins(0.0, 4.0, 400)
    loss = wasserstein_loss(torch.zeros(1, 400), edges, torch.tensor([[2.0]]), torch.tensor([[0.1]]))
    assert loss.item() == pytest.approx(20.0, rel=1e-2)


def test_gradients_are_those_of_the_values_for_weights_and_for_depth():
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(6, 5, generator=generator, dtype=torch.float64).sort(dim=-1).values * 3
    weights = (torch.rand(6, 4, generator=generator, dtype=torch.float64) / 5).requires_grad_(True)
    depth = (torch.rand(6, 1, generator=generator, dtype=torch.float64) * 2 + 0.5).requires_grad_(True)
    sigma = torch.full((6, 1), 0.2, dtype=torch.float64)
    centres = 0.5 * (edges[:, 1:] + edges[:, :-1])

    def expected(values: torch.Tensor) -> torch.Tensor:
        return (values * centres).sum(dim=-1, keepdim=True)

    for loss in (
        lambda values, known: gated_likelihood_loss(values, centres, known, sigma),
        lambda values, known: l1_loss(expected(values), known, sigma),
        lambda values, known: berhu_loss(expected(values), known, sigma, 3.0),
        lambda values, known: wasserstein_loss(values, edges, known, sigma),
    ):
        assert torch.autograd.gradcheck(loss, (weights, depth))
