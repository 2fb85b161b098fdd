"""Quadrature along rays, against closed forms."""

import math

import torch

from diffnerf_ns.field.volume_rendering import (
    box_near_far,
    median_ray_length,
    render_weights,
    sample_from_histogram,
    stratified,
)

UNIT_BOX = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])


def test_constant_density_ends_rays_exponentially():
    edges = torch.linspace(0, 4, 41)[None]
    weights = render_weights(torch.full((1, 40), 0.7), edges)
    expected = torch.exp(-0.7 * edges[:, :-1]) - torch.exp(-0.7 * edges[:, 1:])
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)
    assert math.isclose(weights.sum().item(), 1 - math.exp(-2.8), abs_tol=1e-5)


def test_an_opaque_interval_takes_all_that_reaches_it():
    weights = render_weights(torch.tensor([[0.0, 1e4, 1e4]]), torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 1.0, 0.0]]))


def test_an_interval_without_length_takes_nothing():
    weights = render_weights(torch.tensor([[6e4, 1.0]]), torch.tensor([[1.0, 1.0, 2.0]]))
    assert weights[0, 0] == 0
    assert torch.isfinite(weights).all()


def test_rays_enter_and_leave_the_box_where_geometry_says():
    origins = torch.tensor([[-1.0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    near, far = box_near_far(origins, directions, UNIT_BOX, near_plane=0.05)
    torch.testing.assert_close(near, torch.tensor([[1.0], [0.05]]))
    torch.testing.assert_close(far, torch.tensor([[2.0], [0.625]]))


def test_a_ray_that_misses_the_box_keeps_a_sliver():
    near, far = box_near_far(torch.tensor([[5.0, 5.0, 5.0]]), torch.tensor([[1.0, 0.0, 0.0]]), UNIT_BOX, 0.05)
    assert (far > near).all()
    assert torch.isfinite(far).all()


def test_stratified_samples_fall_one_into_each_part():
    samples = stratified(torch.tensor([[1.0]]), torch.tensor([[3.0]]), 10, jitter=True)
    parts = ((samples - 1.0) / 0.2).floor().long()
    assert parts.tolist() == [list(range(10))]


def test_histogram_samples_are_distributed_like_its_weights():
    edges = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    samples = sample_from_histogram(edges, torch.tensor([[1.0, 0.0, 3.0]]), 400, jitter=False)
    assert (samples < 1).sum().item() == 100
    assert ((samples > 1) & (samples < 2)).sum().item() == 0
    assert (samples > 2).sum().item() == 300
    assert (samples.diff() >= 0).all()


def test_the_median_lies_where_half_of_the_ray_has_ended():
    median = median_ray_length(torch.tensor([[0.2, 0.6, 0.2]]), torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
    torch.testing.assert_close(median, torch.tensor([[1.5]]))
