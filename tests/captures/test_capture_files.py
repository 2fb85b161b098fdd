"""Writing captures, and reading depth of every kind."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffnerf_ns.captures.atomic_files import content_hash, file_hash, write_bytes_atomically
from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import FrameToWrite, PinholeIntrinsics, write_capture, write_depth_png
from diffnerf_ns.captures.depth_files import depth_file_size, read_depth_stored, read_depth_z_m
from diffnerf_ns.captures.depth_resampling import resample_depth, resample_nearest

INTRINSICS = PinholeIntrinsics(16, 12, 14.0, 14.0, 8.0, 6.0)


def frame(name: str = "a", truth: bool = True) -> FrameToWrite:
    depth = np.linspace(1, 3, 192, dtype=np.float32).reshape(12, 16)
    image = np.arange(576, dtype=np.uint32).astype(np.uint8).reshape(12, 16, 3)
    return FrameToWrite(name, image, depth, np.eye(4), depth + 0.1 if truth else None)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "room", [frame("a"), frame("b", truth=False)], INTRINSICS, {}, {"made_by": "test"})
    meta = json.loads((root / "transforms.json").read_text())
    assert (meta["w"], meta["h"], meta["fl_x"], meta["cy"]) == (16, 12, 14.0, 6.0)
    assert meta["depth_unit_scale_factor"] == 0.001
    assert meta["made_by"] == "test"
    assert "train_filenames" not in meta
    first, second = meta["frames"]
    assert first["transform_matrix"] == np.eye(4).tolist()
    assert "depth_truth_file_path" not in second
    image = cv2.cvtColor(cv2.imread(str(root / first["file_path"])), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(image, frame().image)
    np.testing.assert_allclose(read_depth_z_m(root / first["depth_file_path"], 0.001), frame().depth_z_m, atol=5.1e-4)
    truth = read_depth_z_m(root / first["depth_truth_file_path"], 0.001)
    np.testing.assert_allclose(truth, frame().depth_z_m + 0.1, atol=5.1e-4)


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    roots = [write_capture(tmp_path / name, [frame()], INTRINSICS, {}) for name in ("one", "two")]
    first, second = ({f.relative_to(root): file_hash(f) for f in root.rglob("*") if f.is_file()} for root in roots)
    assert first == second
    assert len(first) == 4


def test_splits_name_files_and_val_serves_for_test(tmp_path: Path) -> None:
    root = write_capture(tmp_path, [frame("a"), frame("b")], INTRINSICS, {"train": ["a"], "val": ["b"]})
    meta = json.loads((root / "transforms.json").read_text())
    assert meta["train_filenames"] == ["images/a.png"]
    assert meta["val_filenames"] == meta["test_filenames"] == ["images/b.png"]


def test_a_capture_that_is_being_rewritten_does_not_look_complete(tmp_path: Path) -> None:
    write_capture(tmp_path, [frame()], INTRINSICS, {})

    def frames_until_power_cut():
        yield frame("other")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_capture(tmp_path, frames_until_power_cut(), INTRINSICS, {})
    assert not (tmp_path / "transforms.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../a"}, "plain file stem"),
        ({"image": np.zeros((4, 4, 3), np.uint8)}, "image is"),
        ({"image": np.zeros((12, 16, 3), np.float32)}, "uint8"),
        ({"depth_z_m": np.zeros((4, 4), np.float32)}, "depth_z_m is"),
        ({"depth_truth_z_m": np.zeros((4, 4), np.float32)}, "depth_truth_z_m is"),
        ({"camera_to_world": np.full((4, 4), np.nan)}, "finite 4x4"),
    ],
)
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_capture(tmp_path, [dataclasses.replace(frame(), **change)], INTRINSICS, {})


@pytest.mark.parametrize(
    ("frames", "splits", "extra", "message"),
    [
        ([], {}, {}, "no frames"),
        ([frame("a"), frame("a")], {}, {}, "twice"),
        ([frame("a")], {"train": ["a"], "val": ["z"]}, {}, "not written"),
        ([frame("a")], {"train": ["a"]}, {}, "val split is empty"),
        ([frame("a")], {"training": ["a"]}, {}, "unknown splits"),
        ([frame("a")], {}, {"frames": []}, "may not replace"),
    ],
)
def test_captures_that_make_no_sense_are_refused(tmp_path, frames, splits, extra, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_capture(tmp_path, frames, INTRINSICS, splits, extra)


def save_png(file: Path, depth_m: np.ndarray) -> float:
    write_depth_png(file, depth_m)
    return 1e-3


def save_npy(file: Path, depth_m: np.ndarray) -> float:
    np.save(file, depth_m[..., None])
    return 1.0


def save_npz(file: Path, depth_m: np.ndarray) -> float:
    np.savez(file, depth=depth_m, confidence=depth_m)
    return 1.0


def save_exr(file: Path, depth_m: np.ndarray) -> float:
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
    if not cv2.imwrite(str(file), depth_m):
        pytest.skip("this OpenCV is built without OpenEXR")
    return 1.0


@pytest.mark.parametrize(
    ("suffix", "save"),
    [(".png", save_png), (".tiff", save_png), (".npy", save_npy), (".npz", save_npz), (".exr", save_exr)],
)
def test_depth_is_read_from_every_kind_of_file(
    tmp_path: Path, suffix: str, save: Callable[[Path, np.ndarray], float]
) -> None:
    depth_m = frame().depth_z_m.copy()
    depth_m[0, 0] = 0
    file = tmp_path / f"depth{suffix}"
    unit = save(file, depth_m)
    read = read_depth_z_m(file, unit)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, depth_m, atol=5.1e-4)
    assert depth_file_size(file) == (16, 12)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("gone.png", None, "no such file"),
        ("empty.png", b"", "cannot be read"),
        ("text.png", b"not a picture", "cannot be read"),
        ("text.npy", b"not an array", "cannot be read"),
        ("text.npz", b"PK\x03\x04 cut", "cannot be read"),
        ("depth.jpg", b"", "suffix"),
    ],
)
def test_depth_that_cannot_be_read_says_which_file_and_what_to_do(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CaptureError, match=problem) as error:
        read_depth_stored(file)
    assert error.value.file == file
    assert error.value.remedy in str(error.value)
    assert str(file) in str(error.value)


def test_a_truncated_depth_file_is_not_read_in_part(tmp_path: Path) -> None:
    file = tmp_path / "depth.png"
    write_depth_png(file, np.random.default_rng(0).uniform(1, 3, (120, 160)))
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CaptureError, match="cannot be read"):
        read_depth_stored(file)


def test_a_coloured_picture_of_depth_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "jet.png"), np.zeros((12, 16, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((12, 16), np.uint8))
    with pytest.raises(CaptureError, match="one channel"):
        read_depth_stored(tmp_path / "jet.png")
    with pytest.raises(CaptureError, match="16-bit"):
        read_depth_stored(tmp_path / "grey.png")


def test_pickled_arrays_are_not_executed(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CaptureError, match="cannot be read"):
        read_depth_stored(tmp_path / "depth.npy")


def test_a_full_disk_leaves_no_half_file_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="free space there or choose another folder") as error:
        write_bytes_atomically(tmp_path / "file", b"content")
    assert error.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    write_bytes_atomically(tmp_path / "deep" / "file", b"a long first version")
    write_bytes_atomically(tmp_path / "deep" / "file", b"second", durable=True)
    assert (tmp_path / "deep" / "file").read_bytes() == b"second"
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["file"]


def test_content_hashes_tell_where_one_part_ends() -> None:
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert content_hash("ab", b"c") == content_hash(b"ab", "c")


def test_resampling_never_mixes_a_hole_or_an_edge() -> None:
    depth = np.full((8, 8), 2.0, np.float32)
    depth[:, 4:] = 1.0
    depth[2, 2] = 0
    for width, height in ((16, 16), (24, 24), (4, 4), (12, 12)):
        values = set(np.unique(resample_depth(depth, width, height)).tolist())
        assert values <= {0.0, 1.0, 2.0}
    assert (resample_depth(depth, 24, 24) == 0).sum() == 9


def test_enlarged_slanted_walls_do_not_become_stairs() -> None:
    slant = np.tile(np.linspace(2, 2.1, 16, dtype=np.float32), (16, 1))
    steps = np.diff(resample_depth(slant, 64, 64)[32, 8:56])
    assert steps.min() > 0
    assert steps.max() < 2 * steps.mean()
    assert np.diff(resample_nearest(slant, 64, 64)[32, 8:56]).min() == 0
