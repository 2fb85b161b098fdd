"""Looks at a fused surface with Open3D: the field's zero level as triangles, and rays through them. Fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffnerf_ns.refinement.tsdf import BLOCK, BlockTsdf, pixel_rays

LAYERS = 4
"""Triangles seen from behind that a ray may pass."""

PAST_M = 1e-3
"""Metres behind such a triangle from which the ray goes on."""


class Open3dCaster:
    """The surface of a volume as it is now, ready to be looked at from any number of cameras."""

    def __init__(self, volume: BlockTsdf, least_weight: float) -> None:
        """Takes the surface out of the volume; voxels known with less than `least_weight` count as unknown."""
        import open3d

        self._open3d = open3d
        self._scene: Any = None
        mesh = self._mesh(volume, least_weight) if len(volume.coordinates) else None
        if mesh is not None and "indices" in mesh.triangle and len(mesh.triangle.indices):
            self._scene = open3d.t.geometry.RaycastingScene(nthreads=torch.get_num_threads())
            self._scene.add_triangles(mesh)

    def cast(self, intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int) -> Tensor:
        """z-depth [height, width], metres, of the first surface that each ray meets from the front; 0 where none is."""
        if self._scene is None:
            return torch.zeros(height, width)
        rays = (pixel_rays(height, width, intrinsics) @ camera_to_world[:3, :3].T).reshape(-1, 3)
        start = torch.zeros(len(rays))
        found = torch.zeros(len(rays))
        alive = torch.arange(len(rays))
        for _ in range(LAYERS):
            directions = rays[alive]
            origins = camera_to_world[:3, 3] + directions * start[alive, None]
            hit_z, front = self._first_hit(origins, directions)
            hit_z += start[alive]
            found[alive[front]] = hit_z[front]
            behind = ~front & torch.isfinite(hit_z)
            start[alive] = hit_z + PAST_M
            alive = alive[behind]
            if not len(alive):
                break
        return found.view(height, width)

    def _first_hit(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Length along each direction to the first triangle (infinite without one), and whether it faces the camera."""
        rays = torch.cat([origins, directions], 1).float().contiguous().numpy()
        answer = self._scene.cast_rays(self._open3d.core.Tensor(rays), nthreads=torch.get_num_threads())
        length = torch.from_numpy(answer["t_hit"].numpy())
        normals = torch.from_numpy(answer["primitive_normals"].numpy())
        return length, torch.isfinite(length) & ((normals * directions).sum(1) < 0)

    def _mesh(self, volume: BlockTsdf, least_weight: float) -> Any:
        core = self._open3d.core
        blocks = len(volume.coordinates)
        grid = self._open3d.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight"),
            attr_dtypes=(core.float32, core.float32),
            attr_channels=((1), (1)),
            voxel_size=volume.voxel_m,
            block_resolution=BLOCK,
            block_count=blocks,
        )
        slots, _ = grid.hashmap().activate(core.Tensor(volume.coordinates.int().contiguous().numpy()))
        for name, values in (("tsdf", volume.distance), ("weight", volume.weight)):
            x_fastest = values.view(blocks, BLOCK, BLOCK, BLOCK).permute(0, 3, 2, 1)[..., None]
            grid.attribute(name).numpy()[slots.numpy()] = x_fastest.numpy()
        mesh = grid.extract_triangle_mesh(least_weight)
        half_voxel = 0.5 * volume.voxel_m  # Open3D's voxels stand on their corners, ours on their centres
        return mesh.translate(core.Tensor([half_voxel] * 3, core.float32))
