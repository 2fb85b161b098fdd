"""One block of a capture's frames, fused once and asked about each of its frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffnerf_ns.refinement.depth_bias import without_bias
from diffnerf_ns.refinement.interface import RefinerFrame
from diffnerf_ns.refinement.view_blocks import ViewBlock
from diffnerf_ns.refinement.view_evidence import ViewEvidence, chosen_engine, votes_on_view
from diffnerf_ns.refinement.view_fusion import ViewFusion, fusion_scale
from diffnerf_ns.refinement.view_votes import voters_of, without_contradicted

VIEWS_FOR_SCALE = 16
"""Evenly spaced views that voxel and truncation are chosen from."""

CAMERAS_AT_ONCE = {"cuda": 16}
"""Views from which the surface is looked at together, where that is faster than one by one."""


class FusedViews:
    """What a block's frames together say about each of its frames. Keeps their depth, not their images."""

    def __init__(self, frames: Sequence[RefinerFrame], block: ViewBlock, device: torch.device) -> None:
        """Reads and fuses the block.

        Args:
            frames: all frames of the capture.
            block: which of them to fuse.
            device: where to compute.
        """
        self.block = block
        members = [frames[index] for index in block.members]
        self._place = {index: place for place, index in enumerate(block.members)}
        self._intrinsics = _stacked([frame.intrinsics for frame in members], device)
        self._poses = _stacked([frame.camera_to_world for frame in members], device)
        measured = [torch.from_numpy(frame.read_depth_z_m()).to(device) for frame in members]
        unbiased = without_bias(measured, self._intrinsics, self._poses)
        self._depth_z_m = without_contradicted(unbiased, self._intrinsics, self._poses)
        self._voters = voters_of(self._depth_z_m, self._intrinsics, self._poses)
        self._fusion = ViewFusion(*self._scale(), chosen_engine("auto", device), device)
        self._fusion.add_all(self._depth_z_m, self._intrinsics, self._poses)
        self._seen: dict[int, Tensor] = {}
        """The surface as seen from views that are going to be asked about, by their place."""

    def depth_z_m(self, index: int) -> Tensor:
        """What the sensor measured in the frame at that index [height, width], metres, without what the block says is
        its bias, and 0 where the block contradicts it."""
        return self._depth_z_m[self._place[index]]

    def evidence(self, index: int) -> ViewEvidence:
        """What the block says about the frame at that index, each [1, height, width]."""
        place = self._place[index]
        fused_z_m = self._fused_z_m(place)
        votes = votes_on_view(fused_z_m, self._voters, self._intrinsics, self._poses, place)
        return ViewEvidence(*(one[None] for one in (fused_z_m, *votes)))

    def _fused_z_m(self, place: int) -> Tensor:
        if place not in self._seen:
            size, at_once = self._depth_z_m[place].shape, CAMERAS_AT_ONCE.get(self._poses.device.type, 1)
            coming = (self._place[index] for index in self.block.core if self._place[index] > place)
            alike = [other for other in coming if self._depth_z_m[other].shape == size]
            places = [place, *alike[: at_once - 1]]
            seen = self._fusion.cast(self._intrinsics[places], self._poses[places], *size)
            self._seen = dict(zip(places, seen, strict=True))
        return self._seen.pop(place)

    def _scale(self) -> tuple[float, float]:
        """Voxel and truncation, metres; sizes may differ, so each chosen frame's depth counts as one row of pixels."""
        chosen = range(0, len(self._depth_z_m), max(1, len(self._depth_z_m) // VIEWS_FOR_SCALE))
        depth = torch.cat([self._depth_z_m[place].reshape(-1) for place in chosen])
        return fusion_scale(depth, self._intrinsics, self._poses)


def _stacked(matrices: Sequence[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(matrices)).to(device, torch.float32)
