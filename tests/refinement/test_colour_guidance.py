"""Depth jumps go where colour has its edges; what members are sure of stays."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.refinement import colour_guidance
from diffnerf_ns.refinement.colour_guidance import guided_by_colour
from diffnerf_ns.refinement.uncertainty import ensemble_median, ensemble_spread

NEAR, FAR = 1.0, 2.0
HEIGHT, WIDTH, EDGE = 12, 20, 10


def _things() -> tuple[Tensor, Tensor]:
    """Depth [1, H, W] and image [1, 3, H, W] of something dark on the left before a bright wall."""
    depth = torch.full((1, HEIGHT, WIDTH), FAR)
    depth[..., :EDGE] = NEAR
    image = torch.full((1, 3, HEIGHT, WIDTH), 0.9)
    image[..., :EDGE] = 0.2
    return depth, image


def _members_off_by(shifts: tuple[int, ...], depth: Tensor) -> Tensor:
    """Members [1, E, H, W] that have the edge so many pixels to the right."""
    return torch.stack([depth.roll(shift, dims=-1).where(torch.arange(WIDTH) > 3, NEAR) for shift in shifts], dim=1)


def test_jumps_move_to_the_edges_of_colour() -> None:
    depth, image = _things()
    members = _members_off_by((0, 1, 1, 2), depth)
    median = ensemble_median(members)
    assert (median[..., EDGE] == NEAR).all()
    guided, _ = guided_by_colour(members, median, image)
    assert guided.equal(depth)


def test_without_an_edge_of_colour_they_stay_where_most_members_have_them() -> None:
    depth, image = _things()
    members = _members_off_by((0, 1, 1, 1), depth)
    median = ensemble_median(members)
    guided, _ = guided_by_colour(members, median, torch.full_like(image, 0.5))
    assert guided.equal(median)


def test_what_members_are_sure_of_stays_and_a_lone_member_is_never_sure() -> None:
    depth, image = _things()
    wrong = _members_off_by((1,), depth)
    same = wrong.expand(1, 4, HEIGHT, WIDTH)
    assert guided_by_colour(same, same[:, 0], image)[0].equal(same[:, 0])
    assert guided_by_colour(wrong, wrong[:, 0], image)[0].equal(depth)


def test_doubt_about_one_jump_does_not_reach_another() -> None:
    depth, image = _things()
    depth, image = torch.cat([depth, depth], dim=-1), torch.cat([image, image], dim=-1)
    certain, doubtful = WIDTH + EDGE, EDGE
    members = depth[:, None].repeat(1, 4, 1, 1)
    members[..., certain] = members[:, :3, :, doubtful] = NEAR
    guided, _ = guided_by_colour(members, ensemble_median(members), image)
    assert (guided[..., certain] == NEAR).all()
    assert (guided[..., doubtful] == FAR).all()


def test_thin_things_stay_if_they_are_seen() -> None:
    depth, image = torch.full((1, HEIGHT, WIDTH), FAR), torch.full((1, 3, HEIGHT, WIDTH), 0.9)
    depth[..., EDGE], image[..., EDGE] = NEAR, 0.1
    lone = depth[:, None]
    assert guided_by_colour(lone, depth, image)[0].equal(depth)
    assert (guided_by_colour(lone, depth, torch.full_like(image, 0.5))[0] == FAR).all()


def test_spread_is_that_of_the_votes_near_jumps_and_the_members_own_elsewhere() -> None:
    depth, image = _things()
    members = _members_off_by((0, 1, 1, 2), depth)
    members[..., :3] *= torch.tensor([0.99, 1.0, 1.0, 1.01])[None, :, None, None]
    _, spread = guided_by_colour(members, ensemble_median(members), image)
    torch.testing.assert_close(spread[..., :3], ensemble_spread(members)[..., :3])
    assert (spread[..., EDGE] > 0.3).all()
    assert (spread[..., EDGE - 1] < 0.1).all()
    assert (spread[..., 15:] == 0).all()


def test_images_do_not_mix_and_flat_ones_come_back_as_they_are() -> None:
    depth, image = _things()
    flat = torch.full_like(depth, 1.5)
    members = torch.cat([_members_off_by((0, 1, 1, 2), depth), flat[:, None].expand(1, 4, HEIGHT, WIDTH)])
    guided, spread = guided_by_colour(members, ensemble_median(members), torch.cat([image, image]))
    assert guided[0].equal(depth[0])
    assert guided[1].equal(flat[0])
    assert not spread[1].any()


def test_compiled_votes_choose_what_torch_chooses(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    depth, image = (torch.cat([one, one], dim=0) for one in _things())
    image = (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    members = depth[:, None] * (1.0 + 0.05 * torch.randn(2, 4, HEIGHT, WIDTH, generator=generator))
    members[1, :, :6] = depth[1, :6]
    median = ensemble_median(members)
    chosen = {}
    for compiled in (True, False):
        monkeypatch.setattr(colour_guidance, "compiles_for", lambda _, compiled=compiled: compiled)
        chosen[compiled] = guided_by_colour(members, median, image)
    assert (chosen[True][0] != median).float().mean() > 0.5
    torch.testing.assert_close(chosen[True][0], chosen[False][0], atol=0, rtol=0)
    torch.testing.assert_close(chosen[True][1], chosen[False][1], atol=1e-6, rtol=1e-5)
