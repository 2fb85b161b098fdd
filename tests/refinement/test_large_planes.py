"""Large planes of one view: found where patches continue one another, and straightened by factors on depth."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.refinement.depth_patches import PATCHES, Patches, patches_of_views, pixel_centres
from diffnerf_ns.refinement.large_planes import bends, large_planes

HEIGHT, WIDTH = 120, 160
MATRIX = torch.tensor([[133.0, 0.0, 80.0], [0.0, 133.0, 60.0], [0.0, 0.0, 1.0]])


def wall(distance_m: float, slope: float = 0.0) -> Tensor:
    """z-depth of a wall [HEIGHT, WIDTH] that turns away to the right by its slope per picture width."""
    column = pixel_centres(HEIGHT, WIDTH, torch.device("cpu"))[:, 0].view(HEIGHT, WIDTH) / WIDTH
    return distance_m / (1.0 - slope * column)


def patches(depth_z_m: Tensor) -> Patches:
    return patches_of_views([depth_z_m], MATRIX[None])


def quadratic_knots(found: Patches, members: Tensor) -> Tensor:
    """One factor that counts for nothing in the middle of the picture and for all at its left and right."""
    across = found.centre_px[0, members, 0].double() / WIDTH
    return (2.0 * across - 1.0).square()[:, None]


def bend(inverse_z: Tensor, centre_px: Tensor, knot_weights: Tensor) -> tuple[Tensor, Tensor]:
    """What one plane's bends say."""
    precision, slope = bends(inverse_z[None], centre_px[None], knot_weights[None], torch.ones_like(inverse_z[None]) > 0)
    return precision[0], slope[0]


def factor_of_least_bend(depth_z_m: Tensor) -> float:
    """The logarithm of the factor, which grows quadratically from the middle, that makes the only plane straight."""
    found = patches(depth_z_m)
    ((members,),) = large_planes(found)
    centre, inverse = found.centre_px[0, members].double(), found.inverse_z[0, members, 0].double()
    precision, slope = bend(inverse, centre, quadratic_knots(found, members))
    return float(-slope[0] / precision[0, 0])


def test_a_slanted_wall_is_one_plane_without_bend() -> None:
    found = patches(wall(2.0, 0.4))
    ((members,),) = large_planes(found)
    assert len(members) == PATCHES[0] * PATCHES[1]
    assert abs(factor_of_least_bend(wall(2.0, 0.4))) < 1e-5


def test_a_bent_wall_is_straightened_by_the_factor_that_bent_it() -> None:
    column = pixel_centres(HEIGHT, WIDTH, torch.device("cpu"))[:, 0].view(HEIGHT, WIDTH) / WIDTH
    bias = 0.01 * (2.0 * column - 1.0).square()
    assert abs(factor_of_least_bend(wall(2.0, 0.3) * torch.exp(bias)) + 0.01) < 5e-4


def test_what_stands_before_a_wall_is_not_part_of_it() -> None:
    depth = wall(3.0)
    depth[32:88, 40:108] = 2.0
    found = patches(depth)
    behind, before = sorted(large_planes(found)[0], key=len, reverse=True)
    assert (len(behind), len(before)) == (962, 238)
    assert torch.allclose(1.0 / found.inverse_z[0, before, 0], torch.tensor(2.0))


def test_small_planes_and_missing_depth_say_nothing() -> None:
    depth = torch.zeros(HEIGHT, WIDTH)
    assert large_planes(patches(depth)) == [[]]
    depth[:20, :20] = 2.0  # 25 patches
    assert large_planes(patches(depth)) == [[]]


def test_a_picture_on_the_wall_bends_it_by_little() -> None:
    depth = wall(2.0)
    depth[40:80, 10:40] -= 0.018  # within a step of its neighbours, at one side
    assert abs(factor_of_least_bend(depth)) < 1e-3


def test_a_column_is_not_taken_for_a_bent_wall() -> None:
    across = pixel_centres(HEIGHT, WIDTH, torch.device("cpu"))[:, 0].view(HEIGHT, WIDTH) / WIDTH - 0.5
    depth = 2.0 - torch.sqrt(0.36 - across.square())  # a fifth nearer in the middle than at the sides
    found = patches(depth)
    ((members,),) = large_planes(found)
    centre, inverse = found.centre_px[0, members].double(), found.inverse_z[0, members, 0].double()
    precision, slope = bend(inverse, centre, quadratic_knots(found, members))
    wall_precision, _ = bend(torch.full_like(inverse, 0.5), centre, quadratic_knots(found, members))
    assert float(precision) < 0.2 * float(wall_precision)
    assert torch.isfinite(slope).all()


def test_a_surface_that_is_near_no_plane_says_nothing() -> None:
    found = patches(wall(2.0))
    ((members,),) = large_planes(found)
    centre = found.centre_px[0, members].double()
    jagged = torch.where(torch.arange(len(members)) % 2 == 0, 0.4, 0.6).double()
    precision, slope = bend(jagged, centre, quadratic_knots(found, members))
    assert not precision.any()
    assert not slope.any()


def test_planes_of_any_number_of_patches_are_asked_together() -> None:
    bent = wall(2.0, 0.3) * torch.exp(0.01 * (pixel_centres(HEIGHT, WIDTH, torch.device("cpu"))[:, 0] / WIDTH)).view(
        HEIGHT, WIDTH
    )
    found = patches(bent)
    ((members,),) = large_planes(found)
    centre, inverse = found.centre_px[0, members].double(), found.inverse_z[0, members, 0].double()
    knots = quadratic_knots(found, members)
    some = torch.arange(len(members)) < 500
    few = torch.arange(len(members)) < 30
    members = torch.stack([some, torch.ones_like(few), few])
    together = bends(torch.where(members, inverse, 0.0), centre.expand(3, -1, -1), knots.expand(3, -1, -1), members)
    for number, chosen in enumerate((some, torch.ones_like(few))):
        alone = bend(inverse[chosen], centre[chosen], knots[chosen])
        torch.testing.assert_close((together[0][number], together[1][number]), alone)
        assert alone[0].any()
    assert not together[0][2].any()
    assert not together[1][2].any()
