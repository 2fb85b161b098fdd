"""What each view's depth is off by over whole areas, found from how posed views disagree.

Depth cameras are off by a per cent or so that changes slowly over the picture (Teichman, Miller and Thrun,
"Unsupervised Intrinsic Calibration of Depth Sensors via SLAM", 2013). Fusing views averages that; here it is solved
for: small planes of each view are compared with those that other views have there, and with the wall or floor that
they are part of; the factors by which depths have to be multiplied, bilinear over a coarse grid of each picture, are
the most likely ones given all differences. They may have a pattern over the picture in common from view to view, if
that makes the differences much likelier. Poses may give way a little, so that their errors are not taken for the
sensor's; what they are found to be is not used further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from diffnerf_ns.refinement.depth_patches import PATCHES, Patches, patches_of_views, pixel_centres
from diffnerf_ns.refinement.large_planes import bends, large_planes
from diffnerf_ns.refinement.tsdf import rays_through
from diffnerf_ns.refinement.view_votes import overlapping_views

KNOTS = (4, 5)
"""Rows and columns of the grid of factors over a picture."""

LEAST_COSINE = 0.2
"""Between a patch's normal and the direction to the camera; less is too slanted to be compared."""

ALIKE_NORMALS = 0.85
"""Cosine of the angle between the normals of patches of one surface, at least."""

LARGEST_DIFFERENCE = 0.04
"""Distance between patches of one surface as a share of the depth, at most."""

MOST_COMPARED = 12
"""Other views that each view is compared with, at most."""

BIAS_SIGMA = 0.0075
"""Standard deviation of the logarithm of a factor."""

PATTERN_SIGMA = 0.005
"""Standard deviation of what it has in common with that of other views at its place in the picture, if anything."""

LEAST_PATTERN_EVIDENCE = 3.0
"""How much likelier, as a logarithm, differences must be with something in common than without."""

SHIFT_SIGMA_M = 0.003
"""Standard deviation of a camera's position along each axis, metres."""

TURN_SIGMA = 0.0015
"""Standard deviation of its direction about each axis, radians."""

DIFFERENCE_SIGMA = (0.003, 0.004)
"""Standard deviation of a distance between patches without any bias: metres, and a share of the depth."""

TAIL = 2.0
"""Such deviations beyond which a difference is taken for another surface more than for a difference."""

PATCHES_PER_OPINION = 20
"""Neighbouring patches that err together, and count as one."""

ROUNDS = 3
"""Times that patches are compared anew with what was found."""

LARGEST_BIAS = 0.04
"""No depth is changed by more than this, as the logarithm of the factor."""

POSE_UNKNOWNS = 6
KNOT_COUNT = KNOTS[0] * KNOTS[1]


@dataclass(frozen=True)
class _Views:
    """What is compared, and what was found so far."""

    patches: Patches
    planes: tuple[Tensor, Tensor]
    """Whose each large plane is [L], and its patches [L, P]; -1 where a plane has fewer of them."""
    sizes_px: Tensor
    """Width and height [V, 2]."""
    intrinsics: Tensor
    """[V, 3, 3], pixels."""
    poses: Tensor
    """[V, 4, 4], metres, OpenGL axes."""
    log_factors: Tensor
    """[V, knots]."""


