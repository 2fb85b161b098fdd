"""One surface of many posed depth maps, by Open3D's TSDF."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import open3d

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL camera axes (y up, z backwards) to Open3D's."""

TRUNCATION_VOXELS = 4.0
"""How far from a measurement the surface may be, in voxels."""

FARTHEST_M = 20.0
"""Depth beyond which nothing is fused, metres."""

PosedDepth = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""z-depth [height, width], metres, 0 where missing; pinhole matrix [3, 3], pixels, (0, 0) the first pixel's corner;
camera-to-world pose [4, 4], metres, OpenGL axes."""


def fused_surface(views: Iterable[PosedDepth], voxel_m: float) -> open3d.geometry.TriangleMesh:
    """The surface that posed depth maps show together.

    Args:
        views: depth with its camera; taken one by one.
        voxel_m: resolution, metres.
    """
    integration = open3d.pipelines.integration
    volume = integration.ScalableTSDFVolume(
        voxel_m, TRUNCATION_VOXELS * voxel_m, integration.TSDFVolumeColorType.NoColor
    )
    for depth_z_m, intrinsics, camera_to_world in views:
        height, width = depth_z_m.shape
        image = open3d.geometry.RGBDImage.create_from_color_and_depth(
            open3d.geometry.Image(np.zeros((height, width, 3), np.uint8)),
            open3d.geometry.Image(np.ascontiguousarray(depth_z_m, np.float32)),
            depth_scale=1.0,
            depth_trunc=FARTHEST_M,
            convert_rgb_to_intensity=False,
        )
        (fx, _, cx), (_, fy, cy), _ = intrinsics.tolist()
        # Integration counts pixels from the first one's centre, not from its corner.
        camera = open3d.camera.PinholeCameraIntrinsic(width, height, fx, fy, cx - 0.5, cy - 0.5)
        volume.integrate(image, camera, np.linalg.inv(camera_to_world @ FLIP))
    return volume.extract_triangle_mesh()
