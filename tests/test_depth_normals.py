"""Normals of depth: right on planes, however slanted; unknown at steps, holes and the image's border."""

from __future__ import annotations

import torch

from diffnerf_ns.depth_normals import normals_from_depth

HEIGHT, WIDTH, FOCAL = 12, 16, 14.0
INSIDE = (slice(2, -2), slice(2, -2))


def _rays() -> torch.Tensor:
    """Directions [H, W, 3] of a camera that looks along -z, as long as one unit of z-depth."""
    row, column = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return torch.stack([(column - WIDTH / 2) / FOCAL, (HEIGHT / 2 - row) / FOCAL, -torch.ones_like(row)], dim=-1)


def _plane_depth(normal: torch.Tensor, distance: float) -> torch.Tensor:
    return -distance / (_rays() * normal).sum(dim=-1)


def test_a_plane_has_its_own_normal_wherever_the_window_fits():
    origins = torch.full((HEIGHT, WIDTH, 3), 5.0)
    for direction in ([0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [-0.3, 0.5, 0.9]):
        normal = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
        normals = normals_from_depth(_plane_depth(normal, 2.0), origins, _rays())
        known = normals.any(dim=-1)
        assert known[INSIDE].float().all()
        torch.testing.assert_close(normals[known], normal.expand(int(known.sum()), 3), atol=1e-4, rtol=0)
        assert not known[:2].any()
        assert not known[:, -2:].any()


def test_pixels_near_holes_and_steps_have_none():
    depth = torch.full((HEIGHT, WIDTH), 2.0)
    depth[5, 4] = 0.0
    depth[:, 11:] = 3.0
    known = normals_from_depth(depth, torch.zeros(HEIGHT, WIDTH, 3), _rays()).any(dim=-1)
    assert not known[3:8, 2:7].any()
    assert not known[:, 9:13].any()
    assert known[5, 7]
    assert known[9, 4]


def test_rotated_rays_give_rotated_normals():
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.4, 0.2], [0.4, 0.0, -0.1], [-0.2, 0.1, 0.0]]))
    depth = _plane_depth(torch.tensor([0.0, 0.6, 0.8]), 2.0)
    straight = normals_from_depth(depth, torch.zeros(HEIGHT, WIDTH, 3), _rays())
    turned = normals_from_depth(depth, torch.ones(HEIGHT, WIDTH, 3), _rays() @ turn.T)
    torch.testing.assert_close(turned, straight @ turn.T, atol=1e-4, rtol=0)


def test_random_noise_smaller_than_a_pixel_tilts_normals_little():
    torch.manual_seed(0)
    depth = 2.0 + 0.004 * torch.randn(HEIGHT, WIDTH)
    normals = normals_from_depth(depth, torch.zeros(HEIGHT, WIDTH, 3), _rays())[INSIDE]
    assert normals[..., 2].mean() > 0.999
