"""Refined depth on disk: exact enough, whole or absent, shared, mended."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.refinement.cache import FrameArrays, Manifest, RefinementCache, cache_in, default_cache_dir

KEY = "ab" * 32


def arrays(seed: int = 0) -> FrameArrays:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.3, 8, (24, 32)).astype(np.float32)
    depth[:4] = 0
    sigma = np.where(depth > 0, 0.01 * depth, 0).astype(np.float32)
    return depth, sigma, (depth > 0).astype(np.uint8)


def loaded(cache: RefinementCache) -> FrameArrays:
    found = cache.load(KEY)
    assert found is not None
    return found


@pytest.fixture
def cache(cache_dir: Path) -> RefinementCache:
    return RefinementCache(cache_dir)


def test_a_frame_that_is_gone_is_named_with_its_file_and_the_remedy(cache: RefinementCache) -> None:
    cache.save(KEY, arrays(), {})
    np.testing.assert_array_equal(cache.load_again(KEY, "a.png")[2], arrays()[2])
    cache.file_of(KEY).unlink()
    message = r"refined depth.*removed or damaged meanwhile \(a\.png\)(.|\n)*Start again"
    with pytest.raises(CaptureError, match=message) as error:
        cache.load_again(KEY, "a.png")
    assert str(cache.file_of(KEY)) in str(error.value)


def test_without_a_folder_the_user_s_cache_is_meant(tmp_path: Path) -> None:
    assert cache_in(None).root == default_cache_dir()
    assert cache_in(tmp_path).root == tmp_path


def test_what_is_saved_is_loaded(cache: RefinementCache) -> None:
    cache.save(KEY, arrays(), {"note": 1})
    depth, sigma, provenance = loaded(cache)
    np.testing.assert_allclose(depth, arrays()[0], atol=8 / 65535)
    np.testing.assert_allclose(sigma, arrays()[1], rtol=1e-3)
    np.testing.assert_array_equal(provenance, arrays()[2])
    assert cache.read_info(KEY) == {"note": 1}


def test_missing_stays_missing_and_near_stays_known(cache: RefinementCache) -> None:
    depth = np.array([[0.0, 1e-4, 60.0]], np.float32)
    cache.save(KEY, (depth, np.where(depth > 0, 1e-9, 0).astype(np.float32), (depth > 0).astype(np.uint8)), {})
    near, sigma, _ = loaded(cache)
    assert ((near > 0) == (depth > 0)).all()
    assert ((sigma > 0) == (depth > 0)).all()


def test_a_frame_without_any_depth_can_be_kept(cache: RefinementCache) -> None:
    cache.save(KEY, (np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32), np.zeros((3, 4), np.uint8)), {})
    assert (loaded(cache)[0] == 0).all()


def test_what_was_never_saved_is_absent(cache: RefinementCache) -> None:
    assert cache.load(KEY) is None
    assert cache.read_info(KEY) is None
    assert list(cache.frame_files()) == []
    assert cache.verify() == []
    assert cache.clear() == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "another format"])
def test_a_damaged_frame_counts_as_absent_and_is_replaced(cache: RefinementCache, damage: str) -> None:
    cache.save(KEY, arrays(), {})
    file = cache.file_of(KEY)
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    file.write_bytes(
        {"truncated": bytes(content[:-10]), "flipped": bytes(content), "emptied": b"", "another format": b"PNG"}[damage]
    )
    assert cache.load(KEY) is None
    assert cache.read_info(KEY) is None
    cache.save(KEY, arrays(), {})
    assert cache.load(KEY) is not None


def test_verify_removes_the_damaged_and_keeps_the_intact(cache: RefinementCache) -> None:
    other = "cd" * 32
    for key in (KEY, other):
        cache.save(key, arrays(), {})
    cache.file_of(other).write_bytes(b"cut")
    assert cache.verify() == [cache.file_of(other)]
    assert list(cache.frame_files()) == [cache.file_of(KEY)]


def test_verify_sweeps_up_after_killed_processes_only(cache: RefinementCache) -> None:
    cache.save(KEY, arrays(), {})
    old, new = (cache.file_of(KEY).with_name(f".{name}.part") for name in ("old", "new"))
    for file in (old, new):
        file.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    cache.verify()
    assert (old.exists(), new.exists()) == (False, True)


def test_clearing_one_capture_keeps_what_another_shares(cache: RefinementCache) -> None:
    first, shared, second = "01" * 32, "02" * 32, "03" * 32
    for key in (first, shared, second):
        cache.save(key, arrays(), {})
    cache.write_manifest(Manifest("/one", "filter", {"a": first, "b": shared}))
    cache.write_manifest(Manifest("/two", "filter", {"b": shared, "c": second}))
    assert cache.clear("/one") == 1
    assert {file.stem for file in cache.frame_files()} == {shared, second}
    assert [manifest.capture for manifest in cache.manifests()] == ["/two"]
    assert cache.clear() == 2
    assert list(cache.manifests()) == []


def test_a_broken_manifest_disturbs_nobody(cache: RefinementCache) -> None:
    cache.write_manifest(Manifest("/one", "filter", {"a": KEY}))
    (cache.root / "manifests" / "broken.json").write_text("{")
    assert len(list(cache.manifests())) == 1
    assert cache.clear("/one") == 0
    assert list(cache.manifests()) == []


def save_often(root: Path, seed: int) -> None:
    cache = RefinementCache(root)
    for _ in range(100):
        cache.save(KEY, arrays(seed), {"seed": seed})


def test_readers_never_see_half_a_file_while_two_processes_write(cache: RefinementCache) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=save_often, args=(cache.root, seed)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        if cache.file_of(KEY).exists():
            assert cache.read_info(KEY) is not None
            seen += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen > 0
    assert len(list(cache.file_of(KEY).parent.iterdir())) == 1


def test_a_full_disk_gives_a_clear_error_and_leaves_no_half_file(
    cache: RefinementCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fdopen = os.fdopen

    class FullDisk:
        def __init__(self, descriptor: int, mode: str) -> None:
            self.file = real_fdopen(descriptor, mode)

        def __enter__(self) -> FullDisk:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> None:
            self.file.write(content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", FullDisk)
    with pytest.raises(OSError, match="free space there or choose another folder") as error:
        cache.save(KEY, arrays(), {})
    assert error.value.errno == errno.ENOSPC
    assert [file for file in cache.root.rglob("*") if file.is_file()] == []


def test_the_cache_lies_in_the_user_s_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "diffnerf_ns"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "diffnerf_ns"
