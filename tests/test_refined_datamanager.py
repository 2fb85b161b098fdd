"""Where the two stages meet: what is refined, when, and what each ray knows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from diffnerf_ns import refined_datamanager
from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import write_depth_png, write_image_png
from diffnerf_ns.captures.capture_frames import open_capture
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.dataparser_frames import stage_frames
from diffnerf_ns.depth_corrections import in_line_with_refined
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig, RefinerConfig
from diffnerf_ns.refinement.cache import RefinementCache
from diffnerf_ns.refinement.frame_files import refiner_frame
from diffnerf_ns.refinement.hole_filter import HoleFilter
from diffnerf_ns.refinement.interface import Provenance, RefinerFrame
from diffnerf_ns.refinement.refined_capture import stage_frame
from diffnerf_ns.refinement.stage import frame_keys

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def refined_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each run of stage 1 refined."""
    counts: list[int] = []
    real = refined_datamanager.refine_frames

    def counting(*arguments):
        result = real(*arguments)
        counts.append(result.refined_count)
        return result

    monkeypatch.setattr(refined_datamanager, "refine_frames", counting)
    return counts


def test_training_depth_is_refined_and_evaluation_depth_is_the_sensor_s(manage: Callable, capture: Path) -> None:
    manager = manage(least_correction_sigmas=0.0)
    sensor = read_depth_z_m(capture / "depth" / "view_00.png", 0.001)
    refined = manager.train_dataset[0]["depth_image"][..., 0].numpy()
    assert (refined > 0).sum() > (sensor > 0).sum() - 1
    assert not np.allclose(refined[sensor > 0], sensor[sensor > 0], atol=1e-3)
    held_out = read_depth_z_m(capture / "depth" / "view_04.png", 0.001)
    np.testing.assert_allclose(manager.eval_dataset[0]["depth_image"][..., 0].numpy(), held_out)
    rays, batch = manager.next_eval(0)
    assert torch.equal(rays.metadata["depth_z"], batch["depth_image"])


def test_rays_keep_measurements_and_take_holes_from_the_refiner(manage: Callable, capture: Path) -> None:
    sensor = read_depth_z_m(capture / "depth" / "view_00.png", 0.001)
    kept, followed = (
        manage(least_correction_sigmas=least, bias_from_refined=False).train_dataset for least in (math.inf, 0.0)
    )
    depth, refined = (dataset.depth_and_sigma(0)[0] for dataset in (kept, followed))
    both = (sensor > 0) & (refined > 0)
    np.testing.assert_array_equal(depth[both], sensor[both])
    np.testing.assert_array_equal(depth[~both], refined[~both])


