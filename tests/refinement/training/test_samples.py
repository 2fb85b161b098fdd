from __future__ import annotations

import multiprocessing
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch

from diffnerf_ns.captures.sensor_noise import simulate_sensor
from diffnerf_ns.refinement.training import sensed_clips
from diffnerf_ns.refinement.training.data_settings import (
    HELD_OUT_SENSOR,
    Dropout,
    RoomClips,
    SensorMixture,
    TrainingData,
)
from diffnerf_ns.refinement.training.frame_batches import Passes, _made_by_threads, _Numbers, batches
from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.room_clips import ClipStore
from diffnerf_ns.refinement.training.sample_pool import SamplePool, cut_samples, hide_parts
from diffnerf_ns.refinement.training.sensed_clips import RoomSource, border_widths, clip_of_pass

CPU = torch.device("cpu")


def passes_of(data: TrainingData, seed: int = 0) -> Passes:
    store = ClipStore(data.rooms, seed, data.clip_cache, "cpu")
    return Passes([(RoomSource(store, data.sensors, seed, 3), 1.0)], seed)


class NumberedPasses(Passes):
    """One view in each pass, whose depth is the pass's number."""

    def __init__(self) -> None:
        super().__init__([], 0)

    def __getitem__(self, number: int) -> PosedViews:
        return plain_views(1, 16, 32).with_maps(lambda image: torch.full_like(image, float(number)))


NUMBERED = TrainingData(rooms=RoomClips(views=(1, 1)), crop=(32, 16), crops_per_view=4, pool_passes=8)


