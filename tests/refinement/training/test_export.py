"""A checkpoint as a refiner: the same outputs, its settings back, half the space."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro

from diffnerf_ns.refinement.noise_schedule import default_scheduler
from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.training.checkpoints import save_checkpoint
from diffnerf_ns.refinement.training.data_settings import TrainingData
from diffnerf_ns.refinement.training.loop import RefinerTraining
from diffnerf_ns.refinement.training.refiner_folder import TRAINING_FILE
from diffnerf_ns.refinement.training.settings import Network, TrainRefiner, plain
from diffnerf_ns.refinement.training.stored_settings import stored_settings, training_command
from diffnerf_ns.refinement.weights_folder import weights_folder
from scripts.export_refiner import ExportRefiner, export


@pytest.fixture
def trained(tiny: TrainRefiner) -> RefinerTraining:
    """A training whose averaged weights are unlike the network's."""
    training = RefinerTraining(tiny)
    torch.manual_seed(1)
    training.ema.shadow_params = [average + 0.02 * torch.randn_like(average) for average in training.ema.shadow_params]
    save_checkpoint(tiny.out, "checkpoint-7", {**training.state(), "step": 7, "seconds": 7200.0})
    return training


def refined(pipeline: DepthRefinementPipeline) -> torch.Tensor:
    torch.manual_seed(2)
    image, depth = torch.rand(3, 32, 48), 2.0 + 0.01 * torch.randn(32, 48)
    depth[8:20, 10:30] = 0.0
    pipeline.set_progress_bar_config(disable=True)
    depth_z_m = pipeline(image, depth, generator=torch.Generator().manual_seed(0)).depth_z_m
    return torch.from_numpy(depth_z_m)


def test_an_exported_checkpoint_gives_what_the_averaged_network_gives(trained: RefinerTraining, tmp_path: Path) -> None:
    folder = export(ExportRefiner(trained.settings.out / "checkpoint-7", tmp_path / "refiner", hardware="an abacus"))
    own = DepthRefinementPipeline(trained.unet.eval(), default_scheduler())
    untrained = refined(own)
    trained.ema.copy_to(trained.unet.parameters())
    exported = refined(DepthRefinementPipeline.from_pretrained(folder))
    assert torch.equal(exported, refined(own))
    assert not torch.equal(exported, untrained)
    card = (folder / "README.md").read_text()
    for part in ("7 of 6", "| hours | 2.00 |", "an abacus", "--max-steps 6", "Not validated."):
        assert part in card
    assert json.loads((folder / "training.json").read_text())["step"] == 7


def test_half_the_space_loses_less_than_a_tenth_of_a_millimetre(trained: RefinerTraining, tmp_path: Path) -> None:
    checkpoint = trained.settings.out / "checkpoint-7"
    whole, half = (export(ExportRefiner(checkpoint, tmp_path / str(short), short)) for short in (False, True))
    size = "unet/diffusion_pytorch_model.safetensors"
    assert (half / size).stat().st_size < 0.6 * (whole / size).stat().st_size
    loaded = DepthRefinementPipeline.from_pretrained(half)
    assert loaded.unet.dtype == torch.float32
    difference = (refined(loaded) - refined(DepthRefinementPipeline.from_pretrained(whole))).abs()
    assert difference.max() < 1e-4


def test_settings_and_command_come_back_as_they_were(tiny: TrainRefiner) -> None:
    data = replace(tiny.data, captures=(Path("one"), Path("two")), clip_cache=None, nyu_file=Path("nyu.mat"))
    settings = replace(tiny, data=data, tensorboard=True, log_every=20)
    assert stored_settings(json.loads(json.dumps(settings.fixed())), settings.out) == settings
    words = shlex.split(training_command(settings))
    assert words[:5] == ["python", "-m", "scripts.train_refiner", "--out", "OUT"]
    assert tyro.cli(TrainRefiner, args=words[3:]) == replace(settings, out=Path("OUT"))


def test_settings_of_the_weights_that_ship_are_understood_though_one_of_them_is_gone() -> None:
    stored = json.loads((weights_folder("shipped") / TRAINING_FILE).read_text())["settings"]
    settings = stored_settings(stored, Path("out"))
    assert settings.network == Network()
    assert (settings.data.crop, settings.data.clip_reuse, settings.seed) == ((128, 96), 6, 2)
    assert settings.data.pool_passes == TrainingData().pool_passes


def test_settings_of_another_version_are_named(tiny: TrainRefiner) -> None:
    stored = plain(tiny.fixed())
    stored["data"]["glasses"] = 2
    with pytest.raises(ValueError, match=r"settings.data holds glasses"):
        stored_settings(stored, tiny.out)
