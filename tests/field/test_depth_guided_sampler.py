"""Training samples go where depth says, in the shares that were asked for."""

import pytest
import torch

from diffnerf_ns.field.density_grid import DensityGrid
from diffnerf_ns.field.depth_guided_sampler import SampleShares, training_edges

BOX = torch.tensor([[-4.0, -4.0, -4.0], [4.0, 4.0, 4.0]])
SHARES = SampleShares(band=12, free=6, grid=4, anywhere=8, band_sigmas=3.0, grid_steps=32)
COUNT = 64


def _edges(depth: float | None, sigma: float = 0.02) -> torch.Tensor:
    torch.manual_seed(0)
    origins = torch.zeros(COUNT, 3)
    directions = torch.tensor([[0.0, 0.0, -1.0]]).expand(COUNT, 3)
    near, far = torch.full((COUNT, 1), 0.05), torch.full((COUNT, 1), 4.0)
    known = None if depth is None else torch.full((COUNT, 1), depth)
    sigmas = None if depth is None else torch.full((COUNT, 1), sigma)
    return training_edges(origins, directions, near, far, known, sigmas, DensityGrid(BOX, 16), SHARES)


@pytest.mark.parametrize("depth", [None, 0.0, 2.0, 3.99])
def test_edges_are_sorted_from_near_to_far_and_as_many_as_promised(depth):
    edges = _edges(depth)
    assert edges.shape == (COUNT, SHARES.total + 1)
    assert (edges.diff() >= 0).all()
    torch.testing.assert_close(edges[:, 0], torch.full((COUNT,), 0.05))
    torch.testing.assert_close(edges[:, -1], torch.full((COUNT,), 4.0))


def test_the_band_gets_its_share():
    edges = _edges(2.0)
    in_band = ((edges >= 2.0 - 0.06) & (edges <= 2.0 + 0.06)).sum(dim=1)
    assert (in_band >= SHARES.band).all()


def test_free_space_gets_its_share_of_what_is_left():
    edges = _edges(2.0)
    assert (((edges > 0.05) & (edges < 1.94)).sum(dim=1) >= SHARES.free).all()


def test_rays_without_depth_are_placed_by_the_grid_over_the_whole_ray():
    edges = _edges(0.0)
    assert (torch.histc(edges, bins=4, min=0.05, max=4.0) > COUNT * 2).all()


def test_depth_beyond_the_box_keeps_samples_within_it():
    edges = _edges(9.0)
    assert edges.max() <= 4.0
