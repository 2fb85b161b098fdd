"""Clips that processes render ahead are those that the training would have rendered itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from diffnerf_ns.refinement.training import clip_renderers
from diffnerf_ns.refinement.training.clip_renderers import ClipRenderers
from diffnerf_ns.refinement.training.data_settings import RoomClips, TrainingData
from diffnerf_ns.refinement.training.room_clips import CleanClip, ClipStore, render_clip
from diffnerf_ns.refinement.training.sources import CORES_FOR_OTHERS, clip_folder, renderer_count

TINY = RoomClips(views=(1, 1), width=(32, 32))


def wait_until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    started = time.monotonic()
    while not met():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)


def test_clips_are_rendered_ahead_and_come_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ClipStore(TINY, 0, tmp_path, "cpu")
    renderers = ClipRenderers(store, 2, first=3)
    expected = render_clip(TINY, 0, 4, "cpu")
    monkeypatch.setattr("diffnerf_ns.refinement.training.room_clips.render_clip", None)
    try:
        found = store.clip(4)
        for field in fields(CleanClip):
            assert torch.equal(getattr(found, field.name), getattr(expected, field.name)), field.name
        wait_until(lambda: store.count_stored() >= 8)
        assert not store.file_of(2).exists()
    finally:
        renderers.close()


def test_what_nobody_renders_is_rendered_where_it_is_asked_for(tmp_path: Path) -> None:
    store = ClipStore(TINY, 0, tmp_path, "cpu")
    renderers = ClipRenderers(store, 1, first=5, rank=1, world=2)
    wait_until(lambda: store.file_of(8).exists())
    assert store.clip(2).rgb.shape == (1, 24, 32, 3), "from before the first"
    assert store.clip(5).rgb.shape == (1, 24, 32, 3), "another training process's"
    renderers.close()
    assert store.clip(60).rgb.shape == (1, 24, 32, 3), "of a process that is gone"


class Used:
    def __init__(self, value: int) -> None:
        self.value = value


def test_renderers_wait_for_the_training_and_leave_the_latest_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_renderers, "CLIPS_AHEAD", 2)
    monkeypatch.setattr(clip_renderers, "CLIPS_KEPT", 3)
    parents = iter([7] * 8)
    monkeypatch.setattr(clip_renderers.os, "getppid", lambda: next(parents, 1))
    monkeypatch.setattr(clip_renderers.signal, "signal", lambda *_: None)
    monkeypatch.setattr(clip_renderers.torch, "set_num_threads", lambda _: None)
    store = ClipStore(TINY, 0, tmp_path, "cpu")
    clip_renderers._render(store, Used(5), 1, 0)
    assert store.folder is not None
    kept = sorted(int(file.stem.removeprefix("clip-")) for file in store.folder.iterdir())
    assert kept == [2, 3, 4, 5, 6], "clip 7 is two after the one in use; the training ended before it was there"


def test_only_a_gpu_has_clips_rendered_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    gpu, cpu, out = torch.device("cuda"), torch.device("cpu"), Path("out")
    data = TrainingData(clip_reuse=1)
    assert renderer_count(data, cpu) == renderer_count(replace(data, rooms_weight=0.0), gpu) == 0
    assert renderer_count(data, gpu) == 16 - CORES_FOR_OTHERS
    assert renderer_count(data, gpu, processes=8) == 1
    assert renderer_count(replace(data, renderers=5), gpu) == 5
    assert clip_folder(data, out, gpu) == out / "clips"
    assert clip_folder(data, out, cpu) is None
    assert clip_folder(replace(data, renderers=0), out, gpu) is None
