"""Rooms as a whole: geometry that agrees between views, light that behaves, paths that stay clear, determinism."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from diffnerf_ns.captures.synthetic_room import Camera, Room, camera_path, clearance_m, generate_room, render
from diffnerf_ns.captures.synthetic_room.layout import FloorPlan
from diffnerf_ns.captures.synthetic_room.openings import Opening, Wall
from diffnerf_ns.captures.synthetic_room.scene import trace_blocked, trace_nearest

CAMERA = Camera.of_size(80, 60)


@pytest.fixture(scope="module")
def room() -> Room:
    return generate_room(3)


@pytest.fixture(scope="module")
def poses(room):
    return camera_path(room, 24, seed=1)


@pytest.fixture(scope="module")
def frames(room, poses):
    return render(room, poses[:4], CAMERA)


def unproject(depth: torch.Tensor, pose: torch.Tensor, camera: Camera) -> torch.Tensor:
    x = (torch.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = -(torch.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    rays = torch.stack([x.expand(camera.height, -1), y[:, None].expand(-1, camera.width), -torch.ones_like(depth)], -1)
    return (depth[..., None] * rays) @ pose[:3, :3].T.float() + pose[:3, 3].float()


def test_focal_length_follows_from_the_field_of_view() -> None:
    camera = Camera.of_size(200, 100, horizontal_field_of_view_degrees=90.0)
    assert (camera.fx, camera.fy) == (pytest.approx(100.0, rel=1e-6), pytest.approx(100.0, rel=1e-6))
    assert (camera.cx, camera.cy) == (100.0, 50.0)


def test_empty_room_depth_is_the_closed_form_of_its_walls() -> None:
    room = generate_room(0, furniture_amount=0.0)
    assert set(room.furniture) == {"ceiling lamp"}
    pose = torch.eye(4, dtype=torch.float64)[None]
    pose[:, :3, 3] = torch.tensor([0.1, -0.2, 1.3])
    frame = render(room, pose, CAMERA, antialias=False)
    floor = (frame.primitive == 0)[0]
    assert floor.sum() > 1000, "a camera with the identity pose looks straight down"
    assert torch.allclose(frame.depth_z_m[0][floor], torch.tensor(1.3), atol=1e-5)
    assert torch.allclose(frame.normal_world[0][floor], torch.tensor([0.0, 0.0, 1.0]))


def test_points_of_every_view_lie_on_the_surface_that_other_views_see(room, poses, frames) -> None:
    """A point seen by one camera is either seen by another at the same distance or hidden by something nearer."""
    points = unproject(frames.depth_z_m[0], poses[0], CAMERA).reshape(-1, 3)
    seen = (frames.depth_z_m[0] > 0).reshape(-1)
    eye = poses[1, :3, 3].float()
    towards = points[seen] - eye
    distance = towards.norm(dim=1)
    hits = trace_nearest(room.scene, eye[:, None].expand(3, len(towards)).contiguous(), (towards / distance[:, None]).T)
    assert (hits.distance < distance + 2e-3).float().mean() > 0.999
    same = (hits.distance - distance).abs() < 2e-3
    assert 0.3 < same.float().mean() < 1.0


def test_unprojected_points_lie_inside_the_room_or_its_openings(room, poses, frames) -> None:
    half = torch.tensor(room.half_extents)
    for index in range(len(frames.depth_z_m)):
        depth = frames.depth_z_m[index]
        points = unproject(depth, poses[index], CAMERA)[depth > 0] - half * torch.tensor([0.0, 0.0, 1.0])
        assert ((points.abs() - half).amax(1) < 1e-4).float().mean() > 0.8
        assert (points.abs() - half).max() < 2.0


def test_normals_are_unit_and_agree_with_the_view_cosine(poses, frames) -> None:
    hit = frames.depth_z_m > 0
    assert torch.allclose(frames.normal_world[hit].norm(dim=-1), torch.ones(int(hit.sum())), atol=1e-5)
    points = torch.stack([unproject(frames.depth_z_m[n], poses[n], CAMERA) for n in range(4)])
    view = torch.nn.functional.normalize(poses[:4, None, None, :3, 3].float() - points, dim=-1)
    cosine = (view * frames.normal_world).sum(-1)
    assert torch.allclose(cosine[hit], frames.view_cosine[hit], atol=2e-3)
    assert (frames.normal_world[~hit] == 0).all()


def test_every_image_is_in_range_and_has_contrast(frames) -> None:
    for image in (frames.rgb, frames.albedo, frames.specular, frames.view_cosine):
        assert torch.isfinite(image).all()
        assert image.min() >= 0
        assert image.max() <= 1
    assert (frames.rgb.flatten(1, 2).std(1) > 0.06).all()
    assert (frames.rgb.mean((1, 2, 3)) > 0.2).all()
    assert (frames.rgb.mean((1, 2, 3)) < 0.8).all()


def test_antialiasing_changes_edges_only_and_never_depth(room, poses, frames) -> None:
    plain = render(room, poses[:4], CAMERA, antialias=False)
    assert torch.equal(plain.depth_z_m, frames.depth_z_m)
    changed = (plain.rgb - frames.rgb).abs().amax(-1) > 1e-6
    assert 0.02 < changed.float().mean() < 0.75


def test_shadow_lies_under_a_table(room) -> None:
    """Straight rays up from the floor meet what stands there, and nothing where the floor is free."""
    x, y = torch.meshgrid(torch.linspace(-1.5, 1.5, 40), torch.linspace(-1.5, 1.5, 40), indexing="ij")
    origins = torch.stack([x.flatten(), y.flatten(), torch.full_like(x.flatten(), 0.05)])
    up = torch.tensor([[0.0], [0.0], [1.0]]).expand(3, origins.shape[1]).contiguous()
    blocked = trace_blocked(room.scene, origins, up, torch.full((origins.shape[1],), 2.0))
    low, high = room.obstacle_low, room.obstacle_high
    above = ((origins[0, :, None] > low[:, 0]) & (origins[0, :, None] < high[:, 0])).bool()
    above &= (origins[1, :, None] > low[:, 1]) & (origins[1, :, None] < high[:, 1])
    above = (above & (high[:, 2] > 0.05) & (low[:, 2] < 2.05)).any(1)
    assert 0.02 < blocked.float().mean() < 0.6
    assert not (blocked & ~above).any()


def test_highlights_move_with_the_viewer_and_diffuse_colour_does_not(room, poses) -> None:
    first = render(room, poses[:1], CAMERA, antialias=False)
    points = unproject(first.depth_z_m[0], poses[0], CAMERA)
    moved = poses[:1].clone()
    moved[0, :3, 3] += 0.15 * moved[0, :3, 0]
    second = render(room, moved, CAMERA, antialias=False)
    offset = (points.double() - moved[0, :3, 3]) @ moved[0, :3, :3]
    column = CAMERA.cx + CAMERA.fx * offset[..., 0] / -offset[..., 2]
    row = CAMERA.cy - CAMERA.fy * offset[..., 1] / -offset[..., 2]
    inside = (column > 0) & (column < CAMERA.width) & (row > 0) & (row < CAMERA.height)
    r, c = row[inside].long(), column[inside].long()
    same = (second.depth_z_m[0, r, c] + offset[inside][:, 2]).abs() < 0.02
    difference = (first.rgb[0][inside] - second.rgb[0, r, c]).abs().mean(-1)[same]
    assert same.float().mean() > 0.5
    assert difference.median() < 0.05, "a matt wall looks alike from both places"


@pytest.mark.parametrize("seed", range(6))
def test_camera_stays_clear_of_everything(seed) -> None:
    room = generate_room(seed)
    path = camera_path(room, 60, seed)
    assert path.shape == (60, 4, 4)
    assert clearance_m(room, path[:, :3, 3].numpy()).min() > 0.3
    rotation = path[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(60, 3, 3), atol=1e-9)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(60, dtype=torch.float64))


def test_path_is_smooth_and_neighbouring_views_overlap(room) -> None:
    path = camera_path(room, 60)
    step = (path[1:, :3, 3] - path[:-1, :3, 3]).norm(dim=1)
    turn = torch.rad2deg(torch.arccos((path[1:, :3, 2] * path[:-1, :3, 2]).sum(1).clamp(-1, 1)))
    assert step.max() < 0.5
    assert turn.max() < 30, "the field of view is 62 degrees"
    assert (path[:, 2, 3] > 0.8).all()
    assert (path[:, 2, 3] < 2.0).all()


def test_clearance_is_negative_inside_a_thing_and_the_wall_distance_in_the_open() -> None:
    empty = generate_room(0, furniture_amount=0.0)
    half_x = empty.half_extents[0]
    assert clearance_m(empty, np.array([[half_x - 0.2, 0.0, 1.0]]))[0] == pytest.approx(0.2)
    room = generate_room(3)
    middle = ((room.obstacle_low[0] + room.obstacle_high[0]) / 2).numpy()
    assert clearance_m(room, middle[None])[0] < 0


@pytest.mark.parametrize("seed", range(8))
def test_furniture_stands_on_the_floor_and_things_do_not_meet(seed) -> None:
    room = generate_room(seed)
    half = np.array(room.half_extents)
    assert (room.obstacle_low.numpy()[:, 2] > -0.01).all(), "the end of a slanted leg may dip into the floor"
    assert (np.abs(room.obstacle_low.numpy()[:, :2]) <= half[:2] + 1e-6).all()
    assert (np.abs(room.obstacle_high.numpy()[:, :2]) <= half[:2] + 1e-6).all()
    assert (room.obstacle_high.numpy()[:, 2] <= room.height + 1e-6).all()
    assert len(room.furniture) >= 8


def test_a_second_thing_does_not_fit_where_the_first_one_stands() -> None:
    from diffnerf_ns.captures.synthetic_room.assembly import Assembly

    wall = Wall(np.array([0.0, 2.0, 0.0]), np.array([0.0, -1.0, 0.0]), 4.0, 2.5)
    plan = FloorPlan(2.0, 2.0, 2.5, [wall], np.random.default_rng(0))
    crate = Assembly()
    crate.box((0, 0, 0.5), (1.0, 1.0, 1.0), 0)
    assert plan.place("crate", crate, np.array([0.0, 0.0, 0.0]), 0.0)
    assert not plan.place("crate", crate, np.array([0.9, 0.0, 0.0]), 0.0)
    assert plan.place("crate", crate, np.array([1.2, 0.0, 0.0]), 0.0)
    assert not plan.place("crate", crate, np.array([-1.6, 0.0, 0.0]), 0.0), "it would stand in the wall"


def test_wall_frame_and_tall_things_keep_clear_of_windows() -> None:
    from diffnerf_ns.captures.synthetic_room.assembly import Assembly

    wall = Wall(np.array([2.0, 0.0, 0.0]), np.array([-1.0, 0.0, 0.0]), 4.0, 2.5)
    wall.openings.append(Opening(-1.0, 1.0, 0.9, 2.0, is_window=True))
    assert np.allclose(wall.at(0.5, 0.3, 1.0), [1.7, -0.5, 1.0])
    plan = FloorPlan(2.0, 2.0, 2.5, [wall], np.random.default_rng(0))
    low, tall = Assembly(), Assembly()
    low.box((0, 0, 0.4), (2.4, 0.4, 0.8), 0)
    tall.box((0, 0, 1.0), (2.4, 0.4, 2.0), 0)
    assert plan.place_at_wall("tall", tall) is None
    assert plan.place_at_wall("low", low) is wall
    assert plan.placed[0].high[0] == pytest.approx(1.98), "its back stands against the wall"


def test_same_seed_gives_the_same_bytes_and_another_seed_another_room(room, poses, frames) -> None:
    again = render(generate_room(3), camera_path(generate_room(3), 24, seed=1)[:4], CAMERA)
    other = render(generate_room(4), poses[:1], CAMERA)
    alone = render(room, poses[2:3], CAMERA)

    def digest(*images: torch.Tensor) -> str:
        return hashlib.sha256(b"".join(image.numpy().tobytes() for image in images)).hexdigest()

    assert digest(again.rgb, again.depth_z_m) == digest(frames.rgb, frames.depth_z_m)
    assert torch.allclose(alone.depth_z_m[0], frames.depth_z_m[2], atol=1e-5), "a frame stands alone"
    assert not torch.equal(other.rgb[0], frames.rgb[0])


def test_rendering_leaves_torch_threads_as_they_were(room, poses) -> None:
    before = torch.get_num_threads()
    render(room, poses[:2], Camera.of_size(16, 12))
    assert torch.get_num_threads() == before


def test_windows_are_missing_in_depth_and_painted_in_colour() -> None:
    for seed in range(4):
        room = generate_room(seed)
        frames = render(room, camera_path(room, 4), Camera.of_size(64, 48), antialias=False)
        outside = frames.primitive < 0
        assert (frames.depth_z_m[outside] == 0).all()
        assert (frames.depth_z_m[~outside] > 0.2).all()
        if outside.any():
            assert frames.rgb[outside].mean() > 0.02
            return
    pytest.fail("no window was seen in four rooms")


def test_wrong_arguments_are_refused_by_name(room) -> None:
    with pytest.raises(ValueError, match="views must be at least 1, got 0"):
        camera_path(room, 0)
    with pytest.raises(ValueError, match=r"camera_to_world must be \[N, 4, 4\], got \(4, 4\)"):
        render(room, torch.eye(4), CAMERA)
