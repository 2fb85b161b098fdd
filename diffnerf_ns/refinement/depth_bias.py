"""What each view's depth is off by over whole areas, found from how posed views disagree.

Depth cameras are off by a per cent or so that changes slowly over the picture (Teichman, Miller and Thrun,
"Unsupervised Intrinsic Calibration of Depth Sensors via SLAM", 2013). Fusing views averages that; here it is solved
for: small planes of each view are compared with those that other views have there, and the factors by which depths have
to be multiplied, bilinear over a coarse grid of each picture, are the most likely ones given all differences. Poses may
give way a little, so that their errors are not taken for the sensor's; what they are found to be is not used further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffnerf_ns.refinement.tsdf import rays_through
from diffnerf_ns.refinement.view_votes import overlapping_views

KNOTS = (4, 5)
"""Rows and columns of the grid of factors over a picture."""

PATCHES = (30, 40)
"""Rows and columns of the patches that a picture's depth is taken as planes in."""

LEAST_MEASURED = 0.7
"""Share of a patch's pixels that have depth."""

LARGEST_ROUGHNESS = 0.015
"""Deviation from its plane up to which a patch is flat, as a share of the depth."""

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


@dataclass(frozen=True)
class _Patches:
    """Planes of V views, P in each; pixels have their (0, 0) at the first one's corner."""

    centre_px: Tensor
    """Column and row [V, P, 2]."""
    inverse_z: Tensor
    """1 / z at the centre and its slope per column and per row, 1/metres [V, P, 3]."""
    flat: Tensor
    """Which of them are planes [V, P]."""
    normals: Tensor
    """Unit normals in the camera's OpenGL axes [V, P, 3]."""


@dataclass(frozen=True)
class _Views:
    """What is compared, and what was found so far."""

    patches: _Patches
    sizes: list[tuple[int, int]]
    """Height and width, pixels."""
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
    knots = KNOTS[0] * KNOTS[1]
    found = camera_to_world.new_zeros(len(sizes), knots + POSE_UNKNOWNS, dtype=torch.float64)
    patches = _stacked([_patches_of(depth, matrix) for depth, matrix in zip(depth_z_m, intrinsics, strict=True)])
    for _ in range(ROUNDS):
        poses = _moved(camera_to_world, found[:, knots:])
        views = _Views(patches, sizes, intrinsics, poses, found[:, :knots].float())
        found = found + _improvement(views, compared, found)
    factors = torch.exp(found[:, :knots].float().clamp(-LARGEST_BIAS, LARGEST_BIAS))
    return factors.reshape(-1, *KNOTS)


def _improvement(views: _Views, compared: list[Tensor], found: Tensor) -> Tensor:
    """The step [V, unknowns] to the most likely unknowns, if differences were linear in them."""
    count, unknowns = found.shape
    sigma = found.new_tensor([BIAS_SIGMA] * (unknowns - POSE_UNKNOWNS) + [SHIFT_SIGMA_M] * 3 + [TURN_SIGMA] * 3)
    precision = torch.diag(sigma.square().reciprocal().repeat(count))
    blocks = precision.view(count, unknowns, count, unknowns).movedim(2, 1)
    slope = found / sigma.square()
    for view, others in enumerate(compared):
        if len(others) == 0:
            continue
        difference, weight, own, their = _differences(views, view, others)
        weighted_own, weighted_their = own * weight[..., None], their * weight[..., None]
        blocks[view, view] += torch.einsum("onu,onw->uw", weighted_own, own)
        blocks[others, others] += weighted_their.mT @ their
        cross = weighted_own.mT @ their
        blocks[view, others] += cross
        blocks[others, view] += cross.mT
        slope[view] += torch.einsum("onu,on->u", weighted_own, difference)
        slope[others] += torch.einsum("onu,on->ou", weighted_their, difference)
    step = torch.linalg.solve(precision, -slope.reshape(-1))
    return step.view(count, unknowns)