def without_bias(depth_z_m: Sequence[Tensor] | Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> list[Tensor]:
    """Depth [height, width] of each view without what it is off by over whole areas; 0 stays 0.

    Args:
        depth_z_m: sensor z-depth [height, width] of each view, metres, 0 where missing; sizes may differ.
        intrinsics: [views, 3, 3], pixels; (0, 0) is the first pixel's corner.
        camera_to_world: [views, 4, 4], metres, OpenGL axes.
    """
    depth = [one.float() for one in depth_z_m]
    if len(depth) < 2:
        return depth
    factors = depth_factors(depth, intrinsics.float(), camera_to_world.float())
    return [one * _over_picture(found, one.shape) for one, found in zip(depth, factors, strict=True)]


def depth_factors(depth_z_m: Sequence[Tensor], intrinsics: Tensor, camera_to_world: Tensor) -> Tensor:
    """The factors [views, rows of knots, columns of knots] that depths have to be multiplied by; see `without_bias`."""
    sizes = [(depth.shape[0], depth.shape[1]) for depth in depth_z_m]
    compared = [
        torch.tensor(overlapping_views(intrinsics, camera_to_world, sizes, view, MOST_COMPARED), dtype=torch.long)
        for view in range(len(sizes))
    ]
    found = camera_to_world.new_zeros(len(sizes), KNOT_COUNT + POSE_UNKNOWNS, dtype=torch.float64)
    patches = patches_of_views(depth_z_m, intrinsics)
    planes, sizes_px = _together(large_planes(patches), found.device), intrinsics.new_tensor(sizes).flip(-1)
    prior = _prior(len(sizes), False, found.device)
    for number in range(ROUNDS):
        poses = _moved(camera_to_world, found[:, KNOT_COUNT:])
        evidence = _evidence(
            _Views(patches, planes, sizes_px, intrinsics, poses, found[:, :KNOT_COUNT].float()), compared
        )
        if number == 0:
            alike = _prior(len(sizes), True, found.device)
            gain = _log_evidence(alike, *evidence) - _log_evidence(prior, *evidence)
            prior = alike if gain > LEAST_PATTERN_EVIDENCE else prior
        found = found + _step(found, prior, *evidence)
    factors = torch.exp(found[:, :KNOT_COUNT].float().clamp(-LARGEST_BIAS, LARGEST_BIAS))
    return factors.reshape(-1, *KNOTS)


def _together(planes: list[list[Tensor]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Planes of each view, of different numbers of patches, as `_Views` has them."""
    owner = torch.tensor([view for view, own in enumerate(planes) for _ in own], dtype=torch.long, device=device)
    every = [plane for own in planes for plane in own]
    if not every:
        return owner, torch.zeros(0, 0, dtype=torch.long, device=device)
    return owner, pad_sequence(every, batch_first=True, padding_value=-1)


def _prior(views: int, in_common: bool, device: torch.device) -> Tensor:
    """Precision of the unknowns before anything is compared [views * unknowns, views * unknowns].

    Args:
        views: how many.
        in_common: whether the logarithms of factors have a pattern over the picture in common. Its mean is 0: a factor
            that all depth has in common cannot be told from drifting poses.
        device: where to compute.
    """
    sigma = torch.tensor([BIAS_SIGMA] * KNOT_COUNT + [SHIFT_SIGMA_M] * 3 + [TURN_SIGMA] * 3).to(device, torch.float64)
    prior = torch.diag(sigma.square().reciprocal().repeat(views))
    if in_common:
        shared = PATTERN_SIGMA**2 / (BIAS_SIGMA**2 + views * PATTERN_SIGMA**2) / BIAS_SIGMA**2
        knots = prior.view(views, len(sigma), views, len(sigma))[:, :KNOT_COUNT, :, :KNOT_COUNT]
        knots -= shared * (torch.eye(KNOT_COUNT).to(sigma) - 1.0 / KNOT_COUNT)[:, None]
    return prior


def _log_evidence(prior: Tensor, precision: Tensor, slope: Tensor) -> float:
    """Logarithm of how likely the differences are whatever the unknowns, but for what all priors share.

    Args:
        prior: from `_prior`.
        precision: of the evidence at unknowns of 0, shaped alike.
        slope: of half its squares' sum there [views, unknowns].
    """
    factor_before, factor = torch.linalg.cholesky(prior), torch.linalg.cholesky(prior + precision)
    fit = torch.linalg.solve_triangular(factor, slope.reshape(-1, 1), upper=False).square().sum()
    return float(0.5 * fit + factor_before.diagonal().log().sum() - factor.diagonal().log().sum())


def _step(found: Tensor, prior: Tensor, precision: Tensor, slope: Tensor) -> Tensor:
    """The step [views, unknowns] to the most likely unknowns, if differences were linear in them.

    Args:
        found: where they are.
        prior: from `_prior`.
        precision: of the evidence [views * unknowns, views * unknowns].
        slope: of half its squares' sum there [views, unknowns].
    """
    away = prior @ found.reshape(-1)
    return torch.linalg.solve(prior + precision, -(away + slope.reshape(-1))).view_as(found)


def _evidence(views: _Views, compared: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Precision [V * unknowns, V * unknowns] of what differences between and within views say, and the slope
    [V, unknowns] of half their squares' sum."""
    count, unknowns = len(views.sizes_px), KNOT_COUNT + POSE_UNKNOWNS
    precision = torch.zeros(count * unknowns, count * unknowns, dtype=torch.float64, device=views.poses.device)
    blocks = precision.view(count, unknowns, count, unknowns).movedim(2, 1)
    slope = precision.new_zeros(count, unknowns)
    plane_precision, plane_slope = _bends(views)
    for view, others in enumerate(compared):
        if len(others) == 0:
            continue
        difference, weight, own, their = _differences(views, view, others)
        if not weight.any():
            continue
        blocks[view, view, :KNOT_COUNT, :KNOT_COUNT] += plane_precision[view]
        slope[view, :KNOT_COUNT] += plane_slope[view]
        weighted_own, weighted_their = own * weight[..., None], their * weight[..., None]
        blocks[view, view] += torch.einsum("onu,onw->uw", weighted_own, own)
        blocks[others, others] += weighted_their.mT @ their
        cross = weighted_own.mT @ their
        blocks[view, others] += cross
        blocks[others, view] += cross.mT
        slope[view] += torch.einsum("onu,on->u", weighted_own, difference)
        slope[others] += torch.einsum("onu,on->ou", weighted_their, difference)
    return precision, slope


def _bends(views: _Views) -> tuple[Tensor, Tensor]:
    """What each view's large planes say of its factors together: precision [V, knots, knots] and slope [V, knots]; see
    `large_planes.bends`."""
    count, (owner, planes) = len(views.sizes_px), views.planes
    precision = torch.zeros(count, KNOT_COUNT, KNOT_COUNT, dtype=torch.float64, device=planes.device)
    slope = precision.new_zeros(count, KNOT_COUNT)
    if not len(planes):
        return precision, slope
    patches, view = planes.clamp(min=0), owner[:, None]
    centre = views.patches.centre_px[view, patches]
    knots = _knot_weights(centre, views.sizes_px[view]).double()
    inverse_z = views.patches.inverse_z[view, patches, 0].double()
    log_factors = (knots @ views.log_factors[owner, :, None].double())[..., 0]
    found = bends(inverse_z * torch.exp(-log_factors), centre.double(), knots, planes >= 0)
    for total, parts in zip((precision, slope), found, strict=True):
        total.index_add_(0, owner, parts / PATCHES_PER_OPINION)
    return precision, slope


def _differences(views: _Views, view: int, others: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How far patches of a view lie before those of the others.

    Distances along the others' normals [others, patches] in metres, their weights (0 where nothing can be compared),
    and how they change with the unknowns of the view and of the others [others, patches, unknowns].
    """
    patches, flat = views.patches, views.patches.flat[view]
    centre = patches.centre_px[view, flat]
    own_knots = _knot_weights(centre, views.sizes_px[view])
    z = torch.exp(own_knots @ views.log_factors[view]) / patches.inverse_z[view, flat, 0]
    pose = views.poses[view]
    ray = (rays_through(centre[:, 0], centre[:, 1], views.intrinsics[view]) * z[:, None]) @ pose[:3, :3].T
    normal = patches.normals[view, flat] @ pose[:3, :3].T
    points = ray + pose[:3, 3]

    turned, eyes, matrices = views.poses[others, :3, :3], views.poses[others, :3, 3], views.intrinsics[others]
    local = (points - eyes[:, None]) @ turned
    ahead = -local[..., 2]
    pixel = _pixels(local, matrices)
    size_px = views.sizes_px[others, None]
    place = (pixel / size_px * pixel.new_tensor([PATCHES[1], PATCHES[0]])).floor().long()
    inside = (ahead > 0.1) & ((place >= 0) & (place < place.new_tensor([PATCHES[1], PATCHES[0]]))).all(-1)
    slot = torch.where(inside, place[..., 1] * PATCHES[1] + place[..., 0], 0)
    other = others[:, None].expand_as(slot)
    plane, middle = patches.inverse_z[other, slot], patches.centre_px[other, slot]
    inverse = plane[..., 0] + ((pixel - middle) * plane[..., 1:]).sum(-1)
    their_knots = _knot_weights(pixel, size_px)
    factor = torch.exp(torch.einsum("onk,ok->on", their_knots, views.log_factors[others]))
    their_z = factor / inverse.clamp(min=0.01)
    their_ray = (rays_through(pixel[..., 0], pixel[..., 1], matrices[:, None]) * their_z[..., None]) @ turned.mT
    their_normal = patches.normals[other, slot] @ turned.mT
    difference = ((points - eyes[:, None] - their_ray) * their_normal).sum(-1)

    far = torch.maximum(z.expand_as(their_z), their_z)
    comparable = (
        (inside & patches.flat[other, slot] & (inverse > 0.01))
        & (difference.abs() < LARGEST_DIFFERENCE * far)
        & ((normal * their_normal).sum(-1) > ALIKE_NORMALS)
        & ((normal * F.normalize(ray, dim=-1)).sum(-1).abs() > LEAST_COSINE)
        & ((their_normal * F.normalize(their_ray, dim=-1)).sum(-1).abs() > LEAST_COSINE)
    )
    variance = DIFFERENCE_SIGMA[0] ** 2 + (DIFFERENCE_SIGMA[1] * far).square()
    weight = comparable / (PATCHES_PER_OPINION * (variance + (difference / TAIL).square()))
    own = _changes(ray.expand_as(their_ray), their_normal, own_knots.expand_as(their_knots))
    their = -_changes(their_ray, their_normal, their_knots)
    return difference, weight, own, their


def _changes(ray: Tensor, normal: Tensor, knots: Tensor) -> Tensor:
    """How points at the ends of rays [..., 3] move along normals with the knots' log factors, shift and turn."""
    return torch.cat([(ray * normal).sum(-1, keepdim=True) * knots, normal, torch.linalg.cross(ray, normal)], dim=-1)


def _pixels(local: Tensor, intrinsics: Tensor) -> Tensor:
    """Where points [cameras, n, 3] in their cameras' axes are seen: column and row [cameras, n, 2]."""
    ahead = (-local[..., 2]).clamp(min=0.1)
    column = local[..., 0] / ahead * intrinsics[:, None, 0, 0] + intrinsics[:, None, 0, 2]
    row = -local[..., 1] / ahead * intrinsics[:, None, 1, 1] + intrinsics[:, None, 1, 2]
    return torch.stack([column, row], dim=-1)


def _knot_weights(pixel: Tensor, size_px: Tensor) -> Tensor:
    """How far each knot counts at pixels [..., 2] of pictures that are so wide and high [..., 2]: [..., knots]."""
    place = pixel / size_px
    rows, columns = (
        (1.0 - (place[..., axis, None] * (count - 1) - torch.arange(count, device=pixel.device)).abs()).clamp(min=0)
        for axis, count in ((1, KNOTS[0]), (0, KNOTS[1]))
    )
    return (rows[..., :, None] * columns[..., None, :]).flatten(-2)


def _over_picture(factors: Tensor, size: torch.Size) -> Tensor:
    """Factors at the knots as factors at the pixels [height, width]."""
    height, width = size
    pixel = pixel_centres(height, width, factors.device)
    return (_knot_weights(pixel, pixel.new_tensor([width, height])) @ factors.reshape(-1)).view(height, width)


def _moved(camera_to_world: Tensor, moves: Tensor) -> Tensor:
    """Poses that are shifted, and turned about their own centre, by [V, 6] in the world's axes."""
    shift, turn = moves[:, :3], moves[:, 3:]
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    poses = camera_to_world.clone()
    poses[:, :3, :3] = torch.matrix_exp(generator).float() @ camera_to_world[:, :3, :3]
    poses[:, :3, 3] += shift.float()
    return poses
