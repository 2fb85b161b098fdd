"""The depth that a model renders, as metres along the optical axis."""

from __future__ import annotations

from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from diffnerf_ns.depth_units import metres_from_scene, z_from_ray_length


def rendered_depth_z_m(depth_ray_scene: Tensor, camera: Cameras, scene_units_per_metre: float) -> Tensor:
    """z-depth [height, width, 1], metres, on the CPU.

    Args:
        depth_ray_scene: what the model gave for the camera [height, width, 1], scene units along the ray.
        camera: the only one of its batch.
        scene_units_per_metre: the dataparser's scale.
    """
    norm = camera.generate_rays(camera_indices=0, keep_shape=True).metadata["directions_norm"].cpu()
    return metres_from_scene(z_from_ray_length(depth_ray_scene.cpu(), norm), scene_units_per_metre)