def test_rays_do_not_keep_measurements_that_the_refiner_has_replaced(
    manage: Callable, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact = RefinementCache.load_again

    def with_a_replaced_row(*arguments: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        depth, sigma, provenance = (array.copy() for array in intact(*arguments))
        depth[3], sigma[3], provenance[3] = 3.3, 0.2, Provenance.REPLACED
        return depth, sigma, provenance

    monkeypatch.setattr(RefinementCache, "load_again", with_a_replaced_row)
    assert (read_depth_z_m(capture / "depth" / "view_00.png", 0.001)[3] > 0).any()
    depth, sigma = manage().train_dataset.depth_and_sigma(0)
    np.testing.assert_allclose(depth[3], 3.3, rtol=1e-6)
    np.testing.assert_allclose(sigma[3], 0.2, rtol=1e-6)


def test_measurements_that_rays_keep_are_in_line_with_the_refiner_as_a_whole(
    manage: Callable, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_refined = []

    def in_line(sensor_z_m: np.ndarray, refined_z_m: np.ndarray) -> np.ndarray:
        seen_refined.append(refined_z_m)
        return in_line_with_refined(sensor_z_m, refined_z_m)

    monkeypatch.setattr(refined_datamanager, "in_line_with_refined", in_line)
    sensor = read_depth_z_m(capture / "depth" / "view_00.png", 0.001)
    depth = manage().train_dataset.depth_and_sigma(0)[0]
    refined = seen_refined[-1]
    both = (sensor > 0) & (refined > 0)
    assert not np.array_equal(depth[both], sensor[both])
    np.testing.assert_array_equal(depth[both], in_line_with_refined(sensor, refined)[both])


def test_evaluation_images_carry_the_truth_and_training_images_do_not(manage: Callable) -> None:
    manager = manage()
    _, batch = manager.next_eval_image(0)
    assert batch["depth_truth"].shape == (12, 16, 1)
    assert "depth_truth" not in manager.next_train(0)[1]


def test_the_first_run_refines_and_the_second_does_not(manage: Callable, refined_counts: list[int]) -> None:
    manage()
    manage()
    assert refined_counts == [4, 0]


def test_training_and_refining_alone_share_the_cache_although_nerfstudio_turns_the_poses(
    manage: Callable, capture: Path
) -> None:
    meta = json.loads((capture / "transforms.json").read_text())
    tilt = np.eye(4)
    tilt[:3, :3] = cv2.Rodrigues(np.array([0.3, -0.2, 0.1]))[0]
    for frame in meta["frames"]:
        frame["transform_matrix"] = (tilt @ np.array(frame["transform_matrix"])).tolist()
    meta["fl_x"] += 1 / 3
    (capture / "transforms.json").write_text(json.dumps(meta))
    turned = manage(model="none").train_dataparser_outputs
    opened = open_capture(capture)
    alone = [stage_frame(frame, opened.metres_per_unit) for frame in opened.frames if not frame.held_out]
    trained = stage_frames(turned)
    assert not np.allclose(turned.cameras.camera_to_worlds[0], alone[0].camera_to_world[:3], atol=1e-2)

    refiner = SeesAll()
    keys = [frame_keys(frames, [refiner_frame(frame) for frame in frames], refiner) for frames in (alone, trained)]
    assert keys[0] == keys[1]


class SeesAll(HoleFilter):
    """A refiner for which poses count."""

    def context(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[int]:
        return [other for other in range(len(frames)) if other != index]


def test_a_changed_image_refines_only_itself(manage: Callable, capture: Path, refined_counts: list[int]) -> None:
    manage()
    write_image_png(capture / "images" / "view_01.png", np.zeros((12, 16, 3), np.uint8))
    write_depth_png(capture / "depth" / "view_05.png", np.full((12, 16), 2.0))
    manage()
    assert refined_counts == [4, 1]


def test_none_is_the_sensor_s_depth_and_touches_no_cache(manage: Callable, capture: Path, cache_dir: Path) -> None:
    manager = manage(model="none")
    sensor = read_depth_z_m(capture / "depth" / "view_00.png", 0.001)
    np.testing.assert_allclose(manager.train_dataset[0]["depth_image"][..., 0].numpy(), sensor)
    assert not cache_dir.exists()


@pytest.mark.parametrize("mode", ["test", "inference"])
def test_evaluating_viewing_exporting_and_rendering_never_refine(
    manage: Callable, refined_counts: list[int], cache_dir: Path, mode: str
) -> None:
    manager = manage(mode)
    assert refined_counts == []
    assert not cache_dir.exists()
    assert len(manager.train_dataset) == 4


def test_all_commands_see_the_same_scene_box(manage: Callable) -> None:
    managers = [manage(mode, model) for mode in ("val", "test") for model in ("none", "hole-filter")]
    boxes = [manager.train_dataset.scene_box.aabb for manager in managers]
    assert all(torch.equal(box, boxes[0]) for box in boxes)


def test_point_clouds_can_be_exported_from_a_loaded_scene(manage: Callable) -> None:
    rays, _ = manage("test").next_train(0)
    assert rays.origins.shape == (64, 3)


def test_nerfstudio_data_may_stand_in_for_ours(manage: Callable, capture: Path) -> None:
    manager = manage(dataparser=NerfstudioDataParserConfig())
    scale = manager.train_dataparser_outputs.dataparser_scale
    sensor = read_depth_z_m(capture / "depth" / "view_00.png", 0.001)
    depth = manager.train_dataset[0]["depth_image"][..., 0].numpy() / scale
    np.testing.assert_allclose(depth[sensor > 0], sensor[sensor > 0], atol=0.03)
    frame = stage_frames(manager.train_dataparser_outputs)[3]
    first = stage_frames(manager.train_dataparser_outputs)[0]
    distance = np.linalg.norm(frame.camera_to_world[:3, 3] - first.camera_to_world[:3, 3])
    assert distance == pytest.approx(0.3, abs=1e-4)


def test_the_default_dataparser_is_ours() -> None:
    assert isinstance(RefinedDepthDataManagerConfig().dataparser, DiffnerfDataParserConfig)


def test_a_result_that_vanishes_while_training_is_named(manage: Callable, cache_dir: Path) -> None:
    manager = manage()
    RefinementCache(cache_dir).clear()
    with pytest.raises(CaptureError, match="refined anew"):
        manager.train_dataset[0]


def test_a_read_only_capture_works(manage: Callable, capture: Path) -> None:
    files = {file: file.stat().st_mtime_ns for file in capture.rglob("*")}
    for file in files:
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        manage().next_train(0)
    finally:
        for file in files:
            file.chmod(0o755 if file.is_dir() else 0o644)
    assert {file: file.stat().st_mtime_ns for file in capture.rglob("*")} == files


def test_a_batch_of_rays_takes_milliseconds(make_capture: Callable, cache_dir: Path) -> None:
    config = RefinedDepthDataManagerConfig(
        data=make_capture(count=20, width=160),
        train_num_rays_per_batch=4096,
        refiner=RefinerConfig("none", cache_dir=cache_dir),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        manager = config.setup(device="cpu", test_mode="val")
        durations = []
        for step in range(20):
            start = time.process_time()
            manager.next_train(step)
            durations.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert np.median(durations) < 0.02


def test_it_loads_no_diffusion_library() -> None:
    code = "import sys, diffnerf_ns.refined_datamanager; print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "'diffusers'" not in result.stdout
    assert "'diffnerf_ns.field" not in result.stdout


BUILDS_MANAGERS = """
import sys
from pathlib import Path
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig, RefinerConfig
capture, cache_dir, weights = sys.argv[1:]
for mode in ("val", "test", "inference"):
    config = RefinedDepthDataManagerConfig(
        data=Path(capture),
        train_num_rays_per_batch=64,
        refiner=RefinerConfig(weights, cache_dir=Path(cache_dir), device="cpu"),
    )
    config.setup(device="cpu", test_mode=mode)
    print("LOADED", *(name for name in ("diffusers", "open3d", "diffnerf_ns.refinement.unet") if name in sys.modules))
"""


def test_the_diffusion_model_is_not_even_imported_where_nothing_is_to_be_refined(
    manage: Callable, capture: Path, cache_dir: Path, tiny_weights: Path
) -> None:
    """Neither in training with a filled cache, nor in ns-eval, ns-viewer and ns-export (test), nor ns-render."""
    manage(model=str(tiny_weights))
    assert len(list(RefinementCache(cache_dir).frame_files())) == 4
    command = [sys.executable, "-c", BUILDS_MANAGERS, str(capture), str(cache_dir), str(tiny_weights)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "4 frames (0 now, 4 from the cache)" in result.stdout
    assert [line for line in result.stdout.splitlines() if line.startswith("LOADED")] == ["LOADED"] * 3
