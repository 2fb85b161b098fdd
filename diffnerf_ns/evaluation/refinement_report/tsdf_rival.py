"""The strongest classical rival: Open3D's TSDF of all views, cast back into each. No refiner's code is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffnerf_ns.refinement.interface import RefinerFrame

FloatMap = npt.NDArray[np.float32]

SMALLEST_VOXEL_M = 0.004
"""Resolution of the surface, metres, unless a pixel sees more at the median depth."""

TRUNCATION_VOXELS = 4.0
"""How far from a measurement the surface may be, in voxels."""

FARTHEST_M = 20.0
"""Depth beyond which nothing is fused, metres."""

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL camera axes (y up, z backwards) to Open3D's."""


class TsdfRival:
    """The sensor depth of all views as one surface."""

    def __init__(self, frames: Sequence[RefinerFrame]) -> None:
        """Fuses the frames, which have one size."""
        import open3d

        self._open3d = open3d
        voxel_m = _voxel_m(frames)
        integration = open3d.pipelines.integration
        volume = integration.ScalableTSDFVolume(
            voxel_m, TRUNCATION_VOXELS * voxel_m, integration.TSDFVolumeColorType.NoColor
        )
        for frame in frames:
            volume.integrate(self._rgbd(frame), self._camera(frame), np.linalg.inv(frame.camera_to_world @ FLIP))
        mesh = open3d.t.geometry.TriangleMesh.from_legacy(volume.extract_triangle_mesh())
        self._scene: Any = None
        if "indices" in mesh.triangle and len(mesh.triangle.indices):
            self._scene = open3d.t.geometry.RaycastingScene()
            self._scene.add_triangles(mesh)

    def cast(self, frame: RefinerFrame) -> FloatMap:
        """z-depth [height, width] of the surface, metres, 0 where the ray meets none."""
        if self._scene is None:
            return np.zeros((frame.height, frame.width), np.float32)
        world_to_camera = np.linalg.inv(frame.camera_to_world @ FLIP)
        rays = self._scene.create_rays_pinhole(frame.intrinsics, world_to_camera, frame.width, frame.height)
        depth_z_m = self._scene.cast_rays(rays)["t_hit"].numpy()
        return np.where(np.isfinite(depth_z_m), depth_z_m, 0).astype(np.float32)

    def _rgbd(self, frame: RefinerFrame) -> Any:
        geometry = self._open3d.geometry
        black = geometry.Image(np.zeros((frame.height, frame.width, 3), np.uint8))
        depth = geometry.Image(np.ascontiguousarray(frame.read_depth_z_m(), np.float32))
        return geometry.RGBDImage.create_from_color_and_depth(
            black, depth, depth_scale=1.0, depth_trunc=FARTHEST_M, convert_rgb_to_intensity=False
        )

    def _camera(self, frame: RefinerFrame) -> Any:
        (fx, _, cx), (_, fy, cy), _ = frame.intrinsics.tolist()
        # Integration counts pixels from the first one's centre, not from its corner.
        return self._open3d.camera.PinholeCameraIntrinsic(frame.width, frame.height, fx, fy, cx - 0.5, cy - 0.5)


def _voxel_m(frames: Sequence[RefinerFrame]) -> float:
    depths = [depth[depth > 0] for frame in frames if (depth := frame.read_depth_z_m()).any()]
    median_m = float(np.median([np.median(depth) for depth in depths])) if depths else 1.0
    return max(median_m / float(frames[0].intrinsics[0, 0]), SMALLEST_VOXEL_M)
