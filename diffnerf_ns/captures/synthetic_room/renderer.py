"""Pictures of a room: colour with soft shadows and anti-aliasing, and exact depth, normals and materials per pixel."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.antialiasing import smooth_edges
from diffnerf_ns.captures.synthetic_room.cores import run_on_cores
from diffnerf_ns.captures.synthetic_room.pixels import Pixels, Shadeable, shade, surfaces_along
from diffnerf_ns.captures.synthetic_room.room import Room
from diffnerf_ns.captures.synthetic_room.shading import tone_map
from diffnerf_ns.captures.synthetic_room.shadows import Received, sample_lights, smooth_over_tiles, tile_slots

RAYS_AT_ONCE = {"cpu": 80_000, "cuda": 8_000_000}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, pixels; (0, 0) is the corner of the first pixel, so its centre is (0.5, 0.5)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def of_size(width: int, height: int, horizontal_field_of_view_degrees: float = 62.0) -> Camera:
        focal = 0.5 * width / float(torch.tan(torch.deg2rad(torch.tensor(horizontal_field_of_view_degrees / 2))))
        return Camera(width, height, focal, focal, width / 2, height / 2)


@dataclass(frozen=True)
class RenderedFrames:
    """N frames of H x W pixels."""

    rgb: Tensor
    """[N, H, W, 3] display colour (sRGB), 0..1."""
    depth_z_m: Tensor
    """[N, H, W] exact depth along the optical axis at pixel centres, metres; 0 where the ray leaves the room."""
    normal_world: Tensor
    """[N, H, W, 3] unit surface normals in the world frame, facing the camera; 0 where there is no surface."""
    view_cosine: Tensor
    """[N, H, W] cosine between the normal and the direction to the camera, 0..1."""
    albedo: Tensor
    """[N, H, W, 3] diffuse reflectance, linear, 0..1."""
    specular: Tensor
    """[N, H, W] how mirror-like the surface is, 0 (matt) .. 1."""
    primitive: Tensor
    """[N, H, W] number of the primitive seen, -1 where there is none."""


def render(
    room: Room,
    camera_to_world: Tensor,
    camera: Camera,
    device: torch.device | str = "cpu",
    antialias: bool = True,
) -> RenderedFrames:
    """Renders a room.

    Args:
        room: from `generate_room`; moved to `device` if it is elsewhere.
        camera_to_world: [N, 4, 4] OpenGL poses (x right, y up, z backwards), metres.
        camera: the intrinsics that all frames share.
        device: where to compute and where the result is.
        antialias: trace three more rays where neighbouring pixels differ. Depth is always that of the pixel centre.
    """
    device = torch.device(device)
    room = room.to(device)
    poses = torch.as_tensor(camera_to_world).to(device=device, dtype=torch.float32)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"camera_to_world must be [N, 4, 4], got {tuple(poses.shape)}")
    at_once = max(1, RAYS_AT_ONCE.get(device.type, RAYS_AT_ONCE["cpu"]) // (camera.width * camera.height))
    jobs = [partial(_render_chunk, room, chunk, camera, antialias) for chunk in poses.split(at_once)]
    chunks = run_on_cores(jobs) if device.type == "cpu" else [job() for job in jobs]
    return RenderedFrames(*(torch.cat([getattr(chunk, f.name) for chunk in chunks]) for f in fields(RenderedFrames)))


def pixel_directions(camera: Camera, device: torch.device) -> Tensor:
    """[H, W, 3] directions through pixel centres in the camera's frame, of length 1 along the optical axis."""
    x = (torch.arange(camera.width, device=device, dtype=torch.float32) + 0.5 - camera.cx) / camera.fx
    y = -(torch.arange(camera.height, device=device, dtype=torch.float32) + 0.5 - camera.cy) / camera.fy
    x, y = x.expand(camera.height, -1), y[:, None].expand(-1, camera.width)
    return torch.stack([x, y, -torch.ones_like(x)], -1)


@torch.no_grad()
def _render_chunk(room: Room, poses: Tensor, camera: Camera, antialias: bool) -> RenderedFrames:
    grid = (len(poses), camera.height, camera.width)
    in_camera = pixel_directions(camera, poses.device)
    length = in_camera.norm(dim=-1)
    directions = torch.einsum("nij,hwj->nhwi", poses[:, :3, :3], in_camera / length[..., None]).reshape(-1, 3)
    origins = poses[:, None, None, :3, 3].expand(*grid, 3).reshape(-1, 3)

    pixels, surface = surfaces_along(room, origins, directions)
    received = _received(room, pixels, surface, grid, camera.fx)
    radiance = shade(room, pixels, surface, Received(*(part[surface.row] for part in received)))
    rgb = tone_map(radiance, room.lighting.exposure)
    if antialias:
        rgb = smooth_edges(room, rgb, pixels, Received(*received), poses, in_camera, grid, camera)

    albedo = torch.zeros_like(directions)
    albedo[surface.row] = surface.albedo
    specular = torch.zeros_like(directions[:, 0])
    specular[surface.row] = surface.specular * (1.0 - surface.roughness) + 0.5 * surface.specular
    depth = torch.where(pixels.primitive >= 0, pixels.distance, 0.0).view(grid) / length
    return RenderedFrames(
        rgb=rgb.view(*grid, 3),
        depth_z_m=depth,
        normal_world=pixels.normal.view(*grid, 3),
        view_cosine=-(pixels.normal * directions).sum(1).clamp(-1.0, 0.0).view(grid),
        albedo=albedo.view(*grid, 3),
        specular=specular.clamp(0.0, 1.0).view(grid),
        primitive=pixels.primitive.view(grid),
    )


def _received(
    room: Room, pixels: Pixels, surface: Shadeable, grid: tuple[int, int, int], focal: float
) -> tuple[Tensor, Tensor]:
    """Lamp visibility [R, L] and ambient radiance [R, 3] of all pixels, smoothed over tiles."""
    slots = tile_slots(*grid, pixels.point.device).reshape(-1)[surface.row]
    sampled = sample_lights(room.scene, room.lighting, room.half_extents, surface.point, surface.normal, slots)
    lamps = sampled.visibility.shape[1]
    values = pixels.point.new_zeros(len(pixels.point), lamps + 3)
    values[surface.row] = torch.cat([sampled.visibility, sampled.ambient], 1)
    pixel_size = torch.where(pixels.primitive >= 0, pixels.distance, 0.0) / focal
    smooth = smooth_over_tiles(
        values.view(*grid, -1), pixels.point.view(*grid, 3), pixels.normal.view(*grid, 3), pixel_size.view(grid)
    ).view(len(values), -1)
    return smooth[:, :lamps], smooth[:, lamps:]