def plain_views(count: int, height: int, width: int) -> PosedViews:
    """Every map holds the number of the view, its row and its column."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    maps = 10000.0 * torch.arange(1, count + 1)[:, None, None] + 100.0 * row + column
    matrix = torch.tensor([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]).repeat(count, 1, 1)
    poses = torch.eye(4).repeat(count, 1, 1)
    return PosedViews(
        maps[:, None].repeat(1, 3, 1, 1), maps, maps, torch.ones_like(maps), maps, maps, maps, matrix, poses
    )


def assert_same(first: PosedViews, second: PosedViews) -> None:
    for field in fields(PosedViews):
        assert torch.equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_a_pass_depends_on_seed_and_number_alone(tiny_data: TrainingData) -> None:
    passes = passes_of(tiny_data)
    in_order = [passes[number] for number in range(3)]
    assert_same(passes_of(tiny_data)[2], in_order[2])
    uncached = passes_of(replace(tiny_data, clip_cache=None))
    assert_same(uncached[1], in_order[1])
    assert not torch.equal(passes_of(tiny_data, seed=1)[2].truth_z_m, in_order[2].truth_z_m)


def test_batches_that_start_later_are_those_of_the_whole_run(tiny_data: TrainingData) -> None:
    def run(first: int):
        return batches(passes_of(tiny_data), SamplePool(tiny_data, 0, 3, CPU), first, workers=0)

    from_the_beginning, later = run(0), run(6)
    whole = [next(from_the_beginning) for _ in range(9)]
    assert not torch.equal(whole[0].truth_z_m, whole[1].truth_z_m)
    for expected in whole[6:]:
        assert_same(next(later), expected)


def test_views_are_used_as_often_as_asked_for_and_leave_after_the_latest_passes() -> None:
    run = batches(NumberedPasses(), SamplePool(NUMBERED, 0, 6, CPU), 0, workers=0)
    drawn = [next(run).truth_z_m[:, 0, 0].tolist() for _ in range(400)]
    for number, numbers in enumerate(drawn):
        latest = 1 + int(number * 6 / 4)
        assert latest - 7 <= min(numbers) <= max(numbers) <= latest, number
    uses = np.bincount(np.array(drawn).astype(int).reshape(-1))[20:500]
    assert uses.mean() == pytest.approx(4, rel=0.05)


def test_processes_share_the_passes_out_and_draw_samples_of_their_own() -> None:
    for rank in (0, 1):
        pool = SamplePool(NUMBERED, 0, 64, CPU, rank=rank)
        for _ in range(4):
            drawn = next(batches(NumberedPasses(), pool, 2, 0, rank, world=2)).truth_z_m[:, 0, 0]
            assert set((drawn % 2).tolist()) == {rank}
    views = NumberedPasses()[1]
    pools = [SamplePool(NUMBERED, 0, 64, CPU, rank=rank) for rank in (0, 1)]
    for pool in pools:
        pool.add(views)
    mirrored = [pool.batch(0).intrinsics[:, 0, 0] < 0 for pool in pools]
    assert not torch.equal(*mirrored)


def test_threads_make_passes_in_order_each_with_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[str] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream on {device}")
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    made = _made_by_threads(NumberedPasses(), _Numbers(0, 0, 1), 2, torch.device("cuda:1"))
    drawn = [float(views.truth_z_m[0, 0, 0]) for views in islice(made, 30)]
    assert drawn == list(range(30))
    assert streams == ["stream on cuda:1"] * 2


AS_A_WORKER = """
import atexit, os
from diffnerf_ns.refinement.training.frame_batches import prepare_worker
atexit.register(os.abort)
prepare_worker(0)
"""


def test_a_worker_is_gone_before_libraries_abort_it() -> None:
    worker = multiprocessing.get_context("spawn").Process(target=exec, args=(AS_A_WORKER,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0


def test_a_clip_is_new_every_few_passes_and_an_earlier_one_otherwise() -> None:
    numbers = [clip_of_pass(0, number, 4) for number in range(400)]
    assert numbers[::4] == list(range(100))
    assert all(clip <= number // 4 for number, clip in enumerate(numbers))
    assert [clip_of_pass(0, number, 1) for number in range(5)] == [0, 1, 2, 3, 4]


def test_the_held_out_sensor_is_never_drawn(tiny_data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def simulate(kind: str, *arguments: object) -> torch.Tensor:
        drawn.append(kind)
        return simulate_sensor(kind, *arguments)

    monkeypatch.setattr(sensed_clips, "simulate_sensor", simulate)
    source = RoomSource(ClipStore(tiny_data.rooms, 0, tiny_data.clip_cache, "cpu"), tiny_data.sensors, 0, 60)
    for number in range(60):
        source.views(number)
    assert set(drawn) == {"kinect", "lidar", "tof", "stereo"}
    assert HELD_OUT_SENSOR not in SensorMixture().weights()


def test_half_of_the_sides_have_a_blind_border_of_up_to_a_share() -> None:
    draw = np.random.default_rng(0)
    widths = np.array([border_widths(200, 100, 0.1, draw) for _ in range(2000)])
    assert widths.max(axis=0).tolist() == [20, 20, 10, 10]
    assert (widths == 0).mean(axis=0) == pytest.approx(np.array([0.525, 0.525, 0.55, 0.55]), abs=0.04)
    assert border_widths(200, 100, 0.0, draw) == (0, 0, 0, 0)


def test_a_cut_keeps_maps_and_camera_together() -> None:
    views = plain_views(3, 24, 40)
    samples = cut_samples([views], 24, (16, 16), np.random.default_rng(0), pairs=False)
    assert samples.truth_z_m.shape == (24, 16, 16)
    assert {int(value) // 10000 for value in samples.truth_z_m[:, 0, 0]} == {1, 2, 3}
    mirrored = samples.intrinsics[:, 0, 0] < 0
    assert 0 < int(mirrored.sum()) < 24
    for sample in range(24):
        corner = samples.truth_z_m[sample, 0, 0] % 10000
        row, column = corner // 100 + 0.5, corner % 100 + 0.5
        ray = (torch.stack([column, row]) - views.intrinsics[0, :2, 2]) / 50.0
        focal, centre = samples.intrinsics[sample].diagonal()[:2], samples.intrinsics[sample, :2, 2]
        torch.testing.assert_close((torch.tensor([0.5, 0.5]) - centre) / focal, ray)
        assert torch.equal(samples.image[sample, 0], samples.sensor_z_m[sample])


def test_pairs_show_the_same_part_of_neighbouring_views() -> None:
    samples = cut_samples([plain_views(3, 24, 40)], 12, (16, 16), np.random.default_rng(0), pairs=True)
    first, second = samples.truth_z_m[::2], samples.truth_z_m[1::2]
    assert torch.equal(first % 10000, second % 10000)
    assert torch.equal((first // 10000) % 3 + 1, second // 10000)


def test_a_crop_larger_than_the_views_is_refused() -> None:
    pool = SamplePool(TrainingData(crop=(64, 16)), 0, 2, CPU)
    with pytest.raises(ValueError, match=r"data\.crop is \(64, 16\), but there are views of 40 x 24"):
        pool.add(plain_views(1, 24, 40))


def test_parts_are_hidden_at_the_rates_asked_for() -> None:
    count = 1500
    views = plain_views(1, 16, 16)[torch.zeros(count, dtype=torch.long)]
    hidden = hide_parts(views, Dropout(evidence=0.4, image=0.1, holes=0.2), np.random.default_rng(0))
    shares = {
        "evidence": (hidden.fused_z_m == 0).all((1, 2)),
        "image": (hidden.image == 0.5).all((1, 2, 3)),
        "holes": (hidden.sensor_z_m == 0).any(2).any(1),
    }
    for name, wanted in (("evidence", 0.4), ("image", 0.1), ("holes", 0.2)):
        assert shares[name].float().mean().item() == pytest.approx(wanted, abs=0.03), name
    assert torch.equal(shares["evidence"], (hidden.support == 0).all((1, 2)))
    assert torch.equal(hidden.truth_z_m, views.truth_z_m)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": (100, 96)}, r"data\.crop is \(100, 96\): it must be multiples of 16"),
        ({"crop": (192, 96)}, r"data\.rooms\.width is \(160, 320\): it must be at least the crop's width"),
        ({"workers": -1}, r"data\.workers is -1: it must be 0 or more"),
        ({"renderers": -2}, r"data\.renderers is -2: it must be 0 or more"),
        ({"pool_passes": 0}, r"data\.pool_passes is 0: it must be 1 or more"),
        ({"sensors": SensorMixture(strength=(2.0, 1.0))}, "it must be ranges from the least to the largest"),
    ],
)
def test_settings_that_cannot_be_met_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TrainingData(), **change).check()
