"""Stage 1: refined once, visibly, safely, and never again for the same inputs."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import write_depth_png, write_image_png
from diffnerf_ns.captures.lens import Lens, LensMaps
from diffnerf_ns.depth_units import sensor_sigma_z_m
from diffnerf_ns.refinement import stage
from diffnerf_ns.refinement.cache import RefinementCache
from diffnerf_ns.refinement.frame_files import StageFrame, refiner_frame, sensor_depth_z_m
from diffnerf_ns.refinement.hole_filter import HoleFilter
from diffnerf_ns.refinement.interface import RefinedDepth, RefinerFrame
from diffnerf_ns.refinement.registration import Misregistration
from diffnerf_ns.refinement.stage import StageResult, frame_keys, refine_frames


class CountingRefiner:
    """Adds a centimetre, and remembers what it was asked for. Looks at the next frame if told to."""

    def __init__(self, version: str = "1", neighbours: bool = False, fail_at: int | None = None) -> None:
        self.version, self.neighbours, self.fail_at = version, neighbours, fail_at
        self.refined: list[str] = []

    def fingerprint(self) -> str:
        return f"counting {self.version}"

    def context(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[int]:
        return [(index + 1) % len(frames)] if self.neighbours else []

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        for index in indices:
            if self.fail_at is not None and len(self.refined) == self.fail_at:
                raise RuntimeError("the refiner broke")
            self.refined.append(Path(frames[index].name).stem)
            depth = frames[index].read_depth_z_m()
            assert frames[index].read_image().shape == (*depth.shape, 3)
            known = depth > 0
            refined = np.where(known, depth + 0.01, 0).astype(np.float32)
            yield RefinedDepth(refined, np.where(known, 0.02, 0).astype(np.float32), known.astype(np.uint8))


def frames_of(capture: Path, count: int = 4, shift: float = 0.0) -> list[StageFrame]:
    frames = []
    for index in range(count):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index + shift
        frames.append(
            StageFrame(
                name=f"view_{index:02d}",
                image_file=capture / "images" / f"view_{index:02d}.png",
                depth_file=capture / "depth" / f"view_{index:02d}.png",
                metres_per_unit=0.001,
                width=16,
                height=12,
                intrinsics=np.array([[14.0, 0, 8], [0, 14, 6], [0, 0, 1]]),
                camera_to_world=pose,
            )
        )
    return frames


def run(frames: list[StageFrame], refiner: CountingRefiner | HoleFilter, cache_dir: Path) -> StageResult:
    return refine_frames(frames, refiner, RefinementCache(cache_dir), "capture", Console(file=StringIO()))


def test_the_second_run_refines_nothing(capture: Path, cache_dir: Path) -> None:
    first, second = CountingRefiner(), CountingRefiner()
    assert run(frames_of(capture), first, cache_dir).refined_count == 4
    result = run(frames_of(capture), second, cache_dir)
    assert result.refined_count == 0
    assert second.refined == []
    assert "0 now, 4 from the cache" in result.summary


def test_depth_that_lies_beside_the_picture_is_named_while_there_is_something_to_refine(
    capture: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "misregistration", lambda frames: Misregistration(1.0, 0.02, 0.0, 1.7))
    for said in (1, 0):
        console = Console(file=StringIO(), width=500)
        refine_frames(frames_of(capture), CountingRefiner(), RefinementCache(cache_dir), "my/capture", console)
        text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        assert text.count("registered to colour? In my/capture pictures change 1.7 times as much") == said
        assert text.count("aligned to the colour camera") == said


def test_results_come_back_for_the_frame_they_belong_to(capture: Path, cache_dir: Path) -> None:
    frames = frames_of(capture)
    keys = run(frames, CountingRefiner(), cache_dir).keys
    assert len(set(keys)) == 4
    for frame, key in zip(frames, keys, strict=True):
        sensor = refiner_frame(frame).read_depth_z_m()
        found = RefinementCache(cache_dir).load(key)
        assert found is not None
        depth, sigma, provenance = found
        np.testing.assert_allclose(depth[sensor > 0], sensor[sensor > 0] + 0.01, atol=1e-4)
        assert (depth[sensor == 0] == 0).all()
        np.testing.assert_allclose(sigma[sensor > 0], 0.02, rtol=1e-3)
        assert set(np.unique(provenance)) == {0, 1}


def test_a_changed_image_or_depth_refines_that_frame_again_and_no_other(capture: Path, cache_dir: Path) -> None:
    frames = frames_of(capture)
    run(frames, CountingRefiner(), cache_dir)
    write_image_png(frames[2].image_file, np.zeros((12, 16, 3), np.uint8))
    write_depth_png(frames[0].depth_file, np.full((12, 16), 1.5))
    again = CountingRefiner()
    run(frames, again, cache_dir)
    assert again.refined == ["view_00", "view_02"]


def test_a_changed_frame_refines_those_that_look_at_it(capture: Path, cache_dir: Path) -> None:
    frames = frames_of(capture)
    run(frames, CountingRefiner(neighbours=True), cache_dir)
    write_depth_png(frames[2].depth_file, np.full((12, 16), 1.5))
    again = CountingRefiner(neighbours=True)
    run(frames, again, cache_dir)
    assert again.refined == ["view_01", "view_02"]


def test_a_changed_image_concerns_others_unless_their_refiner_sees_depth_only(capture: Path) -> None:
    def changed_keys(refiner: CountingRefiner, shade: int) -> list[bool]:
        frames = frames_of(capture)
        seen = [refiner_frame(frame) for frame in frames]
        before = frame_keys(frames, seen, refiner)
        write_image_png(frames[2].image_file, np.full((12, 16, 3), shade, np.uint8))
        return [a != b for a, b in zip(before, frame_keys(frames, seen, refiner), strict=True)]

    class DepthOfOthers(CountingRefiner):
        sees_others_depth_only = True

    assert changed_keys(CountingRefiner(neighbours=True), 10) == [False, True, True, False]
    assert changed_keys(DepthOfOthers(neighbours=True), 20) == [False, False, True, False]


def test_names_order_and_place_of_the_capture_do_not_matter(capture: Path, cache_dir: Path) -> None:
    run(frames_of(capture), CountingRefiner(), cache_dir)
    moved = capture.rename(capture.with_name("moved"))
    again = CountingRefiner()
    run(list(reversed(frames_of(moved, shift=5.0))), again, cache_dir)
    assert again.refined == []


def test_only_relative_poses_count_and_only_where_other_views_are_used(capture: Path) -> None:
    def keys(refiner: CountingRefiner, change: Callable[[list[StageFrame]], None] | None = None, shift: float = 0.0):
        frames = frames_of(capture, shift=shift)
        if change:
            change(frames)
        return frame_keys(frames, [refiner_frame(frame) for frame in frames], refiner)

    def move_last(frames: list[StageFrame]) -> None:
        frames[3].camera_to_world[1, 3] += 0.5

    alone, together = CountingRefiner(), CountingRefiner(neighbours=True)
    assert keys(together, shift=3.0) == keys(together)
    assert keys(alone, move_last) == keys(alone)
    changed = [a != b for a, b in zip(keys(together, move_last), keys(together), strict=True)]
    assert changed == [False, False, True, True]


def test_settings_unit_and_camera_are_part_of_the_name(capture: Path) -> None:
    from dataclasses import replace

    def key(frame: StageFrame, refiner: CountingRefiner) -> str:
        return frame_keys([frame], [refiner_frame(frame)], refiner)[0]

    frame = frames_of(capture)[0]
    keys = {
        key(frame, CountingRefiner()),
        key(frame, CountingRefiner(version="2")),
        key(replace(frame, metres_per_unit=0.0002), CountingRefiner()),
        key(replace(frame, intrinsics=frame.intrinsics * 1.1), CountingRefiner()),
    }
    assert len(keys) == 4


def test_a_refiner_that_breaks_loses_only_what_it_had_not_given(capture: Path, cache_dir: Path) -> None:
    with pytest.raises(RuntimeError, match="broke"):
        run(frames_of(capture), CountingRefiner(fail_at=2), cache_dir)
    again = CountingRefiner()
    run(frames_of(capture), again, cache_dir)
    assert again.refined == ["view_02", "view_03"]


class SlowRefiner(CountingRefiner):
    """Tells about each frame, and takes its time."""

    def __init__(self, pause_s: float, refined: multiprocessing.Queue) -> None:
        super().__init__()
        self.pause_s, self.queue = pause_s, refined

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        for refined in super().refine(frames, indices):
            time.sleep(self.pause_s)
            self.queue.put(self.refined[-1])
            yield refined


def start_slow_run(capture: Path, cache_dir: Path, pause_s: float) -> tuple[Any, Any]:
    context = multiprocessing.get_context("fork")
    refined = context.Queue()
    process = context.Process(target=run, args=(frames_of(capture), SlowRefiner(pause_s, refined), cache_dir))
    process.start()
    return process, refined


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_killed_in_the_middle_it_goes_on_where_it_was(capture: Path, cache_dir: Path) -> None:
    process, refined = start_slow_run(capture, cache_dir, pause_s=0.3)
    for _ in range(3):
        refined.get(timeout=30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    again = CountingRefiner()
    run(frames_of(capture), again, cache_dir)
    assert 1 <= len(again.refined) <= 2
    assert run(frames_of(capture), CountingRefiner(), cache_dir).refined_count == 0


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_two_processes_at_once_both_succeed_and_leave_one_result(capture: Path, cache_dir: Path) -> None:
    processes = [start_slow_run(capture, cache_dir, pause_s=0.05)[0] for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert run(frames_of(capture), CountingRefiner(), cache_dir).refined_count == 0
    assert len(list(RefinementCache(cache_dir).frame_files())) == 4
    assert list(cache_dir.rglob("*.part")) == []


def test_what_another_process_finished_meanwhile_is_not_refined_again(capture: Path, cache_dir: Path) -> None:
    frames = frames_of(capture)

    class Overtaken(CountingRefiner):
        def context(self, frames_, index):
            if index == 3:
                run(frames[:3], CountingRefiner(), cache_dir)
            return []

    refiner = Overtaken()
    run(frames, refiner, cache_dir)
    assert refiner.refined == ["view_03"]


def test_a_truncated_result_is_found_and_refined_again(capture: Path, cache_dir: Path) -> None:
    keys = run(frames_of(capture), CountingRefiner(), cache_dir).keys
    file = RefinementCache(cache_dir).file_of(keys[1])
    file.write_bytes(file.read_bytes()[:50])
    again = CountingRefiner()
    run(frames_of(capture), again, cache_dir)
    assert again.refined == ["view_01"]
    assert RefinementCache(cache_dir).load(keys[1]) is not None


def test_nothing_is_written_into_the_capture(capture: Path, cache_dir: Path) -> None:
    def state() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in capture.rglob("*")}

    before = state()
    for folder in (capture, capture / "images", capture / "depth"):
        folder.chmod(0o555)
    try:
        run(frames_of(capture), HoleFilter(), cache_dir)
    finally:
        for folder in (capture, capture / "images", capture / "depth"):
            folder.chmod(0o755)
    assert state() == before


def test_a_full_disk_gives_a_clear_error_and_keeps_what_was_done(
    capture: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_replace, replaced = os.replace, []

    def fill_up(source: str, target: Path) -> None:
        if len(replaced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced.append(target)
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", fill_up)
    with pytest.raises(OSError, match="free space there or choose another folder"):
        run(frames_of(capture), CountingRefiner(), cache_dir)
    monkeypatch.setattr(os, "replace", real_replace)
    assert [file.suffix for file in cache_dir.rglob("*") if file.is_file()] == [".depth"] * 2
    assert run(frames_of(capture), CountingRefiner(), cache_dir).refined_count == 2


def test_image_and_depth_of_different_size_meet_at_the_smaller(capture: Path) -> None:
    frame = frames_of(capture)[0]
    write_depth_png(frame.depth_file, np.full((6, 8), 2.0))
    seen = refiner_frame(frame)
    assert (seen.width, seen.height) == (8, 6)
    assert seen.read_image().shape == (6, 8, 3)
    assert seen.read_depth_z_m().shape == (6, 8)
    np.testing.assert_allclose(seen.intrinsics[:2], frame.intrinsics[:2] / 2)
    write_depth_png(frame.depth_file, np.full((24, 32), 2.0))
    assert refiner_frame(frame).read_depth_z_m().shape == (12, 16)


def test_refiners_see_a_pinhole_and_rays_get_what_the_lens_sees(capture: Path, cache_dir: Path) -> None:
    (plain,) = frames_of(capture, 1)
    bent = replace(plain, lens=Lens((-0.6, 0.2, 0.0, 0.0)))
    sensor = sensor_depth_z_m(bent)
    seen = refiner_frame(bent).read_depth_z_m()
    assert not np.array_equal(seen, sensor)

    cache = RefinementCache(cache_dir)
    result = run([bent], CountingRefiner(), cache_dir)
    assert result.keys != run([plain], CountingRefiner(), cache_dir).keys
    found = cache.load(result.keys[0])
    assert found is not None
    depth_z_m, sigma_z_m, _ = found
    shown = LensMaps(bent.lens, plain.intrinsics, 16, 12).distorted(np.ones_like(sensor)) > 0
    assert 0 < (~shown).sum() < shown.sum()
    np.testing.assert_allclose(depth_z_m[~shown], sensor[~shown], atol=1e-3)
    np.testing.assert_allclose(sigma_z_m[~shown], sensor_sigma_z_m(sensor)[~shown], rtol=0.02, atol=1e-4)
    refined = np.where(seen > 0, seen + 0.01, 0).astype(np.float32)
    expected = LensMaps(bent.lens, plain.intrinsics, 16, 12).distorted(refined)
    np.testing.assert_allclose(depth_z_m[shown], expected[shown], atol=1e-3)


def test_grey_images_and_images_with_alpha_are_read(capture: Path) -> None:
    frame = frames_of(capture)[0]
    cv2.imwrite(str(frame.image_file), np.full((12, 16), 77, np.uint8))
    assert refiner_frame(frame).read_image().shape == (12, 16, 3)
    cv2.imwrite(str(frame.image_file), np.full((12, 16, 4), 77, np.uint8))
    assert refiner_frame(frame).read_image()[0, 0].tolist() == [77, 77, 77]


def test_an_unreadable_image_is_named(capture: Path, cache_dir: Path) -> None:
    frames = frames_of(capture)
    frames[1].image_file.write_bytes(b"hello")
    with pytest.raises(CaptureError, match=r"view_01\.png: image: cannot be read"):
        run(frames, CountingRefiner(), cache_dir)


def test_progress_and_a_one_line_result_are_shown(capture: Path, cache_dir: Path) -> None:
    output = StringIO()
    console = Console(file=output, width=300)
    result = refine_frames(frames_of(capture), HoleFilter(), RefinementCache(cache_dir), "capture", console)
    assert "frames/s" in output.getvalue()
    assert result.summary in output.getvalue()
    assert "\n" not in result.summary
    for part in ("4 frames (4 now, 0 from the cache)", "holes 3.1% -> ", "mean correction", "sigma"):
        assert part in result.summary


def test_results_of_the_wrong_size_are_refused(capture: Path, cache_dir: Path) -> None:
    class Cropped(CountingRefiner):
        def refine(self, frames, indices):
            for _ in indices:
                ones = np.ones((3, 3), np.float32)
                yield RefinedDepth(ones, ones, ones.astype(np.uint8))

    with pytest.raises(ValueError, match=r"view_00 is \(3, 3\)"):
        run(frames_of(capture), Cropped(), cache_dir)


def test_a_warm_start_of_a_hundred_frames_adds_less_than_a_second(
    make_capture: Callable[..., Path], cache_dir: Path
) -> None:
    frames = frames_of(make_capture(count=100, width=160), count=100)
    frames = [StageFrame(**{**vars(frame), "width": 160, "height": 120}) for frame in frames]
    run(frames, CountingRefiner(), cache_dir)
    start = time.process_time()
    result = run(frames, CountingRefiner(), cache_dir)
    assert result.refined_count == 0
    assert time.process_time() - start < 1.0
