"""nerfstudio's own commands on a trained room: offline, on a CPU, and with results in metres.

Only training and the viewer run as processes of their own. The other commands are called as their console scripts call
them, in this process, because loading nerfstudio takes longer than most of them.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
import trimesh
from nerfstudio.scripts import eval as ns_eval
from nerfstudio.scripts import exporter as ns_export
from nerfstudio.scripts import render as ns_render
from nerfstudio.scripts import train as ns_train
from scipy.spatial import KDTree

from diffnerf_ns.captures.capture_frames import open_capture
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.captures.room_capture import MakeRoom, write_room_capture

STEPS = 150
MORE_STEPS = 10
WIDTH, HEIGHT, VIEWS = 64, 48, 14


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stock-commands")


@pytest.fixture(scope="module", autouse=True)
def surroundings(workspace: Path) -> Iterator[None]:
    """A working directory and a cache that are no user's, ffmpeg on PATH, and no network."""
    programs = workspace / "programs"
    programs.mkdir()
    (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        patch.setenv("XDG_CACHE_HOME", str(workspace / "cache"))
        patch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}", prepend=":")
        patch.setattr(socket.socket, "connect", connect_to_this_machine_only(socket.socket.connect))
        yield


def connect_to_this_machine_only(connect: Callable) -> Callable:
    def checked_connect(self: socket.socket, address: tuple) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"a stock command wanted to reach {address}")
        connect(self, address)

    return checked_connect


@pytest.fixture(scope="module")
def room(workspace: Path) -> Path:
    return write_room_capture(
        MakeRoom(out=workspace / "room", views=VIEWS, resolution=(WIDTH, HEIGHT), sensor="kinect", held_out=0.15)
    )


@pytest.fixture(scope="module")
def config(workspace: Path, room: Path) -> Path:
    """Of a field that a process of its own trained for a few steps."""
    command = ["ns-train", "diffnerf", "--data", str(room), "--vis", "tensorboard", "--timestamp", "first"]
    command += ["--max-num-iterations", str(STEPS), "--pipeline.datamanager.train-num-rays-per-batch", "1024"]
    outcome = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return workspace / "outputs" / "room" / "diffnerf" / "first" / "config.yml"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls a console script's entry point with a command line."""

    def call_entry_point(entry_point: Callable[[], None], *arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", [entry_point.__module__, *map(str, arguments)])
        entry_point()

    return call_entry_point


@pytest.fixture(scope="module")
def surfaces(room: Path) -> KDTree:
    """Points on the room's exact surfaces, as all views together see them; metres, in the capture's own frame."""
    capture = open_capture(room)
    points = []
    for frame in capture.frames:
        depth = read_depth_z_m(capture.folder / frame.entry["depth_truth_file_path"], capture.metres_per_unit)
        rows, columns = np.nonzero(depth)
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones_like(rows)])
        in_camera = np.linalg.inv(frame.intrinsics) @ pixels * depth[rows, columns] * [[1], [-1], [-1]]
        points.append((frame.camera_to_world[:3, :3] @ in_camera).T + frame.camera_to_world[:3, 3])
    return KDTree(np.concatenate(points))


def in_capture_frame(points: npt.NDArray, config: Path) -> npt.NDArray:
    """Undoes what the dataparser did to the capture's poses."""
    saved = json.loads((config.parent / "dataparser_transforms.json").read_text())
    transform = np.array(saved["transform"])
    return (points / saved["scale"] - transform[:, 3]) @ transform[:, :3]


def test_training_leaves_a_checkpoint_and_needs_no_network(config: Path) -> None:
    assert [file.name for file in (config.parent / "nerfstudio_models").iterdir()] == [f"step-{STEPS - 1:09d}.ckpt"]


def test_training_goes_on_from_a_checkpoint(config: Path, room: Path, workspace: Path, call: Callable) -> None:
    checkpoints = config.parent / "nerfstudio_models"
    arguments = ("--data", room, "--load-dir", checkpoints, "--vis", "tensorboard", "--timestamp", "resumed")
    call(ns_train.entrypoint, "diffnerf", *arguments, "--max-num-iterations", str(MORE_STEPS))
    resumed = workspace / "outputs" / "room" / "diffnerf" / "resumed" / "nerfstudio_models"
    assert [file.name for file in resumed.iterdir()] == [f"step-{STEPS + MORE_STEPS - 1:09d}.ckpt"]


@pytest.mark.parametrize("method", ["diffnerf-raw", "diffnerf-big"])
def test_the_other_methods_train(method: str, room: Path, workspace: Path, call: Callable) -> None:
    arguments = ("--data", room, "--vis", "tensorboard", "--timestamp", "short", "--max-num-iterations", "2")
    call(ns_train.entrypoint, method, *arguments, "--pipeline.datamanager.train-num-rays-per-batch", "64")
    assert list((workspace / "outputs" / "room" / method / "short" / "nerfstudio_models").iterdir())


def test_ns_eval_scores_held_out_views_in_metres(config: Path, workspace: Path, call: Callable) -> None:
    file = workspace / "eval.json"
    call(ns_eval.entrypoint, "--load-config", config, "--output-path", file)
    results = json.loads(file.read_text())["results"]
    assert 10 < results["psnr"] < 50
    assert 0 < results["depth_mae_m"] < 0.5


