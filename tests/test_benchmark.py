"""The benchmark's arithmetic, what it keeps between runs, and one method measured from end to end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig

from diffnerf_ns.captures.capture_frames import open_capture
from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig
from scripts.benchmark import parse_options
from scripts.benchmark_scaling import SAMPLES, fitted_exponent, scaling_jobs, scaling_table
from scripts.benchmarking import jobs
from scripts.benchmarking.curves import compare, evaluation_steps, first_as_good
from scripts.benchmarking.jobs import Job, capture_hash, run_or_load
from scripts.benchmarking.methods import METHODS
from scripts.benchmarking.prepared_capture import (
    chosen_views,
    write_benchmark_capture,
    write_capture_with_reference_depth,
)
from scripts.benchmarking.table import cost_table, markdown_table, quality_table


def point(step: int, wall_s: float, psnr: float, depth_mae_m: float) -> dict[str, float]:
    scores = {"psnr": psnr, "depth_mae_m": depth_mae_m, "render_s_per_view": 0.5 if step == 16 else 10.0}
    return {"step": step, "wall_s": wall_s, "training_s": wall_s - (10.0 if wall_s > 500 else 8.0), **scores}


REFERENCE = {
    "iterations": 1000,
    "rays": 1_024_000,
    "rays_per_s": 800.0,
    "rays_per_s_by_batch": {"1024": 800.0, "4096": 780.0},
    "startup_s": 10.0,
    "training_s": 1190.0,
    "peak_memory_mb": 4000.0,
    "curve": [point(500, 700.0, 17.0, 0.2), point(1000, 1200.0, 19.0, 0.15)],
}
OURS = {
    "iterations": 16,
    "rays": 65_536,
    "rays_per_s": 32000.0,
    "rays_per_s_by_batch": {"1024": 24000.0, "4096": 31200.0},
    "startup_s": 8.0,
    "training_s": 17.0,
    "peak_memory_mb": 1000.0,
    "curve": [point(4, 10.0, 19.5, 0.16), point(8, 12.0, 18.5, 0.10), point(16, 25.0, 19.0, 0.15)],
}


def job(capture: Path, **changes: object) -> Job:
    whole = Job(
        method="diffnerf",
        base="diffnerf",
        settings={},
        refined_depth=False,
        cache_of=None,
        capture=str(capture),
        capture_hash=capture_hash(capture),
        iterations=2,
        rays_per_batch=64,
        seed=3,
        evaluation_ratio=2.0,
        first_evaluation=1,
        held_out_views=1,
        rays_to_time=(32,),
        seconds_to_time=0.01,
    )
    return replace(whole, **changes)


def test_evaluations_are_a_constant_ratio_apart_and_end_with_the_last_step() -> None:
    assert evaluation_steps(1000, ratio=2.0, first=100) == [125, 250, 500, 1000]
    assert evaluation_steps(3, ratio=2.0**0.5, first=1) == [1, 2, 3]
    assert evaluation_steps(20, ratio=2.0, first=100) == [20]


def test_as_good_means_that_both_scores_are_reached_at_the_same_evaluation() -> None:
    assert first_as_good(OURS["curve"], 19.0, 0.15) == OURS["curve"][2]
    assert first_as_good(OURS["curve"], 18.0, 0.12) == OURS["curve"][1]
    assert first_as_good(OURS["curve"], 19.0, 0.01) is None


def test_methods_are_compared_in_proportion_to_depth_nerfacto() -> None:
    compared = compare({"depth-nerfacto": REFERENCE, "diffnerf": OURS})
    assert compared["diffnerf"] == {
        "reference_quality_wall_s": 25.0,
        "reference_quality_step": 16,
        "reference_quality_share_of_wall": pytest.approx(25.0 / 1200.0),
        "reference_quality_training_s": 17.0,
        "reference_quality_share_of_training": pytest.approx(17.0 / 1190.0),
        "render_speedup": 20.0,
        "peak_memory_share": 0.25,
        "rays_per_s_speedup_1024": 30.0,
        "rays_per_s_speedup_4096": 40.0,
    }
    assert compare({"diffnerf": OURS}) == {}


def test_tables_show_scores_costs_and_proportions() -> None:
    results = {"depth-nerfacto": REFERENCE, "diffnerf": OURS}
    assert quality_table(results).splitlines()[-1] == "| diffnerf | 16 | 0.07 | 19.00 | - | 0.150 | - | - | - | - |"
    assert cost_table(results, compare(results)).splitlines()[-1] == (
        "| diffnerf | 32000 | 8.0 | 17 | 0.50 (20.0 x) | 1000 (25%) | 24000 (30.0 x) | 31200 (40.0 x) "
        "| 25.0 (1/48.0) | 17.0 (1/70.0) |"
    )
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("count", "wanted", "indices"),
    [(5, None, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (40, 4, [0, 13, 26, 39]), (5, 1, [2])],
)
def test_chosen_views_are_evenly_spread(count: int, wanted: int | None, indices: list[int]) -> None:
    assert chosen_views(count, wanted) == indices


def test_fewer_training_views_leave_the_held_out_ones_alone(capture: Path, tmp_path: Path) -> None:
    out = write_benchmark_capture(capture, tmp_path / "elsewhere" / "of_two", views=2)
    frames = open_capture(out).frames
    assert [frame.files.image_file.resolve() for frame in frames] == [
        (capture / "images" / f"view_{index:02d}.png").resolve() for index in (0, 3, 4, 5)
    ]
    assert [frame.held_out for frame in frames] == [False, False, True, True]
    assert open_capture(capture).meta["fl_x"] == open_capture(out).meta["fl_x"]


def test_reference_depth_is_found_by_the_name_of_the_sensors_depth(capture: Path, tmp_path: Path) -> None:
    out = write_benchmark_capture(capture, tmp_path / "out", reference_depth_folder="depth")
    entry = open_capture(out).frames[0].entry
    assert (out / entry["depth_truth_file_path"]).resolve() == (capture / "depth" / "view_00.png").resolve()


def test_a_capture_with_reference_depth_has_it_in_the_sensors_place(capture: Path, tmp_path: Path) -> None:
    shutil.copytree(capture / "depth", capture / "better")
    out = write_capture_with_reference_depth(capture, tmp_path / "out", "better")
    before, after = open_capture(capture).frames, open_capture(out).frames
    assert [frame.held_out for frame in after] == [frame.held_out for frame in before]
    for one, other in zip(before, after, strict=True):
        assert other.files.image_file.resolve() == one.files.image_file.resolve()
        assert (out / other.entry["depth_file_path"]).resolve().parent == (capture / "better").resolve()
        assert other.entry["depth_truth_file_path"] == other.entry["depth_file_path"]


def test_a_capture_without_reference_depth_cannot_have_it_in_the_sensors_place(capture: Path, tmp_path: Path) -> None:
    transforms = json.loads((capture / "transforms.json").read_text())
    del transforms["frames"][1]["depth_truth_file_path"]
    (capture / "transforms.json").write_text(json.dumps(transforms))
    with pytest.raises(SystemExit, match="has no depth_truth_file_path: name the folder"):
        write_capture_with_reference_depth(capture, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_capture_without_a_split_has_a_tenth_of_its_views_held_out(
    make_capture: Callable[..., Path], tmp_path: Path
) -> None:
    out = write_benchmark_capture(make_capture(count=11, splits=False), tmp_path / "out")
    held_out = [frame.files.image_file.stem for frame in open_capture(out).frames if frame.held_out]
    assert held_out == ["view_05"]


def test_a_cost_that_grows_linearly_has_an_exponent_of_one() -> None:
    assert fitted_exponent({1024: 10.0, 2048: 20.0, 8192: 80.0}) == pytest.approx(1.0)
    assert fitted_exponent({4: 3.0, 16: 6.0}) == pytest.approx(0.5)


def test_along_an_axis_of_the_scaling_only_one_thing_changes(capture: Path) -> None:
    axes = scaling_jobs(capture)
    assert list(axes["samples per ray"]) == [16, 32, 64, 128]
    assert [one.rays_per_batch for one in axes["rays"].values()] == [1024, 2048, 4096, 8192]
    assert axes["rays"][4096].settings == {"rays_per_batch.first_rays": None}
    assert axes["levels"][8].settings == {"rays_per_batch.first_rays": None, "pipeline.model.num_levels": 8}
    defaults = DiffnerfModelConfig()
    assert all(getattr(defaults, name) == count for name, count in SAMPLES.items())
    assert axes["samples per ray"][32].rays_per_batch == axes["levels"][12].rays_per_batch == 4096


def test_the_scaling_table_names_costs_exponents_and_start_up() -> None:
    axes = {"levels": {"sizes": [4, 8], "step_ms": [50.0, 75.0], "exponent": 0.585}}
    memory = [{"rays": 4096, "gradient_checkpointing": True, "peak_memory_mb": 1234.4, "step_ms": 99.6}]
    assert scaling_table(axes, memory, {"diffnerf": [9.04, 8.0], "diffnerf-raw": [5.0]}).splitlines()[2:] == [
        "| levels | 4: 50, 8: 75 | 0.58 |",
        "",
        "| rays per step | gradient checkpointing | peak memory MB | ms per step |",
        "| --- | --- | --- | --- |",
        "| 4096 | on | 1234 | 100 |",
        "",
        "From the start of a process to its first step: diffnerf 9.0, 8.0 s; diffnerf-raw 5.0 s.",
    ]


def test_a_result_is_used_again_only_for_the_same_job(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    def write_result(folder: Path) -> None:
        runs.append(json.loads((folder / "job.json").read_text())["seed"])
        content = {"job": json.loads((folder / "job.json").read_text()), "number": len(runs)}
        (folder / "result.json").write_text(json.dumps(content))

    monkeypatch.setattr(jobs, "run_child", write_result)
    folder = tmp_path / "method"
    assert run_or_load(job(capture), folder)["number"] == 1
    assert run_or_load(job(capture), folder)["number"] == 1
    assert run_or_load(job(capture, seed=4), folder)["number"] == 2
    (folder / "result.json").unlink()
    assert run_or_load(job(capture, seed=4), folder)["number"] == 3


def test_a_method_is_trained_and_measured_in_a_process_of_its_own(capture: Path, tmp_path: Path) -> None:
    result = run_or_load(job(capture), tmp_path / "diffnerf")
    assert [entry["step"] for entry in result["curve"]] == [1, 2]
    first, last = result["curve"]
    assert 0.0 < result["startup_s"] < first["wall_s"] < last["wall_s"]
    assert result["training_s"] == pytest.approx(last["wall_s"] - result["startup_s"])
    assert result["rays"] == last["rays"] == 2 * 64
    assert result["rays_per_s"] == pytest.approx(2 * 64 / result["training_s"])
    assert 5.0 < last["psnr"] < 30.0
    assert 0.0 < last["depth_mae_m"] < 3.0
    assert result["rays_per_s_by_batch"]["32"] > 0
    assert result["peak_memory_mb"] >= result["peak_memory_before_evaluation_mb"] > 100


def test_every_peer_is_trained_on_the_benchmarks_capture_and_with_settings_that_exist(
    capture: Path, tmp_path: Path
) -> None:
    from scripts.benchmarking.child import change, trainer_config

    for name, method in METHODS.items():
        asked = job(capture, method=name, base=method.base, settings=dict(method.settings)).as_json()
        config = trainer_config(asked, tmp_path, capture)
        datamanager = config.pipeline.datamanager
        assert isinstance(datamanager, VanillaDataManagerConfig)
        assert datamanager.dataparser.data == capture
        assert datamanager.train_num_rays_per_batch == 64
        assert (config.max_num_iterations, config.machine.seed) == (2, 3)
    with pytest.raises(AttributeError, match="no_such_setting"):
        change(config, "pipeline.model.no_such_setting", 1)


def test_only_a_row_that_comes_after_another_finds_refined_depth_in_the_cache(capture: Path, tmp_path: Path) -> None:
    from scripts.benchmarking.child import cache_folder, trainer_config

    for name, owner in {"diffnerf": "diffnerf", "diffnerf-again": "diffnerf", "diffnerf-raw": "diffnerf-raw"}.items():
        asked = job(capture, method=name, base=METHODS[name].base, cache_of=METHODS[name].cache_of).as_json()
        config = trainer_config(asked, tmp_path / name, capture)
        assert isinstance(config.pipeline.datamanager, RefinedDepthDataManagerConfig)
        assert config.pipeline.datamanager.refiner.cache_dir == tmp_path / owner / "cache"
        assert cache_folder(asked, tmp_path / name) == tmp_path / owner / "cache"


def test_a_row_that_comes_after_another_needs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "capture", "--methods", "diffnerf-again", "nerfacto"])
    with pytest.raises(SystemExit):
        parse_options()
    assert "name diffnerf among the methods too" in capsys.readouterr().err
