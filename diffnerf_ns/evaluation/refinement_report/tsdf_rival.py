"""The strongest classical rival: Open3D's TSDF of all views, cast back into each. No refiner's code is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffnerf_ns.open3d_library import require_open3d
from diffnerf_ns.refinement.interface import RefinerFrame

FloatMap = npt.NDArray[np.float32]

SMALLEST_VOXEL_M = 0.004
"""Resolution of the surface, metres, unless a pixel sees more at the median depth."""


class TsdfRival:
    """The sensor depth of all views as one surface."""

    def __init__(self, frames: Sequence[RefinerFrame]) -> None:
        """Fuses the frames, which have one size."""
        require_open3d()
        import open3d

        from diffnerf_ns.evaluation.fused_surface import FLIP, fused_surface

        self._flip = FLIP
        surface = fused_surface(
            ((frame.read_depth_z_m(), frame.intrinsics, frame.camera_to_world) for frame in frames), _voxel_m(frames)
        )
        mesh = open3d.t.geometry.TriangleMesh.from_legacy(surface)
        self._scene: Any = None
        if "indices" in mesh.triangle and len(mesh.triangle.indices):
            self._scene = open3d.t.geometry.RaycastingScene()
            self._scene.add_triangles(mesh)

    def cast(self, frame: RefinerFrame) -> FloatMap:
        """z-depth [height, width] of the surface, metres, 0 where the ray meets none."""
        if self._scene is None:
            return np.zeros((frame.height, frame.width), np.float32)
        world_to_camera = np.linalg.inv(frame.camera_to_world @ self._flip)
        rays = self._scene.create_rays_pinhole(frame.intrinsics, world_to_camera, frame.width, frame.height)
        depth_z_m = self._scene.cast_rays(rays)["t_hit"].numpy()
        return np.where(np.isfinite(depth_z_m), depth_z_m, 0).astype(np.float32)


def _voxel_m(frames: Sequence[RefinerFrame]) -> float:
    depths = [depth[depth > 0] for frame in frames if (depth := frame.read_depth_z_m()).any()]
    median_m = float(np.median([np.median(depth) for depth in depths])) if depths else 1.0
    return max(median_m / float(frames[0].intrinsics[0, 0]), SMALLEST_VOXEL_M)
