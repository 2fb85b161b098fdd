"""Depth edges that lie on the picture's have a high ratio; a pixel beside them, or in a grey picture, they do not."""

from __future__ import annotations

import pytest
import torch

from diffnerf_ns.evaluation.edges_on_image import image_edge_ratio

HEIGHT, WIDTH, EDGE = 40, 60, 30


def picture() -> torch.Tensor:
    """A bright right half, with noise of one level per pixel."""
    noise = torch.randint(0, 10, (HEIGHT, WIDTH, 1), generator=torch.Generator().manual_seed(0))
    image = 50 + noise.expand(-1, -1, 3)
    image[:, EDGE:] += 100
    return image.to(torch.uint8)


def depth(edge: int) -> torch.Tensor:
    """A wall at 3 m behind one at 2 m that ends at a column."""
    return torch.where(torch.arange(WIDTH)[None, :] < edge, 2.0, 3.0).repeat(HEIGHT, 1)


def test_edges_on_the_picture_s_are_told_from_edges_beside_them() -> None:
    noise_step = 3.3
    assert image_edge_ratio(depth(EDGE), picture()) == pytest.approx(100 / noise_step, rel=0.15)
    assert image_edge_ratio(depth(EDGE - 1), picture()) == pytest.approx(1.0, rel=0.2)
    assert image_edge_ratio(depth(EDGE).T, picture().transpose(0, 1)) == pytest.approx(100 / noise_step, rel=0.15)


def test_where_nothing_can_be_told_there_is_no_ratio() -> None:
    assert image_edge_ratio(torch.full((HEIGHT, WIDTH), 2.0), picture()) is None
    assert image_edge_ratio(torch.zeros(HEIGHT, WIDTH), picture()) is None
    assert image_edge_ratio(depth(EDGE), torch.full((HEIGHT, WIDTH, 3), 128, dtype=torch.uint8)) is None
    assert image_edge_ratio(depth(EDGE)[:, :8], picture()[:, :8]) is None


def test_missing_depth_makes_no_edge() -> None:
    holed = depth(EDGE - 3)
    holed[:, EDGE - 3 : EDGE] = 0.0
    assert image_edge_ratio(holed, picture()) is None
