"""What posed views together say about each one's pixels. Needs torch; Open3D makes it faster on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from diffnerf_ns.refinement.tsdf_open3d import open3d_loads
from diffnerf_ns.refinement.view_fusion import ViewFusion, fusion_scale
from diffnerf_ns.refinement.view_votes import MOST_VOTERS, Voter, count_votes, overlapping_views, voters_of

Engine = Literal["auto", "open3d", "torch"]


@dataclass(frozen=True)
class ViewEvidence:
    """What posed views together say about each view's pixels; float32 [views, height, width]."""

    fused_z_m: Tensor
    """z-depth, metres, of the surface fused from all views, seen from this one; 0 where none is known."""
    support: Tensor
    """Number of other views whose own measurement agrees with the surface at this pixel: the fused one, or the view's
    own where there is none."""
    violations: Tensor
    """Number of other views that look through that surface: they measured something clearly behind it."""


@torch.no_grad()
def evidence_from_views(
    depth_z_m: Tensor,
    intrinsics: Tensor,
    camera_to_world: Tensor,
    engine: Engine = "auto",
) -> ViewEvidence:
    """Fuses views of one room and asks each of them about the others.

    Args:
        depth_z_m: sensor z-depth [views, height, width], metres, 0 where missing.
        intrinsics: [views, 3, 3], pixels; (0, 0) is the first pixel's corner.
        camera_to_world: [views, 4, 4], metres, OpenGL axes.
        engine: what fuses: "open3d" needs Open3D and computes on the CPU, "torch" computes
            where the tensors are, "auto" takes Open3D for tensors on a CPU if it is there and loads.

    Returns:
        Tensors on the device of `depth_z_m`.
    """
    depth, intrinsics, poses = (tensor.float() for tensor in (depth_z_m, intrinsics, camera_to_world))
    views = len(depth)
    for label, tensor, shape in (("intrinsics", intrinsics, (3, 3)), ("camera_to_world", poses, (4, 4))):
        if tensor.shape != (views, *shape):
            raise ValueError(f"{label} is {tuple(tensor.shape)}: {views} views need {(views, *shape)}")
    fusion = ViewFusion(*fusion_scale(depth, intrinsics, poses), chosen_engine(engine, depth.device), depth.device)
    fusion.add_all(depth, intrinsics, poses)
    fused = fusion.cast(intrinsics, poses, *depth.shape[1:])
    voters = voters_of(depth, intrinsics, poses)
    votes = [votes_on_view(fused[view], voters, intrinsics, poses, view) for view in range(views)]
    return ViewEvidence(fused, *(torch.stack(of_views) for of_views in zip(*votes, strict=True)))


def votes_on_view(
    fused_z_m: Tensor, voters: Sequence[Voter], intrinsics: Tensor, camera_to_world: Tensor, view: int
) -> tuple[Tensor, Tensor]:
    """Support and violations [height, width] of a view, as in `ViewEvidence`.

    Args:
        fused_z_m: the fused surface seen from it [height, width], metres, 0 where none is known.
        voters: all views; sizes may differ.
        intrinsics: [views, 3, 3], pixels; (0, 0) is the first pixel's corner.
        camera_to_world: [views, 4, 4], metres, OpenGL axes.
        view: which one is asked about.
    """
    sizes = [(voter.depth_z_m.shape[0], voter.depth_z_m.shape[1]) for voter in voters]
    surface = torch.where(fused_z_m > 0, fused_z_m, voters[view].depth_z_m)
    others = [voters[other] for other in overlapping_views(intrinsics, camera_to_world, sizes, view, MOST_VOTERS)]
    return count_votes(surface, intrinsics[view], camera_to_world[view], others)


def chosen_engine(engine: Engine, device: torch.device) -> Literal["open3d", "torch"]:
    """Which engine looks at the surface on this device."""
    if engine not in get_args(Engine):
        raise ValueError(f"engine is {engine!r}: it must be one of {', '.join(get_args(Engine))}")
    if engine == "open3d" and device.type != "cpu":
        raise ValueError("engine open3d computes on the CPU: move the views there, or use engine torch")
    if engine == "auto":
        return "open3d" if device.type == "cpu" and open3d_loads() else "torch"
    return engine