def _differences(views: _Views, view: int, others: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How far patches of a view lie before those of the others, float64.

    Distances along the others' normals [others, patches] in metres, their weights (0 where nothing can be compared),
    and how they change with the unknowns of the view and of the others [others, patches, unknowns].
    """
    patches, flat = views.patches, views.patches.flat[view]
    centre = patches.centre_px[view, flat]
    own_knots = _knot_weights(centre, views.sizes[view])
    z = torch.exp(own_knots @ views.log_factors[view]) / patches.inverse_z[view, flat, 0]
    pose = views.poses[view]
    ray = (rays_through(centre[:, 0], centre[:, 1], views.intrinsics[view]) * z[:, None]) @ pose[:3, :3].T
    normal = patches.normals[view, flat] @ pose[:3, :3].T
    points = ray + pose[:3, 3]

    turned, eyes, matrices = views.poses[others, :3, :3], views.poses[others, :3, 3], views.intrinsics[others]
    local = (points - eyes[:, None]) @ turned
    ahead = -local[..., 2]
    pixel = _pixels(local, matrices)
    size = pixel.new_tensor([views.sizes[other] for other in others.tolist()])[:, None]
    place = (pixel / size.flip(-1) * pixel.new_tensor([PATCHES[1], PATCHES[0]])).floor().long()
    inside = (ahead > 0.1) & ((place >= 0) & (place < place.new_tensor([PATCHES[1], PATCHES[0]]))).all(-1)
    slot = torch.where(inside, place[..., 1] * PATCHES[1] + place[..., 0], 0)
    other = others[:, None].expand_as(slot)
    plane, middle = patches.inverse_z[other, slot], patches.centre_px[other, slot]
    inverse = plane[..., 0] + ((pixel - middle) * plane[..., 1:]).sum(-1)
    their_knots = torch.stack(
        [_knot_weights(one, views.sizes[index]) for one, index in zip(pixel, others.tolist(), strict=True)]
    )
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
    return difference.double(), weight.double(), own.double(), their.double()


def _changes(ray: Tensor, normal: Tensor, knots: Tensor) -> Tensor:
    """How points at the ends of rays [..., 3] move along normals with the knots' log factors, shift and turn."""
    return torch.cat([(ray * normal).sum(-1, keepdim=True) * knots, normal, torch.linalg.cross(ray, normal)], dim=-1)


def _patches_of(depth_z_m: Tensor, intrinsics: Tensor) -> _Patches:
    """The planes of one view, V = 1: least squares of 1 / z, which is linear over the picture of a plane."""
    height, width = depth_z_m.shape
    rows, columns = torch.nonzero(depth_z_m > 0, as_tuple=True)
    inverse = depth_z_m[rows, columns].double().reciprocal()
    place = rows * PATCHES[0] // height * PATCHES[1] + columns * PATCHES[1] // width
    side = depth_z_m.new_tensor([width / PATCHES[1], height / PATCHES[0]])
    centre = _pixel_centres(*PATCHES, side.device) * side
    offset = (torch.stack([columns, rows], dim=-1) + 0.5 - centre[place]).double()
    basis = torch.cat([torch.ones_like(offset[:, :1]), offset], dim=-1)

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(len(centre), *values.shape[1:]).index_add_(0, place, values)

    matrix = summed(basis[:, :, None] * basis[:, None]) + 1e-9 * torch.eye(3, dtype=basis.dtype, device=basis.device)
    plane = torch.linalg.solve(matrix, summed(basis * inverse[:, None]))
    roughness = ((basis * plane[place]).sum(-1) / inverse - 1.0).square()
    count = matrix[:, 0, 0]
    measured = count / side.prod()
    rough = (summed(roughness[:, None])[:, 0] / count.clamp(min=1)).sqrt()
    flat = (measured > LEAST_MEASURED) & (count > 3) & (rough < LARGEST_ROUGHNESS) & (plane[:, 0] > 0.01)
    plane = plane.float()
    focal, principal = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    # 1 = z (c + a u + b v) with u = cx + fx x / z and v = cy - fy y / z
    along_z = plane[:, 0] + ((principal - centre) * plane[:, 1:]).sum(-1)
    slopes = plane[:, 1:] * focal * plane.new_tensor([1.0, -1.0])
    normals = F.normalize(torch.cat([slopes, -along_z[:, None]], dim=-1), dim=-1)
    return _Patches(centre[None], plane[None], flat[None], normals[None])


def _stacked(patches: list[_Patches]) -> _Patches:
    return _Patches(
        *(torch.cat([getattr(one, name) for one in patches]) for name in ("centre_px", "inverse_z", "flat", "normals"))
    )


def _pixels(local: Tensor, intrinsics: Tensor) -> Tensor:
    """Where points [cameras, n, 3] in their cameras' axes are seen: column and row [cameras, n, 2]."""
    ahead = (-local[..., 2]).clamp(min=0.1)
    column = local[..., 0] / ahead * intrinsics[:, None, 0, 0] + intrinsics[:, None, 0, 2]
    row = -local[..., 1] / ahead * intrinsics[:, None, 1, 1] + intrinsics[:, None, 1, 2]
    return torch.stack([column, row], dim=-1)


def _knot_weights(pixel: Tensor, size: tuple[int, int]) -> Tensor:
    """How far each knot counts at pixels [n, 2] of a picture of size (height, width): [n, knots]."""
    place = pixel / pixel.new_tensor([size[1], size[0]])
    rows, columns = (
        (1.0 - (place[:, axis, None] * (count - 1) - torch.arange(count, device=pixel.device)).abs()).clamp(min=0)
        for axis, count in ((1, KNOTS[0]), (0, KNOTS[1]))
    )
    return (rows[:, :, None] * columns[:, None]).flatten(1)


def _over_picture(factors: Tensor, size: torch.Size) -> Tensor:
    """Factors at the knots as factors at the pixels [height, width]."""
    height, width = size
    pixel = _pixel_centres(height, width, factors.device)
    return (_knot_weights(pixel, (height, width)) @ factors.reshape(-1)).view(height, width)


def _pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """Column and row [height * width, 2] of pixels' centres."""
    rows, columns = torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1).reshape(-1, 2)


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
