"""Free space is what views look through: not the surface, not what lies behind it, not what nobody saw."""

from __future__ import annotations

import torch

from diffnerf_ns.field.free_space import free_cells

BOX = torch.tensor([[-2.0, -2.0, -4.0], [2.0, 2.0, 0.0]])
RESOLUTION = 32
WALL_Z = 2.5
SIGMA = 0.02

Rays = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _view(x: float, depth_z: float = WALL_Z) -> Rays:
    """A camera at (x, 0, 0) that looks along -z onto a wall, 60x60 rays with a half opening of 0.5."""
    side = torch.linspace(-0.5, 0.5, 60)
    across = torch.cartesian_prod(side, side)
    directions = torch.cat([across, -torch.ones(len(across), 1)], dim=-1)
    norm = directions.norm(dim=-1, keepdim=True)
    origins = torch.tensor([[x, 0.0, 0.0]]).expand(len(across), 3)
    return origins, directions / norm, depth_z * norm, SIGMA * norm


def _together(*views: Rays) -> Rays:
    origins, directions, depths, sigmas = (torch.cat(tensors) for tensors in zip(*views, strict=True))
    return origins, directions, depths, sigmas


def _is_free(rays: Rays) -> torch.Tensor:
    """[x, y, z] of the cells."""
    return free_cells(*rays, BOX, RESOLUTION).view(RESOLUTION, RESOLUTION, RESOLUTION)


def _at(free: torch.Tensor, x: float, y: float, z: float) -> bool:
    cell = ((torch.tensor([x, y, z]) - BOX[0]) / (BOX[1] - BOX[0]) * RESOLUTION).long()
    return bool(free[tuple(cell.tolist())])


def test_the_space_before_a_wall_is_free_and_the_wall_and_what_lies_behind_it_are_not():
    free = _is_free(_together(_view(-0.3), _view(0.3)))
    assert all(_at(free, 0.0, 0.0, -z) for z in (0.5, 1.0, 1.5, 2.0))
    assert not any(_at(free, 0.0, 0.0, -z) for z in (2.4, 2.5, 2.6, 3.0, 3.9))


def test_no_cell_that_the_wall_touches_or_hides_is_free_and_nearly_all_in_view_before_it_are():
    free = _is_free(_view(0.0))
    centres_z = BOX[0, 2] + (torch.arange(RESOLUTION) + 0.5) * 4.0 / RESOLUTION
    margin = 3 * SIGMA + 3**0.5 * 4.0 / RESOLUTION
    assert not free[:, :, centres_z < -WALL_Z + margin].any()
    middle = slice(RESOLUTION // 2 - 3, RESOLUTION // 2 + 3)
    in_view = (centres_z < -1.0) & (centres_z > -WALL_Z + margin + 4.0 / RESOLUTION)
    assert free[middle, middle][:, :, in_view].all()


def test_what_no_view_looks_at_is_not_free():
    free = _is_free(_view(0.0))
    assert not _at(free, 1.8, 0.0, -1.0)
    assert not _at(free, 0.0, -1.8, -1.0)


def test_a_hole_in_depth_says_nothing_about_its_cone():
    origins, directions, depth, sigma = _view(0.0)
    in_hole = (directions[:, :2] / -directions[:, 2:]).abs().amax(dim=-1, keepdim=True) < 0.2
    free = _is_free((origins, directions, torch.where(in_hole, 0.0, depth), torch.where(in_hole, 0.0, sigma)))
    assert not any(_at(free, 0.05, 0.05, -z) for z in (1.0, 1.5, 2.0))
    assert _at(free, 0.6, 0.0, -2.0)


def test_one_view_that_sees_too_far_does_not_free_the_wall_that_others_measure():
    right = [_view(x) for x in (-0.3, -0.1, 0.1)]
    free = _is_free(_together(*right, _view(0.3, depth_z=3.5)))
    centres_z = BOX[0, 2] + (torch.arange(RESOLUTION) + 0.5) * 4.0 / RESOLUTION
    wall = (centres_z + WALL_Z).abs() < 0.15
    middle = slice(RESOLUTION // 2 - 5, RESOLUTION // 2 + 5)
    assert not free[middle, middle][:, :, wall].any()


def test_one_depth_in_twenty_that_is_too_near_does_not_fill_what_the_others_look_through():
    origins, directions, depth, sigma = _together(*[_view(x) for x in (-0.2, 0.0, 0.2)])
    depth[::20] *= 0.5
    free = _is_free((origins, directions, depth, sigma))
    assert _at(free, 0.0, 0.0, -1.25)


def test_uncertain_depth_keeps_its_distance():
    origins, directions, depth, sigma = _view(0.0)
    free = _is_free((origins, directions, depth, 10 * sigma))
    assert _at(free, 0.0, 0.0, -1.5)
    assert not _at(free, 0.0, 0.0, -2.0)


def test_without_any_depth_nothing_is_free():
    origins, directions, depth, sigma = _view(0.0)
    assert not _is_free((origins, directions, 0 * depth, 0 * sigma)).any()
    assert not _is_free((origins[:0], directions[:0], depth[:0], sigma[:0])).any()
