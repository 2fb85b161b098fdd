"""The diffusion model as stage 1 uses it: reproducible, streamed, and named by what its results depend on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from rich.console import Console

from diffnerf_ns.captures.capture_files import write_depth_png, write_image_png
from diffnerf_ns.refinement import fused_views
from diffnerf_ns.refinement.cache import RefinementCache
from diffnerf_ns.refinement.diffusion_refiner import DiffusionRefiner, fastest_dtype
from diffnerf_ns.refinement.frame_files import StageFrame, refiner_frame
from diffnerf_ns.refinement.fused_views import FusedViews
from diffnerf_ns.refinement.interface import Provenance, RefinedDepth, RefinerFrame, RefinerNotFoundError
from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.stage import load_refiner, refine_frames
from diffnerf_ns.refinement.uncertainty import Calibration, SigmaModel
from diffnerf_ns.refinement.view_blocks import LARGEST_BLOCK, LARGEST_CORE, view_blocks
from diffnerf_ns.refinement.view_evidence import ViewEvidence, evidence_from_views
from diffnerf_ns.refinement.view_fusion import ViewFusion


def posed_frame(index: int, width: int = 24, height: int = 18) -> RefinerFrame:
    """Looks at a wall two metres away, from a place that moves with the index; the sensor sees all but a hole."""
    rng = np.random.default_rng(index)
    depth = np.full((height, width), 2.0, np.float32) + rng.normal(0, 0.005, (height, width)).astype(np.float32)
    depth[4:9, 4 + index % 5 : 9 + index % 5] = 0
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    pose = np.eye(4)
    pose[0, 3] = 0.1 * index
    intrinsics = np.array([[width * 0.9, 0, width / 2], [0, width * 0.9, height / 2], [0, 0, 1.0]])
    return RefinerFrame(f"view_{index}", width, height, intrinsics, pose, lambda: image, lambda: depth)


def refiner(weights: Path, **settings) -> DiffusionRefiner:
    return DiffusionRefiner(RefinerConfig(str(weights), device="cpu", **settings))


def assert_same(first: RefinedDepth, second: RefinedDepth) -> None:
    np.testing.assert_array_equal(first.depth_z_m, second.depth_z_m)
    np.testing.assert_array_equal(first.sigma_z_m, second.sigma_z_m)
    np.testing.assert_array_equal(first.provenance, second.provenance)


def test_a_frame_s_result_is_the_same_alone_with_others_and_in_any_order(tiny_weights: Path) -> None:
    frames = [posed_frame(index) for index in range(4)]
    together = list(refiner(tiny_weights).refine(frames, range(4)))
    backwards = list(refiner(tiny_weights).refine(frames, [3, 2, 1, 0]))[::-1]
    (alone,) = refiner(tiny_weights).refine(frames, [2])
    for first, second in zip(together, backwards, strict=True):
        assert_same(first, second)
    assert_same(alone, together[2])
    (in_batches,) = list(refiner(tiny_weights, batch=3).refine(frames, range(4)))[2:3]
    np.testing.assert_allclose(in_batches.depth_z_m, alone.depth_z_m, atol=0.02)


def test_frames_side_by_side_have_what_the_loaded_pipeline_gives(tiny_weights: Path) -> None:
    frames = [posed_frame(index) for index in range(4)]
    shared = refiner(tiny_weights, steps=3)
    pipeline = shared._loaded()
    pipeline.set_calibration(Calibration(*(SigmaModel(temperature=2.0, relative=0.05) for _ in range(4))))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    scheduler = pipeline.scheduler
    one_by_one = [shared._run(pipeline, [shared._input(frames, index)]) for index in range(4)]
    for expected, found in zip(one_by_one, shared.refine(frames, range(4)), strict=True):
        np.testing.assert_array_equal(found.depth_z_m, expected.depth_z_m[0])
        np.testing.assert_array_equal(found.sigma_z_m, expected.sigma_z_m[0])
    assert pipeline.scheduler is scheduler


def test_what_other_views_look_through_is_replaced(tiny_weights: Path) -> None:
    frames = [posed_frame(index) for index in range(4)]
    depth = frames[1].read_depth_z_m().copy()
    depth[12:15, 12:15] = 1.0
    frames[1] = replace(frames[1], read_depth_z_m=lambda: depth)
    (found,) = refiner(tiny_weights).refine(frames, [1])
    flying = np.zeros_like(depth, dtype=bool)
    flying[12:15, 12:15] = True
    np.testing.assert_array_equal(found.provenance == Provenance.REPLACED, flying)
    np.testing.assert_allclose(found.depth_z_m[flying], 2.0, atol=0.2)


def test_names_do_not_matter_and_the_seed_does(tiny_weights: Path) -> None:
    frame = posed_frame(0)
    (named,) = refiner(tiny_weights).refine([frame], [0])
    (renamed,) = refiner(tiny_weights).refine([replace(frame, name="other")], [0])
    (reseeded,) = refiner(tiny_weights, seed=1).refine([frame], [0])
    assert_same(named, renamed)
    assert not np.array_equal(named.depth_z_m, reseeded.depth_z_m)


def test_frames_of_different_sizes_are_refined_each_in_its_own(tiny_weights: Path) -> None:
    sizes = [(24, 18), (24, 18), (31, 17), (24, 18)]
    frames = [posed_frame(index, *size) for index, size in enumerate(sizes)]
    results = list(refiner(tiny_weights, batch=4).refine(frames, range(4)))
    assert [result.depth_z_m.shape for result in results] == [(height, width) for width, height in sizes]


def test_holes_that_other_views_see_are_known(tiny_weights: Path, tmp_path: Path) -> None:
    silent = DepthRefinementPipeline.from_pretrained(tiny_weights)
    torch.nn.init.zeros_(silent.unet.conv_out.weight)
    silent.save_pretrained(tmp_path)
    frames = [posed_frame(index) for index in range(4)]
    evidence = refiner(tmp_path)._input(frames, 1).evidence
    assert set(evidence) == {"fused_z_m", "support", "violations"}
    hole = frames[1].read_depth_z_m() == 0
    assert (evidence["support"][0].numpy()[hole] >= 2).mean() > 0.5
    np.testing.assert_allclose(np.median(evidence["fused_z_m"][0].numpy()[hole]), 2.0, atol=0.02)
    assert refiner(tmp_path, multiview=False)._input(frames, 1).evidence == {}


def test_stage_1_and_training_see_the_same_evidence() -> None:
    frames = [posed_frame(index) for index in range(4)]
    depth_z_m = np.stack([frame.read_depth_z_m() for frame in frames])
    intrinsics, poses = (
        np.stack([getattr(frame, name) for frame in frames]) for name in ("intrinsics", "camera_to_world")
    )
    expected = evidence_from_views(*(torch.from_numpy(array) for array in (depth_z_m, intrinsics, poses)))
    fused = FusedViews(frames, view_blocks(poses)[0], torch.device("cpu"))
    for index in range(4):
        for name, maps in vars(fused.evidence(index)).items():
            torch.testing.assert_close(maps[0], getattr(expected, name)[index])


def test_several_views_are_looked_at_together_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [posed_frame(index, *size) for index, size in enumerate([(24, 18), (24, 18), (31, 17), (24, 18)])]
    block = view_blocks(np.stack([frame.camera_to_world for frame in frames]))[0]

    def evidence() -> dict[int, ViewEvidence]:
        fused = FusedViews(frames, block, torch.device("cpu"))
        return {index: fused.evidence(index) for index in (1, 0, 2, 3, 3)}

    one_by_one = evidence()
    asked: list[int] = []
    cast = ViewFusion.cast

    def counted(fusion: ViewFusion, intrinsics: torch.Tensor, *camera: Any) -> torch.Tensor:
        asked.append(len(intrinsics))
        return cast(fusion, intrinsics, *camera)

    monkeypatch.setattr(ViewFusion, "cast", counted)
    monkeypatch.setattr(fused_views, "CAMERAS_AT_ONCE", {"cpu": 2})
    for index, found in evidence().items():
        for name, maps in vars(found).items():
            assert torch.equal(maps, getattr(one_by_one[index], name)), (index, name)
    assert asked == [2, 2, 1, 1, 1], "1 and 3; 0 and 1; 2; 3; 3 once more"


@pytest.mark.parametrize("ensemble", [1, 4])
def test_the_steps_lead_from_noise_to_the_result(tiny_weights: Path, ensemble: int) -> None:
    frames = [posed_frame(index, 31, 17) for index in range(2)]
    steps = refiner(tiny_weights, steps=4, ensemble=ensemble).denoising_steps(frames, 1)
    (result,) = refiner(tiny_weights, steps=4, ensemble=ensemble).refine(frames, [1])
    assert len(steps) == 5
    assert all(step.shape == (17, 31) for step in steps)
    np.testing.assert_array_equal(steps[-1], result.depth_z_m)
    assert steps[0].std() > 3 * steps[-1].std()


def test_settings_and_weights_are_part_of_the_fingerprint_and_the_device_is_not(
    tiny_weights: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(tiny_weights, changed)
    (changed / "README.md").write_text("A model card.")
    plain = refiner(tiny_weights).fingerprint()
    assert refiner(changed, batch=7, cache_dir=tmp_path).fingerprint() == plain
    config = changed / "model_index.json"
    config.write_text(config.read_text().replace('"temperature": 1.0', '"temperature": 1.5'))
    others = [refiner(tiny_weights, **{name: 3}) for name in ("steps", "ensemble", "seed")]
    others += [refiner(tiny_weights, multiview=False), refiner(changed)]
    assert len({plain, *(other.fingerprint() for other in others)}) == 6


def test_a_frame_depends_on_the_views_it_is_fused_with(tiny_weights: Path) -> None:
    frames = [posed_frame(index) for index in range(3)]
    assert refiner(tiny_weights).context(frames, 1) == [0, 2]
    assert refiner(tiny_weights, multiview=False).context(frames, 1) == ()


def test_large_captures_are_split_into_blocks_of_neighbours() -> None:
    poses = np.eye(4)[None].repeat(500, axis=0)
    order = np.random.default_rng(0).permutation(500)
    poses[order, 0, 3] = 0.05 * np.arange(500)
    blocks = view_blocks(poses)
    assert sorted(view for block in blocks for view in block.core) == list(range(500))
    for block in blocks:
        assert set(block.core) <= set(block.members)
        assert len(block.core) <= LARGEST_CORE
        assert len(block.members) == LARGEST_BLOCK
        assert np.ptp(poses[list(block.members), 0, 3]) == pytest.approx(0.05 * (LARGEST_BLOCK - 1))
    assert len(view_blocks(poses[:LARGEST_BLOCK])) == 1


def stage_frames(capture: Path, count: int = 4) -> list[StageFrame]:
    intrinsics = np.array([[14.0, 0, 8], [0, 14, 6], [0, 0, 1]])
    frames = []
    for index in range(count):
        image, depth = (capture / folder / f"view_{index:02d}.png" for folder in ("images", "depth"))
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index
        frames.append(StageFrame(f"view_{index:02d}", image, depth, 0.001, 16, 12, intrinsics, pose))
    return frames


def test_stage_1_refines_with_it_and_again_only_what_depends_on_a_change(
    capture: Path, cache_dir: Path, tiny_weights: Path
) -> None:
    def refined_count(**settings) -> int:
        console = Console(file=StringIO())
        model = load_refiner(RefinerConfig(str(tiny_weights), device="cpu", **settings))
        return refine_frames(stage_frames(capture), model, RefinementCache(cache_dir), "c", console).refined_count

    assert [refined_count(), refined_count(), refined_count(multiview=False), refined_count(steps=1)] == [4, 0, 4, 4]
    write_image_png(capture / "images" / "view_01.png", np.zeros((12, 16, 3), np.uint8))
    assert [refined_count(multiview=False), refined_count()] == [1, 1]
    write_depth_png(capture / "depth" / "view_02.png", np.full((12, 16), 1.5))
    assert [refined_count(multiview=False), refined_count()] == [1, 4]


def test_a_warm_start_of_a_hundred_frames_that_see_each_other_adds_less_than_a_second(
    make_capture: Callable[..., Path], cache_dir: Path, tiny_weights: Path
) -> None:
    class Instant(DiffusionRefiner):
        def refine(self, frames, indices):
            for index in indices:
                depth = frames[index].read_depth_z_m()
                yield RefinedDepth(depth, 0.01 * depth, (depth > 0).astype(np.uint8))

    frames = stage_frames(make_capture(count=100), count=100)
    durations = []
    for refined_count in (100, 0):
        model, start = Instant(RefinerConfig(str(tiny_weights), device="cpu")), time.process_time()
        result = refine_frames(frames, model, RefinementCache(cache_dir), "c", Console(file=StringIO()))
        durations.append(time.process_time() - start)
        assert result.refined_count == refined_count
    assert len(model.context([refiner_frame(frame) for frame in frames], 0)) == 99
    assert durations[1] < 1.0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{tmp}", r"holds no model_index\.json: give the folder that has it"),
        ("{tmp}/nothing", "there is no such folder"),
        ("./nothing", "there is no such folder"),
    ],
)
def test_a_folder_without_weights_is_refused(tmp_path: Path, model: str, message: str) -> None:
    with pytest.raises(RefinerNotFoundError, match=message):
        load_refiner(model.format(tmp=tmp_path))


def test_a_hub_id_is_fetched_once_for_its_folder(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, **options: object) -> str:
        asked.append((name, options))
        return str(tiny_weights)

    monkeypatch.setattr(DepthRefinementPipeline, "download", download)
    loaded = DiffusionRefiner(RefinerConfig("somebody/depth-refiner", device="cpu", multiview=False))
    assert len(list(loaded.refine([posed_frame(0)], [0]))) == 1
    assert asked == [("somebody/depth-refiner", {"use_safetensors": True})]


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(DepthRefinementPipeline, "download", fail)
    with pytest.raises(RefinerNotFoundError, match=r"'somebody/depth-refiner' .* \(no route to host\): check the name"):
        load_refiner("somebody/depth-refiner")


@pytest.mark.parametrize("setting", [{"steps": 0}, {"steps": 51}, {"ensemble": 0}, {"batch": -1}])
def test_settings_out_of_range_are_refused(tiny_weights: Path, setting: dict) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=f"refiner.{name} is {setting[name]}: give "):
        refiner(tiny_weights, **setting)


def test_the_network_computes_in_16_bits_only_where_the_device_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(value: bool) -> Callable[[], bool]:
        return lambda: value

    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("diffnerf_ns.refinement.diffusion_refiner.cpu_has_native_bfloat16", answer(native))
        assert fastest_dtype(torch.device("cpu")) == expected
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer(native))
        assert fastest_dtype(torch.device("cuda")) == (torch.bfloat16 if native else torch.float16)
    assert fastest_dtype(torch.device("mps")) == torch.float32
