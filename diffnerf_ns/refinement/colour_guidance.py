"""Depth jumps where colour has its edges: near a jump, the members of an ensemble vote together with their neighbours.

A weighted median over the members at the pixels around, each with the weight that it is as near and as alike in colour
(for one depth map: Ma et al., "Constant time weighted median filtering", ICCV 2013). Refined depth errs by a pixel or
two at jumps, to one side here and to the other there; the votes' spread tells how far it may be off.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffnerf_ns.cpu_features import compiles_for
from diffnerf_ns.refinement.normalizer import span_around
from diffnerf_ns.refinement.uncertainty import ensemble_spread

REACH_PX = 2
"""Neighbours up to so many pixels away vote."""

DISTANCE_PX = 1.5
"""Distance at which a neighbour's weight has fallen to 61 %."""

COLOUR_DISTANCE = 0.08
"""Distance between colours of 0..1 at which it has."""

LEAST_JUMP = 0.06
"""Depth within reach that differs by more than this share of it is a jump."""

LEAST_DOUBT = 3e-3
"""Where no members within reach differ by more than this share of the depth they are sure of it, and it stays."""

PIXELS_AT_ONCE = 32768


def guided_by_colour(members_z_m: Tensor, depth_z_m: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    """Depth, and the spread of what it was chosen from, [N, H, W]; the members' own spread away from jumps.

    Args:
        members_z_m: depth that each member of the ensembles says [N, E, H, W], metres, above 0.
        depth_z_m: their median [N, H, W], metres.
        colour: images [N, 3, H, W], 0..1.
    """
    spread = ensemble_spread(members_z_m)
    # One member says nothing of its own doubt.
    doubtful = (span_around(spread / depth_z_m, REACH_PX)[1] > LEAST_DOUBT) | (members_z_m.shape[1] == 1)
    guided = depth_z_m.clone()
    if compiles_for(depth_z_m.device.type):
        _vote_compiled(members_z_m, colour, doubtful, guided, spread)
        return guided, spread
    for image in range(len(depth_z_m)):
        for pixels in _near_jumps(depth_z_m[image]).split(PIXELS_AT_ONCE):
            rows, columns = pixels.unbind(1)
            values, weights = _votes(members_z_m[image], colour[image], rows, columns)
            chosen = torch.where(
                doubtful[image, rows, columns], _weighted_median(values, weights), depth_z_m[image, rows, columns]
            )
            guided[image, rows, columns] = chosen
            squares = weights * (values - chosen[:, None]) ** 2
            spread[image, rows, columns] = (squares.sum(dim=1) / weights.sum(dim=1)).sqrt()
    return guided, spread


def _vote_compiled(
    members_z_m: Tensor, colour: Tensor, doubtful: Tensor, guided_z_m: Tensor, spread_z_m: Tensor
) -> None:
    """Writes both results on a CPU, in a fraction of the time; arguments as above."""
    from diffnerf_ns.refinement import colour_guidance_numba

    for image in range(len(guided_z_m)):
        members, colours, pixels, undecided = (
            tensor.contiguous().numpy()
            for tensor in (members_z_m[image], colour[image], _near_jumps(guided_z_m[image]), doubtful[image])
        )
        reach = (REACH_PX, DISTANCE_PX, COLOUR_DISTANCE)
        guided, spread = guided_z_m[image].numpy(), spread_z_m[image].numpy()
        colour_guidance_numba.vote(members, colours, pixels, undecided, *reach, guided, spread)


def _near_jumps(depth_z_m: Tensor) -> Tensor:
    """Rows and columns [P, 2] of pixels of [H, W] that have a jump within reach."""
    nearest, farthest = span_around(depth_z_m[None], REACH_PX)
    return (farthest - nearest > LEAST_JUMP * depth_z_m).nonzero()[:, 1:]


def _votes(members_z_m: Tensor, colour: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """What members [E, H, W] say around pixels, and with which weight: [P, E * neighbours] both."""
    steps = torch.arange(-REACH_PX, REACH_PX + 1, device=rows.device)
    down, right = (step.flatten() for step in torch.meshgrid(steps, steps, indexing="ij"))
    height, width = members_z_m.shape[1:]
    near_rows = (rows[:, None] + down).clamp(0, height - 1)
    near_columns = (columns[:, None] + right).clamp(0, width - 1)
    differences = colour[:, near_rows, near_columns] - colour[:, rows, columns][..., None]
    far = (down**2 + right**2) / DISTANCE_PX**2
    weights = torch.exp(-0.5 * (far + (differences**2).sum(dim=0) / COLOUR_DISTANCE**2))
    values = members_z_m[:, near_rows, near_columns].movedim(0, 1)
    return values.flatten(1), weights.repeat(1, len(members_z_m))


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The least of the values [P, K] below and at which half of the weight lies -> [P]."""
    ordered, order = values.sort(dim=1)
    below = weights.gather(1, order).cumsum(dim=1)
    return ordered.gather(1, (below < 0.5 * below[:, -1:]).sum(dim=1, keepdim=True))[:, 0]
