"""A truncated signed distance field in sparse blocks of voxels: many depth maps fused into one surface. Torch alone."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 8
"""Voxels along a block's edge."""

MARGIN_BLOCKS = 12
"""Blocks of free room around what is allocated when the table of blocks grows."""


BLOCKS_AT_ONCE = 20_000


class BlockTsdf:
    """Blocks of 8x8x8 voxels, allocated only near measured surfaces. Frames are added one by one and not kept."""

    def __init__(self, voxel_m: float, truncation_m: float, device: torch.device | str = "cpu") -> None:
        """Starts empty.

        Args:
            voxel_m: edge of a voxel, metres.
            truncation_m: distance to a surface beyond which it is only known on which side of it a voxel lies, metres.
            device: where to compute.
        """
        self.voxel_m, self.truncation_m = voxel_m, truncation_m
        self.device = torch.device(device)
        self.block_m = BLOCK * voxel_m
        self.low = torch.zeros(3, dtype=torch.long, device=self.device)
        """Coordinates of the table's first block, in blocks."""
        self.table = torch.full((1, 1, 1), -1, dtype=torch.long, device=self.device)
        """Index of each block among those allocated, -1 where there is none."""
        self._table_size = torch.ones(3, dtype=torch.long, device=self.device)
        """Its shape, kept where it is compared with: a GPU would be sent it at every look-up."""
        self.coordinates = torch.zeros(0, 3, dtype=torch.long, device=self.device)
        """[blocks, 3] of the allocated blocks, in blocks."""
        self._distance = torch.zeros(0, BLOCK**3, device=self.device)
        self._weight = torch.zeros(0, BLOCK**3, device=self.device)
        steps = (torch.arange(BLOCK, device=self.device, dtype=torch.float32) + 0.5) * voxel_m
        self._voxel_offsets_m = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)

    @property
    def distance(self) -> Tensor:
        """Signed distance [blocks, 512] over truncation_m, -1..1, positive before the surface."""
        return self._distance[: len(self.coordinates)]

    @property
    def weight(self) -> Tensor:
        """Number of measurements [blocks, 512] of each voxel; 0 where it is unknown."""
        return self._weight[: len(self.coordinates)]

    def reserve(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Allocates the blocks near a frame's measurements; arguments as in `add`."""
        touched = self._blocks_near(depth_z_m, intrinsics, camera_to_world)
        if len(touched):
            self._allocate(touched)

    def add(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Fuses one frame into all blocks that it sees, those that it looks through included.

        Args:
            depth_z_m: z-depth [height, width], metres, 0 where missing.
            intrinsics: [3, 3], pixels; (0, 0) is the first pixel's corner.
            camera_to_world: [4, 4], metres, OpenGL axes.
        """
        self.reserve(depth_z_m, intrinsics, camera_to_world)
        visible = in_view(self.coordinates, self.block_m, depth_z_m.shape, intrinsics, camera_to_world)
        for slots in torch.nonzero(visible)[:, 0].split(BLOCKS_AT_ONCE):
            self._update(slots, depth_z_m, intrinsics, camera_to_world)

    def slots_at(self, block_coordinates: Tensor) -> Tensor:
        """Index [...] of the blocks at [..., 3] among those allocated, -1 where there is none."""
        size = self._table_size
        inside_table = block_coordinates - self.low
        inside = ((inside_table >= 0) & (inside_table < size)).all(-1)
        flat = (inside_table[..., 0] * size[1] + inside_table[..., 1]) * size[2] + inside_table[..., 2]
        return torch.where(inside, self.table.view(-1)[torch.where(inside, flat, 0)], -1)

    def _blocks_near(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> Tensor:
        """Coordinates [n, 3] of the blocks within truncation_m of the measured points, along their rays."""
        rows, columns = torch.nonzero(depth_z_m > 0, as_tuple=True)
        if not len(rows):
            return self.coordinates[:0]
        z = depth_z_m[rows, columns]
        rays = rays_through(columns + 0.5, rows + 0.5, intrinsics) @ camera_to_world[:3, :3].T
        length = rays.norm(dim=1)
        count = 1 + int(2 * self.truncation_m / (0.7 * self.block_m) + 1)
        offsets = torch.linspace(-1, 1, count, device=self.device) * self.truncation_m
        along = (z[:, None] + offsets / length[:, None]).clamp_min(0)
        points = camera_to_world[:3, 3] + rays[:, None] * along[..., None]
        blocks = torch.floor(points.reshape(-1, 3) / self.block_m).long()
        self._grow_table(blocks.amin(0), blocks.amax(0))
        marks = torch.zeros(self.table.shape, dtype=torch.bool, device=self.device)
        marks[tuple((blocks - self.low).T)] = True
        return torch.nonzero(marks) + self.low

    def _grow_table(self, low: Tensor, high: Tensor) -> None:
        end = self.low + self._table_size
        if bool((low >= self.low).all() and (high < end).all()):
            return
        if len(self.coordinates):
            low, high = torch.minimum(low, self.coordinates.amin(0)), torch.maximum(high, self.coordinates.amax(0))
        self.low = low - MARGIN_BLOCKS
        self._table_size = high + MARGIN_BLOCKS + 1 - self.low
        self.table = torch.full(self._table_size.tolist(), -1, dtype=torch.long, device=self.device)
        if len(self.coordinates):
            indices = torch.arange(len(self.coordinates), device=self.device)
            self.table[tuple((self.coordinates - self.low).T)] = indices

    def _allocate(self, blocks: Tensor) -> None:
        slots = self.table[tuple((blocks - self.low).T)]
        new = blocks[slots < 0]
        count = len(self.coordinates) + len(new)
        if count > len(self._distance):
            spare = torch.zeros(max(count, 2 * len(self._distance)) - len(self._distance), BLOCK**3, device=self.device)
            self._distance = torch.cat([self._distance, spare])
            self._weight = torch.cat([self._weight, spare])
        self.table[tuple((new - self.low).T)] = torch.arange(len(self.coordinates), count, device=self.device)
        self.coordinates = torch.cat([self.coordinates, new])

    def _update(self, slots: Tensor, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        height, width = depth_z_m.shape
        rotation = camera_to_world[:3, :3]
        corners = (self.coordinates[slots] * self.block_m - camera_to_world[:3, 3]) @ rotation
        offsets = self._voxel_offsets_m @ rotation
        x, y, z = (corners[:, axis, None] + offsets[None, :, axis] for axis in range(3))
        z = -z
        inverse = z.clamp_min(1e-3).reciprocal()
        column = (x * inverse * intrinsics[0, 0] + intrinsics[0, 2]).floor_()
        row = (-y * inverse * intrinsics[1, 1] + intrinsics[1, 2]).floor_()
        seen = (z > 1e-3) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        pixel = torch.where(seen, row * width + column, 0).long()
        measured = depth_z_m.reshape(-1)[pixel]
        distance = measured - z
        seen &= (measured > 0) & (distance > -self.truncation_m)
        added = seen.float()
        before = self._weight[slots]
        total = before + added
        distance = (distance / self.truncation_m).clamp_(max=1)
        mean = (self._distance[slots] * before + distance * added) / total.clamp_min(1)
        self._distance[slots] = mean
        self._weight[slots] = total


def rays_through(columns: Tensor, rows: Tensor, intrinsics: Tensor) -> Tensor:
    """Directions [..., 3] through pixel coordinates in the camera's OpenGL axes, of length 1 along the optical axis.

    Args:
        columns: [...], pixels; (0, 0) is the first pixel's corner.
        rows: likewise.
        intrinsics: [3, 3], or [..., 3, 3] for cameras that go with the pixels.
    """
    x = (columns - intrinsics[..., 0, 2]) / intrinsics[..., 0, 0]
    y = (intrinsics[..., 1, 2] - rows) / intrinsics[..., 1, 1]
    return torch.stack([x, y, -torch.ones_like(x)], -1)


def pixel_rays(height: int, width: int, intrinsics: Tensor) -> Tensor:
    """Directions [height, width, 3] through pixel centres in OpenGL camera axes, of length 1 along the optical axis."""
    columns = torch.arange(width, device=intrinsics.device) + 0.5
    rows = torch.arange(height, device=intrinsics.device) + 0.5
    return rays_through(columns.expand(height, width), rows[:, None].expand(height, width), intrinsics)


def in_view(blocks: Tensor, block_m: float, size: torch.Size, intrinsics: Tensor, camera_to_world: Tensor) -> Tensor:
    """Which blocks, at [n, 3] in blocks of block_m metres, may project into an image of this size (height, width)."""
    centres = (blocks + 0.5) * block_m - camera_to_world[:3, 3]
    x, y, z = (centres @ camera_to_world[:3, :3]).unbind(1)
    ahead = (-z).clamp_min(block_m)
    column, row = x / ahead * intrinsics[0, 0] + intrinsics[0, 2], -y / ahead * intrinsics[1, 1] + intrinsics[1, 2]
    margin = 2 * block_m / ahead * intrinsics[0, 0]
    height, width = size
    inside = (column > -margin) & (column < width + margin) & (row > -margin) & (row < height + margin)
    return inside & (-z > -block_m)
