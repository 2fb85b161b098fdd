"""Tiny captures that tests train on, break and refine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffnerf_ns.captures.capture_files import FrameToWrite, PinholeIntrinsics, write_capture

WIDTH, HEIGHT = 16, 12
FOCAL = 14.0
WALL_Z_M = 2.0
SHARED_CAPTURES = Path(__file__).resolve().parent.parent.parent / "shared" / "captures"


def tiny_pose(index: int) -> np.ndarray:
    """A camera at (0.1 index, 0, 0) that looks along -z, turned a little about y."""
    angle = 0.02 * index
    pose = np.eye(4)
    pose[0, 0] = pose[2, 2] = np.cos(angle)
    pose[0, 2], pose[2, 0] = np.sin(angle), -np.sin(angle)
    pose[:3, 3] = (0.1 * index, 0.0, 0.0)
    return pose


def tiny_frame(index: int, width: int = WIDTH, height: int = HEIGHT) -> FrameToWrite:
    """A textured wall two metres away, a box in front of it, and a hole of 3x2 pixels in the sensor's depth."""
    rng = np.random.default_rng(index)
    truth = np.full((height, width), WALL_Z_M, np.float32)
    truth[height // 2 :, : width // 3] = 1.2
    sensor = truth + rng.normal(0, 0.004, truth.shape).astype(np.float32)
    sensor[2:4, 9:12] = 0
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return FrameToWrite(f"view_{index:02d}", image, sensor, tiny_pose(index), truth)


@pytest.fixture
def make_capture(tmp_path: Path) -> Callable[..., Path]:
    """Writes a capture of `count` tiny views, the last two held out, and returns its folder."""

    def make(name: str = "capture", count: int = 6, splits: bool = True, width: int = WIDTH) -> Path:
        height = width * HEIGHT // WIDTH
        frames = [tiny_frame(index, width, height) for index in range(count)]
        names = [frame.name for frame in frames]
        focal = FOCAL * width / WIDTH
        intrinsics = PinholeIntrinsics(width, height, focal, focal, width / 2, height / 2)
        split_names = {"train": names[:-2], "val": names[-2:]} if splits else {}
        return write_capture(tmp_path / name, frames, intrinsics, split_names)

    return make


@pytest.fixture
def capture(make_capture: Callable[..., Path]) -> Path:
    """A capture of six tiny views, the last two held out."""
    return make_capture()


@pytest.fixture
def edit_transforms() -> Callable[[Path, Callable[[dict], object]], None]:
    """Changes a capture's transforms.json in place."""

    def edit(capture: Path, change: Callable[[dict], object]) -> None:
        file = capture / "transforms.json"
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))

    return edit


@pytest.fixture
def kitchen_small() -> Path:
    """A real Kinect capture, 160x120; only where the development captures are."""
    folder = SHARED_CAPTURES / "kitchen_small"
    if not folder.is_dir():
        pytest.skip("the development captures are not on this machine")
    return folder


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    """A folder for refined depth that is no user's."""
    return tmp_path / "cache"


CALL_IN_CHILD = """
import importlib.util, pickle, sys
module_name, file, function, rank, arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location(module_name, file)
sys.modules[module_name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
getattr(module, function)(int(rank), *pickle.loads(bytes.fromhex(arguments)))
"""


@pytest.fixture
def run_two_processes() -> Callable[..., list[int | None]]:
    """Runs `target(rank, *arguments)` in two processes with the environment that launchers give; their exit codes.

    They start afresh: what was forked from a process with Open3D's threads in it crashes. A process that takes longer
    than three minutes is killed.
    """
    import os
    import pickle
    import socket
    import subprocess
    import sys

    def run(target: Callable[..., object], *arguments: object) -> list[int | None]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        call = [target.__module__, target.__code__.co_filename, target.__name__]
        processes = []
        for rank in (0, 1):
            command = [sys.executable, "-c", CALL_IN_CHILD, *call, str(rank), pickle.dumps(arguments).hex()]
            variables = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(subprocess.Popen(command, env=variables, cwd=Path(__file__).parent.parent))
        for process in processes:
            try:
                process.wait(timeout=180)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return [process.returncode for process in processes]

    return run


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a diffusion refiner of a few channels, untrained."""
    import torch

    from diffnerf_ns.refinement.noise_schedule import default_scheduler
    from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
    from diffnerf_ns.refinement.unet import DepthRefinementUNet

    torch.manual_seed(0)
    unet = DepthRefinementUNet(block_out_channels=(8, 8), layers_per_block=1, full_resolution_channels=8)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    folder = tmp_path_factory.mktemp("weights")
    DepthRefinementPipeline(unet, default_scheduler()).save_pretrained(folder)
    return folder


@pytest.fixture
def manage(capture: Path, cache_dir: Path) -> Callable:
    """Builds the data manager of the tiny capture."""
    from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig
    from diffnerf_ns.refinement.refiner_config import RefinerConfig

    def build(mode: str = "val", model: str = "hole-filter", **settings):
        config = RefinedDepthDataManagerConfig(
            **{"data": capture, "train_num_rays_per_batch": 64, "eval_num_rays_per_batch": 32, **settings},
            refiner=RefinerConfig(model, cache_dir=cache_dir),
        )
        return config.setup(device="cpu", test_mode=mode)

    return build


@pytest.fixture
def mask_left(capture: Path, edit_transforms: Callable) -> Callable[[int], None]:
    """Masks the left columns of every image of the tiny capture."""

    def mask_columns(columns: int) -> None:
        (capture / "masks").mkdir()
        mask = np.full((12, 16), 255, np.uint8)
        mask[:, :columns] = 0

        def add_masks(meta: dict) -> None:
            for frame in meta["frames"]:
                frame["mask_path"] = frame["file_path"].replace("images", "masks")
                cv2.imwrite(str(capture / frame["mask_path"]), mask)

        edit_transforms(capture, add_masks)

    return mask_columns


@pytest.fixture
def without_libx11(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Debian without libX11, which Open3D's wheel is linked against."""
    (tmp_path / "open3d.py").write_text("raise OSError('libX11.so.6: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
