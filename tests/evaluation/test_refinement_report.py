"""`diffnerf refine-report` from captures to numbers, pictures and a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffnerf_ns import cli
from diffnerf_ns.captures.capture_files import write_depth_png
from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.evaluation.depth_baselines import fill_with_nearest
from diffnerf_ns.evaluation.refinement_report import command
from diffnerf_ns.evaluation.refinement_report.corruption import corrupted_depth, view_cosine
from diffnerf_ns.evaluation.refinement_report.scoring import mean_over_images, score_depth, score_uncertainty
from diffnerf_ns.evaluation.refinement_report.tsdf_rival import TsdfRival
from diffnerf_ns.refinement.interface import Provenance, RefinedDepth, RefinerFrame

INTRINSICS = np.array([[30.0, 0, 20], [0, 30.0, 15], [0, 0, 1]])


class LeavesItAlone:
    """Gives back what the sensor measured, and counts the frames that it is shown."""

    seen: list[int] = []  # noqa: RUF012

    def fingerprint(self) -> str:
        return "leaves it alone"

    def context(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[int]:
        return ()

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        for index in indices:
            self.seen.append(len(frames))
            depth = frames[index].read_depth_z_m()
            provenance = np.where(depth > 0, Provenance.MEASURED, Provenance.MISSING).astype(np.uint8)
            yield RefinedDepth(depth, sensor_sigma_z_m(depth).astype(np.float32), provenance)

    def denoising_steps(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[np.ndarray]:
        depth = frames[index].read_depth_z_m()
        return [np.full_like(depth, 1.0), depth]


@pytest.fixture
def leaves_it_alone(monkeypatch: pytest.MonkeyPatch) -> str:
    """The dotted path of such a refiner."""
    module = type(sys)("refiner_of_this_test")
    module.LeavesItAlone = LeavesItAlone  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "refiner_of_this_test", module)
    monkeypatch.setattr(LeavesItAlone, "seen", [])
    return "refiner_of_this_test.LeavesItAlone"


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else."""
    monkeypatch.setattr(command, "draw_figures", lambda folder, pictures, histograms, uncertainty: {})


NO_NETWORK = ("--model", "hole-filter")


def report_of(capture: Path, tmp_path: Path, *arguments: str) -> dict:
    out = tmp_path / "report"
    cli.main(["refine-report", str(capture), "--out", str(out), *NO_NETWORK, *arguments])
    return json.loads((out / "report.json").read_text())