@pytest.mark.parametrize(
    ("trajectory", "frames"),
    [
        (("interpolate", "--interpolation-steps", "2"), 2),
        (("spiral", "--seconds", "1", "--frame-rate", "3"), 3),
    ],
)
def test_ns_render_writes_a_video(
    trajectory: tuple[str, ...], frames: int, config: Path, workspace: Path, call: Callable
) -> None:
    video = workspace / f"{trajectory[0]}.mp4"
    call(ns_render.entrypoint, *trajectory, "--load-config", config, "--output-path", video)
    pictures = imageio.imread(video)
    assert pictures.shape == (frames, HEIGHT, WIDTH, 3)
    assert pictures.std() > 5


def test_ns_render_follows_a_camera_path(config: Path, workspace: Path, call: Callable) -> None:
    """As the viewer writes it; for this command, no image of the capture is read."""
    camera = {"camera_to_world": np.eye(4).flatten().tolist(), "fov": 60, "aspect": WIDTH / HEIGHT}
    path = {"camera_type": "perspective", "render_width": WIDTH, "render_height": HEIGHT, "seconds": 1}
    file = workspace / "camera_path.json"
    file.write_text(json.dumps({**path, "camera_path": [camera, camera]}))
    arguments = ("--load-config", config, "--camera-path-filename", file, "--output-format", "images")
    call(ns_render.entrypoint, "camera-path", *arguments, "--output-path", workspace / "path")
    assert len(list((workspace / "path").glob("*.jpg"))) == 2


def test_ns_render_renders_the_views_of_the_dataset(config: Path, workspace: Path, call: Callable) -> None:
    output = workspace / "dataset"
    names = ("--rendered-output-names", "rgb", "raw-depth", "normals")
    call(ns_render.entrypoint, "dataset", "--load-config", config, "--output-path", output, *names)
    held_out = json.loads((workspace / "room" / "transforms.json").read_text())["test_filenames"]
    assert len(list((output / "test" / "rgb").iterdir())) == len(held_out)
    assert len(list((output / "test" / "raw-depth").iterdir())) == len(held_out)


def test_ns_export_pointcloud_gives_points_on_the_surfaces(
    config: Path, workspace: Path, surfaces: KDTree, call: Callable
) -> None:
    output = workspace / "pointcloud"
    arguments = ("--load-config", config, "--output-dir", output, "--num-points", "20000")
    call(ns_export.entrypoint, "pointcloud", *arguments, "--save-world-frame", "True")
    cloud = trimesh.load(output / "point_cloud.ply")
    assert isinstance(cloud, trimesh.PointCloud)
    assert len(cloud.vertices) > 15000
    distance = surfaces.query(cloud.vertices)[0]
    assert np.median(distance) < 0.1
    extent = np.ptp(np.percentile(cloud.vertices, [2, 98], axis=0), axis=0)
    true_extent = np.ptp(np.percentile(surfaces.data, [2, 98], axis=0), axis=0)
    np.testing.assert_allclose(extent, true_extent, atol=0.5)


def test_ns_export_poisson_gives_a_mesh_on_the_surfaces(
    config: Path, workspace: Path, surfaces: KDTree, call: Callable
) -> None:
    output = workspace / "poisson"
    arguments = ("--load-config", config, "--output-dir", output, "--num-points", "20000")
    texture = ("--target-num-faces", "2000", "--num-pixels-per-side", "128")
    call(ns_export.entrypoint, "poisson", *arguments, *texture)
    mesh = trimesh.load(output / "poisson_mesh.ply")
    assert isinstance(mesh, trimesh.Trimesh)
    distance = surfaces.query(in_capture_frame(mesh.vertices, config))[0]
    assert np.median(distance) < 0.1
    assert (output / "material_0.png").stat().st_size > 0
    assert isinstance(trimesh.load(output / "mesh.obj", force="mesh"), trimesh.Trimesh)


def test_ns_export_tsdf_gives_a_mesh_in_its_default_box(config: Path, workspace: Path, call: Callable) -> None:
    """Of two metres' side; its voxels behind cameras are nerfstudio's issue 2067, so its shape is not compared."""
    output = workspace / "tsdf"
    texture = ("--target-num-faces", "2000", "--num-pixels-per-side", "128")
    call(ns_export.entrypoint, "tsdf", "--load-config", config, "--output-dir", output, *texture)
    mesh = trimesh.load(output / "tsdf_mesh.ply")
    assert isinstance(mesh, trimesh.Trimesh)
    assert len(mesh.faces) > 1000
    assert np.abs(mesh.vertices).max() <= 1
    assert isinstance(trimesh.load(output / "mesh.obj", force="mesh"), trimesh.Trimesh)


def test_ns_export_cameras_gives_every_pose(config: Path, workspace: Path, call: Callable) -> None:
    output = workspace / "cameras"
    call(ns_export.entrypoint, "cameras", "--load-config", config, "--output-dir", output)
    poses = [json.loads((output / f"transforms_{split}.json").read_text()) for split in ("train", "eval")]
    assert sum(map(len, poses)) == VIEWS


def test_ns_viewer_answers_on_its_port(config: Path, workspace: Path) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["ns-viewer", "--load-config", str(config), "--viewer.websocket-port", str(port)]
    log_file = workspace / "viewer.log"
    with open(log_file, "w") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as viewer:
        try:
            page = wait_for_page(port, viewer, seconds=120)
        finally:
            viewer.send_signal(signal.SIGINT)
            try:
                viewer.wait(timeout=30)
            except subprocess.TimeoutExpired:
                viewer.kill()
    assert b"<html" in page, log_file.read_text()


def wait_for_page(port: int, server: subprocess.Popen, seconds: float) -> bytes:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read()
        except OSError:
            time.sleep(0.5)
        finally:
            connection.close()
    return b""
