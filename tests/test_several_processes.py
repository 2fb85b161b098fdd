"""Several processes and one cache: trainings in which one refines and the others wait, and refining by rank."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManager, RefinedDepthDataManagerConfig, RefinerConfig
from diffnerf_ns.refinement import refine_by_rank
from diffnerf_ns.refinement.cache import FrameArrays, RefinementCache
from diffnerf_ns.refinement.hole_filter import HoleFilter
from diffnerf_ns.refinement.interface import RefinedDepth, RefinerFrame
from diffnerf_ns.refinement.team import OtherProcessFailedError

pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


class BrokenRefiner(HoleFilter):
    """Gives one frame, then fails."""

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        yield next(super().refine(frames, indices))
        raise ValueError("the refiner broke")


class DyingRefiner(HoleFilter):
    """Gives one frame, then its process is gone."""

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        yield next(super().refine(frames, indices))
        os._exit(9)


def note_saved_frames(rank: int, folder: Path) -> None:
    """Notes each frame that this process, which ends with the test, writes into a cache."""
    real = RefinementCache.save

    def noting(self: RefinementCache, key: str, arrays: FrameArrays, info: Mapping[str, Any]) -> None:
        with (folder / f"rank_{rank}").open("a") as file:
            file.write(f"{key}\n")
        real(self, key, arrays, info)

    RefinementCache.save = noting


def saved_frames(folder: Path) -> list[list[str]]:
    files = [folder / f"rank_{rank}" for rank in (0, 1)]
    return [file.read_text().split() if file.exists() else [] for file in files]


def manager_of_training(rank: int, capture: Path, cache_dir: Path, model: str) -> RefinedDepthDataManager:
    dist.init_process_group("gloo")
    config = RefinedDepthDataManagerConfig(
        data=capture, train_num_rays_per_batch=64, refiner=RefinerConfig(model, cache_dir=cache_dir)
    )
    return config.setup(device="cpu", test_mode="val", world_size=2, local_rank=rank)


def train_a_step(rank: int, capture: Path, cache_dir: Path, folder: Path) -> None:
    note_saved_frames(rank, folder)
    manager = manager_of_training(rank, capture, cache_dir, "hole-filter")
    dataset = manager.train_dataset
    torch.save([dataset[index]["depth_image"] for index in range(4)], folder / f"depth_{rank}")
    torch.manual_seed(0)
    scene = {"scene_box": dataset.scene_box, "num_train_data": 4, "metadata": dataset.metadata}
    model = DiffnerfModelConfig(
        num_levels=4, max_resolution=32, log2_hashmap_size=10, density_grid_resolution=24
    ).setup(**scene, device="cpu")
    parallel = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    torch.manual_seed(rank)
    rays, batch = manager.next_train(0)
    outputs = parallel(rays)
    losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    torch.save((batch["indices"], gradients), folder / f"step_{rank}")
    dist.destroy_process_group()


def test_in_training_the_first_refines_the_others_wait_and_all_train_together(
    capture: Path, cache_dir: Path, tmp_path: Path, run_two_processes: Callable
) -> None:
    assert run_two_processes(train_a_step, capture, cache_dir, tmp_path) == [0, 0]
    assert list(map(len, saved_frames(tmp_path))) == [4, 0]
    depths = [torch.load(tmp_path / f"depth_{rank}") for rank in (0, 1)]
    assert all(torch.equal(first, second) for first, second in zip(*depths, strict=True))
    (pixels, gradients), (other_pixels, other_gradients) = (torch.load(tmp_path / f"step_{rank}") for rank in (0, 1))
    assert not torch.equal(pixels, other_pixels)
    assert gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, other_gradients[name])


def train_with_a_refiner_that_fails(rank: int, capture: Path, cache_dir: Path, name: str, folder: Path) -> None:
    try:
        manager_of_training(rank, capture, cache_dir, f"{__name__}.{name}")
    except (ValueError, OtherProcessFailedError) as error:
        (folder / f"error_{rank}").write_text(f"{type(error).__name__}: {error}")
    finally:
        dist.destroy_process_group()  # its threads may otherwise abort a process that ends


def test_a_failure_of_the_first_process_is_the_others_too(
    capture: Path, cache_dir: Path, tmp_path: Path, run_two_processes: Callable
) -> None:
    arguments = capture, cache_dir, "BrokenRefiner", tmp_path
    assert run_two_processes(train_with_a_refiner_that_fails, *arguments) == [0, 0]
    cause = "ValueError: the refiner broke"
    assert (tmp_path / "error_0").read_text() == cause
    expected = f"OtherProcessFailedError: depth was not refined, as another process failed: {cause}"
    assert (tmp_path / "error_1").read_text() == expected


def test_nobody_waits_for_a_process_that_is_gone(
    capture: Path, cache_dir: Path, tmp_path: Path, run_two_processes: Callable
) -> None:
    assert run_two_processes(train_with_a_refiner_that_fails, capture, cache_dir, "DyingRefiner", tmp_path) == [9, 0]
    assert "another process ended while depth was refined" in (tmp_path / "error_1").read_text()


def refine_a_share(rank: int, folder: Path, arguments: list[str]) -> None:
    note_saved_frames(rank, folder)
    refine_by_rank.main(arguments)


def files_in(cache_dir: Path) -> dict[str, bytes]:
    return {str(file.relative_to(cache_dir)): file.read_bytes() for file in cache_dir.rglob("*") if file.is_file()}


@pytest.mark.parametrize("model", ["hole-filter", "diffusion"])
def test_each_frame_is_refined_by_one_process_and_trainings_find_all_of_them(
    model: str,
    capture: Path,
    tmp_path: Path,
    tiny_weights: Path,
    run_two_processes: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = str(tiny_weights) if model == "diffusion" else model
    options = [str(capture), "--model", model, "--device", "cpu", "--cache-dir"]
    assert run_two_processes(refine_a_share, tmp_path, [*options, str(tmp_path / "two")]) == [0, 0]
    first, second = saved_frames(tmp_path)
    assert len(first) == len(second) == 2
    assert len({*first, *second}) == 4
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    refine_by_rank.main([*options, str(tmp_path / "one")])
    assert files_in(tmp_path / "two") == files_in(tmp_path / "one")
    config = RefinedDepthDataManagerConfig(
        data=capture, refiner=RefinerConfig(model, device="cpu", cache_dir=tmp_path / "two")
    )
    config.setup(device="cpu", test_mode="val")
    assert files_in(tmp_path / "two") == files_in(tmp_path / "one")
    assert RefinementCache(tmp_path / "two").verify() == []


def test_a_capture_that_cannot_be_refined_ends_all_processes(
    capture: Path, cache_dir: Path, run_two_processes: Callable, tmp_path: Path
) -> None:
    (capture / "images" / "view_01.png").write_bytes(b"hello")
    assert run_two_processes(refine_a_share, tmp_path, [str(capture), "--cache-dir", str(cache_dir)]) == [1, 1]


def test_a_share_whose_process_is_gone_ends_the_others(
    capture: Path, cache_dir: Path, run_two_processes: Callable, tmp_path: Path
) -> None:
    options = [str(capture), "--cache-dir", str(cache_dir), "--model", f"{__name__}.DyingRefiner"]
    assert run_two_processes(refine_a_share, tmp_path, options) == [9, 9]
    assert len(files_in(cache_dir)) == 2
