"""The ablation makes each run once, through stock commands, and tabulates them by view count."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diffnerf_ns.method_configs.diffnerf import diffnerf  # pyright: ignore[reportMissingImports]
from diffnerf_ns.method_configs.diffnerf_raw import diffnerf_raw  # pyright: ignore[reportMissingImports]
from scripts import ablate


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would be run; ns-eval finds a PSNR of 20 plus the seed."""
    run: list[list[str]] = []

    def execute(command: list[str], log: Path) -> None:
        run.append(command)
        if command[0] == "ns-eval":
            seed = float(run[-2][run[-2].index("--machine.seed") + 1])
            scores = {"psnr": 20.0 + seed, "ssim": 0.7, "depth_mae_m": 0.05, "depth_rmse_m": 0.2}
            Path(command[-1]).write_text(json.dumps({"results": scores}))
        if "scripts.score_mesh" in command:
            Path(command[-1]).write_text(json.dumps({"mesh_f_score": 0.5}))

    monkeypatch.setattr(ablate, "execute", execute)
    return run


@pytest.fixture
def run_ablation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Runs the ablation and gives its table."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ablate", str(tmp_path), "--out", str(tmp_path / "out"), *arguments])
        ablate.main()
        return (tmp_path / "out" / "ablation.md").read_text()

    return run


def test_every_variant_view_count_and_seed_is_trained_and_evaluated_once(
    commands: list[list[str]], run_ablation: Callable[..., str]
) -> None:
    arguments = ["--variants", "diffnerf", "L1", "--views", "5", "10", "--seeds", "0", "1"]
    run_ablation(*arguments)
    assert [command[0] for command in commands] == ["ns-train", "ns-eval"] * 8
    assert len({tuple(command) for command in commands}) == 16
    run_ablation(*arguments)
    assert len(commands) == 16
    run_ablation(*arguments, "--iterations", "7")
    assert len(commands) == 32


def test_surfaces_are_scored_on_demand(commands: list[list[str]], run_ablation: Callable[..., str]) -> None:
    assert "| 0.200 | - |" in run_ablation("--variants", "L1")
    assert "| 0.200 | 0.500 |" in run_ablation("--variants", "L1", "--mesh")
    assert [command[0] for command in commands] == ["ns-train", "ns-eval", "ns-train", "ns-eval", sys.executable]


def test_views_seed_and_steps_reach_the_command(commands: list[list[str]], run_ablation: Callable[..., str]) -> None:
    run_ablation("--variants", "L1", "--views", "5", "--seeds", "3", "--iterations", "7", "--rays", "64")
    train = " ".join(commands[0])
    assert "--pipeline.model.depth-loss-type l1" in train
    assert "--machine.seed 3" in train
    assert "--max-num-iterations 7" in train
    assert "--pipeline.datamanager.train-num-rays-per-batch 64" in train
    assert train.endswith("diffnerf-data --train-views 5")


def test_reference_depth_stands_in_the_sensors_place(
    commands: list[list[str]], run_ablation: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = tmp_path / "out" / "reference_depth"

    def write(source: Path, out: Path, folder: str | None) -> Path:
        assert (source, out, folder) == (tmp_path, written, "depth_ref")
        return out

    monkeypatch.setattr(ablate, "write_capture_with_reference_depth", write)
    run_ablation("--variants", "reference depth", "sensor depth", "--reference-depth-folder", "depth_ref")
    reference, sensor = (" ".join(command) for command in commands if command[0] == "ns-train")
    assert reference.endswith(f"--data {written} diffnerf-data")
    assert sensor.endswith(f"--data {tmp_path} diffnerf-data --reference-depth-folder depth_ref")


def test_the_table_has_means_over_seeds_and_their_spread(
    commands: list[list[str]], run_ablation: Callable[..., str]
) -> None:
    table = run_ablation("--variants", "diffnerf", "--views", "5", "--seeds", "0", "1", "2")
    assert "| 5 | diffnerf | 3 | 21.00 ± 1.00 | 0.700 ± 0.000 |" in table
    assert "±" not in run_ablation("--variants", "L1", "--seeds", "0").splitlines()[-1]


def test_a_capture_needs_no_reference_depth_unless_it_is_asked_for(
    commands: list[list[str]], run_ablation: Callable[..., str]
) -> None:
    run_ablation()
    assert [command[0] for command in commands].count("ns-train") == len(ablate.VARIANTS) - 1


def test_variants_name_settings_that_there_are() -> None:
    methods = {"diffnerf": diffnerf.config, "diffnerf-raw": diffnerf_raw.config}
    for method, *arguments in ablate.VARIANTS.values():
        for option in arguments[::2]:
            setting = methods[method]
            for name in option.removeprefix("--").replace("-", "_").split("."):
                setting = setting[name] if isinstance(setting, dict) else getattr(setting, name)
