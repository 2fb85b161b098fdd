"""Losses on the shape of surfaces: planes and matching normals are free, the rest pays."""

import math

import pytest
import torch

from diffnerf_ns.field.surface_losses import edge_aware_smoothness_loss, normal_loss, normals_of_density

ALL = torch.ones(1, 5, 5, dtype=torch.bool)
GREY = torch.full((1, 5, 5, 3), 0.5)


def _slanted_plane() -> torch.Tensor:
    row, column = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    return 1.0 / (0.5 + 0.03 * row - 0.05 * column)[None]


def _step() -> torch.Tensor:
    return torch.where(torch.arange(5) < 2, 1.0, 2.0).expand(1, 5, 5).clone()


def test_a_slanted_plane_is_free():
    assert edge_aware_smoothness_loss(_slanted_plane(), GREY, ALL).item() == pytest.approx(0, abs=1e-5)


def test_a_step_pays_its_second_differences_whatever_the_scale_of_the_scene():
    relative_step = 0.5 / (0.4 * 1.0 + 0.6 * 0.5)
    expected = relative_step * (2 * 5) / (2 * 15)
    for scale in (1.0, 7.0):
        loss = edge_aware_smoothness_loss(_step() * scale, GREY, ALL)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_step_where_the_picture_has_an_edge_pays_less():
    image = torch.where(torch.arange(5) < 2, 0.4, 0.5)[None, None, :, None].expand(1, 5, 5, 3)
    on_edge = edge_aware_smoothness_loss(_step(), image, ALL)
    on_grey = edge_aware_smoothness_loss(_step(), GREY, ALL)
    assert on_edge.item() == pytest.approx(math.exp(-1) * on_grey.item(), rel=1e-4)


def test_invalid_pixels_neither_pay_nor_dilute():
    depth = torch.cat([_step(), torch.full((1, 5, 5), 3.0)])
    valid = torch.cat([ALL, ~ALL])
    both = edge_aware_smoothness_loss(depth, GREY.expand(2, 5, 5, 3), valid)
    assert both.item() == pytest.approx(edge_aware_smoothness_loss(_step(), GREY, ALL).item())


def test_no_valid_pixel_gives_a_differentiable_zero():
    depth = _step().requires_grad_(True)
    edge_aware_smoothness_loss(depth, GREY, ~ALL).backward()
    assert torch.equal(depth.grad, torch.zeros(1, 5, 5))
    normals = torch.rand(4, 3, requires_grad=True)
    normal_loss(normals, torch.zeros(4, 3)).backward()
    assert torch.equal(normals.grad, torch.zeros(4, 3))


def test_gradients_are_those_of_the_values():
    torch.manual_seed(0)
    depth = (1 + torch.rand(2, 4, 4, dtype=torch.float64)).requires_grad_(True)
    image = torch.rand(2, 4, 4, 3, dtype=torch.float64)
    valid = torch.rand(2, 4, 4) > 0.1

    assert torch.autograd.gradcheck(lambda values: edge_aware_smoothness_loss(values, image, valid), depth)
    known = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    density = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: normal_loss(normals_of_density(values), known), density)


def test_density_that_grows_along_minus_z_has_a_normal_along_z():
    log_density = torch.tensor([[0.0, 0.0, -2.0, 0.0, 0.0, 2.0]])
    torch.testing.assert_close(normals_of_density(log_density), torch.tensor([[0.0, 0.0, 1.0]]), atol=1e-4, rtol=0)


def test_even_density_has_no_normal_and_a_finite_gradient():
    log_density = torch.zeros(1, 6, requires_grad=True)
    normals = normals_of_density(log_density)
    assert normals.eq(0).all()
    normals.sum().backward()
    assert log_density.grad.abs().max() < 1000


def test_normals_pay_one_minus_the_cosine_and_unknown_ones_do_not_dilute():
    normals = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    known = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert normal_loss(normals, known).item() == pytest.approx((0 + 1 + 2) / 3)
