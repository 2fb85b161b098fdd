"""The same field with Open3D: its blocks of voxels, its triangles, and rays through them. Fast on a CPU."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor

from diffnerf_ns.open3d_library import Open3DLoadError, require_open3d
from diffnerf_ns.refinement.tsdf import BLOCK, in_view, pixel_rays

LAYERS = 4
"""Triangles seen from behind that a ray may pass."""

PAST_M = 1e-3
"""Metres behind such a triangle from which the ray goes on."""

LARGEST_DEPTH_M = 100.0


@functools.cache
def open3d_loads() -> bool:
    """Whether Open3D is there and loads. Where it is there and does not, says so once."""
    if importlib.util.find_spec("open3d") is None:
        return False
    try:
        require_open3d()
    except Open3DLoadError as error:
        warnings.warn(f"{error}. Until then depth is fused with torch, which takes longer.", stacklevel=2)
        return False
    return True


class Open3dTsdf:
    """Signed distances near measured surfaces on the CPU; what `BlockTsdf` and `cast_with_torch` are in torch."""

    def __init__(self, voxel_m: float, truncation_m: float) -> None:
        """Starts empty.

        Args:
            voxel_m: edge of a voxel, metres.
            truncation_m: distance to a surface beyond which it is only known on which side of it a voxel lies, metres.
        """
        import open3d

        self._open3d = open3d
        self.voxel_m, self.truncation_m = voxel_m, truncation_m
        self._multiplier = truncation_m / voxel_m
        self._scene: Any = None
        float32 = open3d.core.float32
        self._grid = open3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight"), (float32, float32), ((1), (1)), voxel_m, BLOCK, 10_000
        )

    def reserve(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Allocates the blocks near a frame's measurements; arguments as in `add`."""
        if bool((depth_z_m > 0).any()):
            camera = self._camera(depth_z_m, intrinsics, camera_to_world)
            blocks = self._grid.compute_unique_block_coordinates(*camera, 1.0, LARGEST_DEPTH_M, self._multiplier)
            self._grid.hashmap().activate(blocks)

    def add(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> None:
        """Fuses one frame into all blocks that it sees, those that it looks through included.

        Args:
            depth_z_m: z-depth [height, width], metres, 0 where missing.
            intrinsics: [3, 3], pixels; (0, 0) is the first pixel's corner.
            camera_to_world: [4, 4], metres, OpenGL axes.
        """
        self.reserve(depth_z_m, intrinsics, camera_to_world)
        self._scene = None
        hashmap = self._grid.hashmap()
        keys = hashmap.key_tensor()[hashmap.active_buf_indices().to(self._open3d.core.int64)]
        blocks = torch.from_numpy(keys.numpy())
        visible = in_view(blocks, BLOCK * self.voxel_m, depth_z_m.shape, intrinsics, camera_to_world)
        if bool(visible.any()):
            seen = self._open3d.core.Tensor(blocks[visible].contiguous().numpy())
            camera = self._camera(depth_z_m, intrinsics, camera_to_world)
            self._grid.integrate(seen, *camera, 1.0, LARGEST_DEPTH_M, self._multiplier)

    def cast(self, intrinsics: Tensor, camera_to_world: Tensor, height: int, width: int, least_weight: float) -> Tensor:
        """z-depth [height, width], metres, of the first surface that each ray meets from the front; 0 where none is."""
        self._scene = self._scene or self._build_scene(least_weight)
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

    def _camera(self, depth_z_m: Tensor, intrinsics: Tensor, camera_to_world: Tensor) -> tuple[Any, Any, Any]:
        """Open3D's image, intrinsics and world-to-camera matrix (axes: y down, z forwards)."""
        tensor = self._open3d.core.Tensor
        downwards = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
        extrinsics = torch.linalg.inv(camera_to_world.double() @ downwards)
        image = self._open3d.t.geometry.Image(tensor(depth_z_m.contiguous().numpy()))
        return image, tensor(intrinsics.double().numpy()), tensor(extrinsics.numpy())

    def _build_scene(self, least_weight: float) -> Any:
        scene = self._open3d.t.geometry.RaycastingScene(nthreads=torch.get_num_threads())
        if self._grid.hashmap().size():
            mesh = self._grid.extract_triangle_mesh(least_weight)
            if "indices" in mesh.triangle and len(mesh.triangle.indices):
                scene.add_triangles(mesh)
        return scene
