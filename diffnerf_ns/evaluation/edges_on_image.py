"""Whether depth jumps where the picture changes. Needs no reference depth, and so can judge one."""

from __future__ import annotations

from torch import Tensor

from diffnerf_ns.evaluation.depth_metrics import jumps_along

FAR_STEPS = (-5, -4, 4, 5)
"""Pixels across an edge at which the picture's contrast is what it is anywhere near."""

LEAST_CONTRAST = 1e-3
"""Mean brightness step near edges, of 0..1, below which a picture tells nothing."""


def image_edge_ratio(depth_z_m: Tensor, image: Tensor) -> float | None:
    """Mean brightness step where depth jumps by more than 5 % between two pixels, over that 4 and 5 pixels beside it.

    1 where depth edges have nothing to do with the picture, the more the better they fit it; None without any edge, and
    where the picture shows nothing near them.

    Args:
        depth_z_m: z-depth [height, width], metres, 0 where missing.
        image: colour [height, width, 3], 8 bit.
    """
    reach = max(FAR_STEPS)
    brightness = image.double().mean(dim=-1) / 255.0
    at_edges, beside, count = 0.0, 0.0, 0
    for depth, grey in ((depth_z_m, brightness), (depth_z_m.T, brightness.T)):
        contrast = (grey[:, 1:] - grey[:, :-1]).abs()
        width = contrast.shape[1] - 2 * reach
        if width <= 0:
            continue
        edges = jumps_along(depth, 1)[:, reach : reach + width]
        at_edges += contrast[:, reach : reach + width][edges].sum().item()
        for step in FAR_STEPS:
            shifted = contrast[:, reach + step : reach + step + width]
            beside += shifted[edges].sum().item() / len(FAR_STEPS)
        count += int(edges.sum())
    return at_edges / beside if beside > LEAST_CONTRAST * count else None
