from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diffnerf_ns.captures.room_capture import MakeRoom, write_room_capture
from diffnerf_ns.refinement.training import sensed_clips
from diffnerf_ns.refinement.training.capture_views import CaptureSource
from diffnerf_ns.refinement.training.data_settings import SensorMixture, TrainingData
from diffnerf_ns.refinement.training.nyu_frames import NyuSource, training_numbers
from diffnerf_ns.refinement.training.sources import make_sources

HEIGHT, WIDTH = 96, 128


@pytest.fixture
def nyu_file(tmp_path: Path) -> Path:
    """Three images in NYU's layout: depth is 1 m + 1 cm per row; the left third is filled in."""
    file = tmp_path / "nyu.mat"
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    depth = (1.0 + 0.01 * rows).astype(np.float32)
    raw = np.where(columns < WIDTH // 3, 0.0, depth).astype(np.float32)
    image = np.stack([rows, columns, np.zeros_like(rows)]).astype(np.uint8)
    with h5py.File(file, "w") as opened:
        opened["images"] = np.stack([image.transpose(0, 2, 1)] * 3)
        opened["depths"] = np.stack([depth.T + number for number in range(3)])
        opened["rawDepths"] = np.stack([raw.T + number * (raw.T > 0) for number in range(3)])
    return file


def test_nyu_images_and_depth_stand_upright(nyu_file: Path) -> None:
    views = NyuSource(nyu_file, None, 0.0, views=2, seed=0).views(0)
    assert views.image.shape == (2, 3, 32, 48)
    assert views.truth_z_m.shape == (2, 32, 48)
    torch.testing.assert_close(views.truth_z_m[0, :, 0] % 1.0, 0.16 + 0.02 * torch.arange(32.0))
    torch.testing.assert_close(255 * views.image[0, 0, :, 0], 16 + 2 * torch.arange(32.0))
    torch.testing.assert_close(255 * views.image[0, 1, 0], 16 + 2 * torch.arange(48.0))


def test_nyu_depth_that_was_filled_in_does_not_count(nyu_file: Path) -> None:
    masked = NyuSource(nyu_file, None, 0.0, views=1, seed=0).views(3)
    filled = masked.sensor_z_m == 0
    assert int(filled[0, 0].sum()) == 13
    assert torch.equal(masked.weight, (~filled).float())
    assert (masked.truth_z_m > 0).all()
    weak = NyuSource(nyu_file, None, 0.25, views=1, seed=0).views(3)
    assert torch.equal(weak.weight, torch.where(filled, 0.25, 1.0))


def test_nyu_views_depend_on_the_number_and_survive_a_move_to_another_process(nyu_file: Path) -> None:
    source = NyuSource(nyu_file, None, 0.0, views=1, seed=0)
    first = source.views(5)
    moved = pickle.loads(pickle.dumps(source))
    assert torch.equal(moved.views(5).truth_z_m, first.truth_z_m)
    assert len({float(source.views(number).truth_z_m[0, 0, 0]) for number in range(12)}) == 3


def test_the_official_split_counts_from_one(nyu_file: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.mat"
    with h5py.File(splits, "w") as opened:
        opened["trainNdxs"] = np.array([[3.0], [1.0]])
    assert training_numbers(splits, 3).tolist() == [2, 0]
    source = NyuSource(nyu_file, splits, 0.0, views=1, seed=0)
    assert {int(source.views(number).truth_z_m[0, 0, 0]) for number in range(12)} == {1, 3}
    with pytest.raises(OSError, match="trainNdxs does not fit the 2 images"):
        training_numbers(splits, 2)


def test_the_official_split_is_read_in_its_own_format_too(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[2], [3]], dtype=np.uint16)})
    assert training_numbers(tmp_path / "splits.mat", 3).tolist() == [1, 2]


def test_a_file_that_is_not_nyu_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.mat").write_text("no")
    with pytest.raises(OSError, match=r"text\.mat cannot be read as HDF5 .*give nyu_depth_v2_labeled\.mat"):
        NyuSource(tmp_path / "text.mat", None, 0.0, 1, 0)
    with h5py.File(tmp_path / "other.mat", "w") as opened:
        opened["images"] = np.zeros((1, 3, 4, 4))
    with pytest.raises(OSError, match=r"other\.mat holds no rawDepths, depths"):
        NyuSource(tmp_path / "other.mat", None, 0.0, 1, 0)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    return write_room_capture(MakeRoom(folder / "capture", views=5, resolution=(48, 32), sensor="kinect", held_out=0.2))


def test_a_capture_gives_its_sensor_depth_or_its_reference_with_noise(capture: Path) -> None:
    own = CaptureSource(capture, "sensor", SensorMixture(), 3, 0, "cpu").views(0)
    assert len(own) == 3
    assert (own.sensor_z_m > 0).float().mean() < (own.truth_z_m > 0).float().mean()
    exact = SensorMixture(kinect=0, lidar=0, tof=0, stereo=0, none=1)
    source = CaptureSource(capture, "renoised", exact, 3, 0, "cpu")
    assert len(source.frames) == 4, "held-out frames stay out"
    clean = source.views(0)
    assert torch.equal(clean.sensor_z_m, clean.truth_z_m)
    assert torch.equal(clean.truth_z_m, own.truth_z_m)
    noisy = CaptureSource(capture, "renoised", SensorMixture(none=0), 3, 0, "cpu").views(0)
    assert (noisy.sensor_z_m != noisy.truth_z_m).any()


def test_views_that_are_fused_lose_bias_and_contradictions_first(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(depth_z_m: torch.Tensor, *_: object) -> list[torch.Tensor]:
        return [2.0 * depth for depth in depth_z_m]

    def without_left_half(depth_z_m: list[torch.Tensor], *_: object) -> list[torch.Tensor]:
        return [torch.cat([torch.zeros_like(depth[:, :24]), depth[:, 24:]], dim=1) for depth in depth_z_m]

    monkeypatch.setattr(sensed_clips, "without_bias", doubled)
    monkeypatch.setattr(sensed_clips, "without_contradicted", without_left_half)
    source = CaptureSource(capture, "renoised", SensorMixture(kinect=0, lidar=0, tof=0, stereo=0, none=1), 3, 0, "cpu")
    views = source.views(0)
    assert (views.sensor_z_m[:, :, :24] == 0).all()
    assert torch.equal(views.sensor_z_m[:, :, 24:], 2.0 * views.truth_z_m[:, :, 24:])
    assert torch.equal(views.fused_z_m, views.sensor_z_m)


def test_the_sources_are_those_that_the_settings_name(tiny_data: TrainingData, nyu_file: Path, capture: Path) -> None:
    data = replace(tiny_data, nyu_file=nyu_file, captures=(capture, capture), captures_weight=0.5)
    weights = {name: weight for name, (_, weight) in make_sources(data, 0, Path("out"), torch.device("cpu")).items()}
    assert weights == {"rooms": 1.0, "NYU Depth V2": 1.0, f"capture {capture}": 0.25}
    with pytest.raises(ValueError, match="data names nothing to train on"):
        make_sources(replace(tiny_data, rooms_weight=0.0), 0, Path("out"), torch.device("cpu"))