def error_of(monkeypatch: pytest.MonkeyPatch, capture: Path, tmp_path: Path, *arguments: str) -> str:
    command = ["diffnerf", "refine-report", str(capture), "--out", str(tmp_path), *NO_NETWORK, *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_info:
        cli.entrypoint()
    message = str(exit_info.value.code)
    assert message.startswith("Error: ")
    assert "\n" not in message
    return message


def test_a_report_has_numbers_pictures_and_a_page(make_capture: Callable[..., Path], tmp_path: Path) -> None:
    capture = make_capture(width=32)
    report = report_of(capture, tmp_path, "--frames", "2")
    assert [frame["name"] for frame in report["frames"]] == ["images/view_00.png", "images/view_03.png"]
    assert set(report["methods"]) >= {"refined", "raw + nearest", "Telea inpainting", "TSDF of the same views"}
    for scores in report["methods"].values():
        assert scores["images"] == 2
        assert scores["all"]["mse_m2"] >= scores["all"]["mae_m"] ** 2
    first, second = (frame["methods"]["refined"]["all"]["mae_m"] for frame in report["frames"])
    assert report["methods"]["refined"]["all"]["mae_m"] == pytest.approx((first + second) / 2)
    assert report["mae_relative_to_raw"]["raw + nearest"]["all"] == 1
    assert 0 < report["uncertainty"]["measured"]["coverage_68"] <= 1
    assert report["about"]["fingerprint"].startswith("hole-filter")
    page = (tmp_path / "report" / "index.html").read_text()
    names = ["refinement.png", "edges.png", "histogram.png", "uncertainty.png"]
    assert sorted(names) == sorted(file.name for file in (tmp_path / "report").glob("*.png"))
    assert page.count("data:image/png;base64,") == len(names)
    assert "hole-filter" in page


def test_what_the_sensor_measured_scores_as_it_is(
    make_capture: Callable[..., Path], tmp_path: Path, leaves_it_alone: str
) -> None:
    report = report_of(make_capture(width=32), tmp_path, "--model", leaves_it_alone)
    assert report["methods"]["refined"]["all"] == report["methods"]["raw + nearest"]["all"]
    assert report["about"]["frames_scored"] == 4, "the two frames that are held out are not refined"
    assert set(LeavesItAlone.seen) == {4}
    assert (tmp_path / "report" / "denoising.png").is_file()


@pytest.mark.usefixtures("without_pictures")
def test_a_single_view_is_all_that_the_refiner_sees(
    make_capture: Callable[..., Path], tmp_path: Path, leaves_it_alone: str
) -> None:
    report_of(make_capture(width=32), tmp_path, "--model", leaves_it_alone, "--no-multiview")
    assert LeavesItAlone.seen == [1, 1, 1, 1]


@pytest.mark.usefixtures("without_pictures")
def test_a_clean_input_is_compared_with_itself(
    make_capture: Callable[..., Path], tmp_path: Path, leaves_it_alone: str
) -> None:
    report = report_of(make_capture(width=32), tmp_path, "--corrupt-with", "none", "--model", leaves_it_alone)
    assert report["clean_input_mae_m"] == 0
    assert report["methods"]["raw + nearest"]["all"]["psnr_db"] == 100
    assert report["mae_relative_to_raw"]["refined"] == {}


@pytest.mark.usefixtures("without_pictures")
def test_a_simulated_sensor_takes_the_place_of_the_real_one_and_repeats_for_its_seed(
    make_capture: Callable[..., Path], tmp_path: Path, edit_transforms: Callable
) -> None:
    capture = make_capture(width=32)
    edit_transforms(capture, lambda meta: [frame.pop("depth_truth_file_path") for frame in meta["frames"]])
    arguments = ("--corrupt-with", "kinect", "--frames", "1", "--seed")
    first, again, other = (report_of(capture, tmp_path, *arguments, seed) for seed in ("1", "1", "2"))
    errors = [report["methods"]["raw + nearest"]["all"]["mae_m"] for report in (first, again, other)]
    assert errors[0] == errors[1] != errors[2]
    assert errors[0] > 0.001


@pytest.mark.usefixtures("without_pictures")
def test_reference_depth_may_lie_in_a_folder_of_its_own(make_capture: Callable[..., Path], tmp_path: Path) -> None:
    capture = make_capture(width=32)
    for file in (capture / "depth").iterdir():
        write_depth_png(capture / "reference" / file.name, np.full((24, 32), 9.0))
    report = report_of(capture, tmp_path, "--reference-depth-folder", "reference", "--frames", "1")
    assert report["methods"]["raw + nearest"]["all"]["mae_m"] > 6


def test_without_reference_depth_the_error_says_what_to_give(
    capture: Path, tmp_path: Path, edit_transforms: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_transforms(capture, lambda meta: [frame.pop("depth_truth_file_path") for frame in meta["frames"]])
    message = error_of(monkeypatch, capture, tmp_path)
    for part in ("transforms.json", "depth_truth_file_path", "4 of 4 frames", "--reference-depth-folder"):
        assert part in message


def test_a_reference_folder_that_is_not_there_or_lacks_a_file_is_named(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = error_of(monkeypatch, capture, tmp_path, "--reference-depth-folder", "nowhere")
    assert f"{capture / 'nowhere'}: reference depth folder: there is no such folder" in message
    (capture / "reference").mkdir()
    message = error_of(monkeypatch, capture, tmp_path, "--reference-depth-folder", "reference")
    assert f"{capture / 'reference' / 'view_00.png'}: reference depth: there is no such file" in message


def test_reference_depth_of_another_view_is_refused(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_depth_png(capture / "depth_truth" / "view_01.png", np.ones((12, 12)))
    message = error_of(monkeypatch, capture, tmp_path)
    assert "view_01.png: depth size: 12x12 has another aspect" in message


def test_unknown_refiners_and_no_frames_are_refused(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "refiner model 'magic' cannot be loaded" in error_of(monkeypatch, capture, tmp_path, "--model", "magic")
    assert "--frames: is 0" in error_of(monkeypatch, capture, tmp_path, "--frames", "0")


def frame_before_wall(index: int) -> RefinerFrame:
    """One of several cameras side by side, two metres before a wall, with 2 cm of noise and a hole."""
    pose = np.eye(4)
    pose[0, 3] = 0.05 * index
    depth = 2 + np.random.default_rng(index).normal(0, 0.02, (60, 80)).astype(np.float32)
    depth[10:20, 10 + 12 * index : 20 + 12 * index] = 0
    intrinsics = np.array([[60.0, 0, 40], [0, 60.0, 30], [0, 0, 1]])
    return RefinerFrame(f"{index}", 80, 60, intrinsics, pose, lambda: np.zeros((60, 80, 3), np.uint8), lambda: depth)


def test_the_tsdf_averages_noise_and_closes_the_holes_of_one_view_from_others() -> None:
    frames = [frame_before_wall(index) for index in range(5)]
    seen = TsdfRival(frames).cast(frames[2])
    assert (seen > 0)[5:55, 10:70].all()
    error = np.abs(seen - 2)[5:55, 10:70].mean()
    assert error < 0.6 * np.abs(frames[2].read_depth_z_m() - 2)[25:55, 10:70].mean()


def test_the_tsdf_of_nothing_is_nothing() -> None:
    frame = replace(frame_before_wall(0), read_depth_z_m=lambda: np.zeros((60, 80), np.float32))
    assert not TsdfRival([frame]).cast(frame).any()


def test_scores_split_observed_hole_and_edge() -> None:
    truth = np.full((12, 16), 2.0, np.float32)
    truth[:, :8] = 1.0
    sensor = truth.copy()
    sensor[:3] = 0
    predicted = truth + np.where(sensor > 0, 0.1, 0.3).astype(np.float32)
    scores = score_depth(predicted, truth, sensor)
    assert scores["observed"]["mae_m"] == pytest.approx(0.1, abs=1e-6)
    assert scores["hole"]["mse_m2"] == pytest.approx(0.09, abs=1e-6)
    assert scores["hole"]["psnr_db"] == pytest.approx(10 * np.log10(100 / 0.09), abs=1e-4)
    assert scores["all"]["edge_recall"] == 1
    assert "hole" not in score_depth(predicted, truth, fill_with_nearest(sensor))


def test_sigma_is_scored_by_where_the_depth_comes_from() -> None:
    truth = np.ones((4, 4), np.float32)
    depth = truth + np.float32(0.1)
    provenance = np.full((4, 4), Provenance.MEASURED, np.uint8)
    provenance[0], provenance[1] = Provenance.GENERATED, Provenance.MISSING
    depth[1] = 0
    sigma = np.where(provenance == Provenance.GENERATED, 0.05, 0.2).astype(np.float32)
    scores = score_uncertainty(RefinedDepth(depth, sigma, provenance), truth)
    assert {name: of_class["count"] for name, of_class in scores.items()} == {"all": 12, "measured": 8, "generated": 4}
    assert scores["measured"]["coverage_68"] == 1
    assert scores["generated"]["coverage_68"] == 0


def test_means_leave_out_images_that_lack_a_figure() -> None:
    trees = [{"a": {"x": 1.0}, "b": {"y": 2.0}}, {"a": {"x": 3.0, "z": 5.0}}]
    assert mean_over_images(trees) == {"a": {"x": 2.0, "z": 5.0}, "b": {"y": 2.0}}


def test_a_wall_seen_head_on_has_a_cosine_that_falls_with_the_angle_of_the_ray() -> None:
    cosine = view_cosine(np.full((30, 40), 2.0, np.float32), INTRINSICS)
    ray = np.array([(30.5 - 20) / 30, (20.5 - 15) / 30, 1])
    assert cosine[20, 30] == pytest.approx(1 / np.linalg.norm(ray), abs=1e-4)
    assert (cosine[:2] == 1).all(), "no normal is known at the border"


def test_a_grazing_floor_is_lost_and_a_wall_is_not() -> None:
    image = np.full((30, 40, 3), 200, np.uint8)
    rows = np.arange(30) + 0.5
    floor = np.repeat((0.3 / np.maximum((rows - 15) / 30, 0.02))[:, None], 40, axis=1).astype(np.float32)
    floor[:16] = 0
    wall = np.full((30, 40), 2.0, np.float32)
    kept_floor = (corrupted_depth("redwood", floor, image, INTRINSICS, 0)[18:21] > 0).mean()
    kept_wall = (corrupted_depth("redwood", wall, image, INTRINSICS, 0) > 0).mean()
    assert kept_wall > 0.95
    assert kept_floor < 0.8
