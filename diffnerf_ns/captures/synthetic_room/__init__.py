"""Furnished rooms from a seed, ray-cast to RGB with exact depth. Needs torch and numpy only.

    room = generate_room(seed=3)
    poses = camera_path(room, views=60, seed=0)
    frames = render(room, poses, Camera.of_size(320, 240), device="cuda")

World frame: metres, z up, the floor at z = 0. Poses are OpenGL camera-to-world. A depth of 0 is missing: the ray left
through a window. The same seed gives the same bytes on the same machine.
"""

from diffnerf_ns.captures.synthetic_room.camera_path import camera_path, clearance_m
from diffnerf_ns.captures.synthetic_room.renderer import Camera, RenderedFrames, render
from diffnerf_ns.captures.synthetic_room.room import Room, generate_room

__all__ = ["Camera", "RenderedFrames", "Room", "camera_path", "clearance_m", "generate_room", "render"]
