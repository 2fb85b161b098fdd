from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.training.checkpoints import BEST, load_checkpoint
from diffnerf_ns.refinement.training.perceptual import WEIGHTS_FILE, load_features, perceptual_loss
from diffnerf_ns.refinement.training.run import run_training
from diffnerf_ns.refinement.training.settings import TrainRefiner


def test_a_training_ends_with_a_pipeline_of_the_best_averaged_weights_and_its_card(tiny: TrainRefiner) -> None:
    run_training(replace(tiny, max_steps=3), "the command")
    folder = tiny.out / "refiner"
    pipeline = DepthRefinementPipeline.from_pretrained(folder)
    best = load_checkpoint(tiny.out / BEST)["ema"]["shadow_params"]
    assert all(torch.equal(one, other) for one, other in zip(pipeline.unet.parameters(), best, strict=True))
    refined = pipeline(torch.rand(3, 32, 48), torch.full((32, 48), 2.0), generator=torch.Generator().manual_seed(0))
    assert refined.depth_z_m.shape[-2:] == (32, 48)
    assert [path.name for path in folder.rglob("*.bin")] == []
    card = (folder / "README.md").read_text()
    for part in ("the command", "redwood", "3 of 3", "license: apache-2.0", "| refined, with other views |"):
        assert part in card


def test_a_dry_run_explains_and_writes_nothing(tiny: TrainRefiner, capsys: pytest.CaptureFixture[str]) -> None:
    run_training(replace(tiny, dry_run=True, data=replace(tiny.data, clip_cache=None)), "")
    said = capsys.readouterr().err
    for part in ("million parameters", "rooms 100%", "samples/s", "Steps: 6 of 2 samples", "Nothing was written"):
        assert part in said
    slowest = re.search(r"most of the time for (\w+) (\d+)%, (\w+) (\d+)%", said)
    assert slowest is not None
    assert 100 >= int(slowest[2]) >= int(slowest[4]) > 0
    assert not tiny.out.exists()


def test_the_perceptual_loss_is_off_without_weights_and_compares_features_with_them(tmp_path) -> None:
    assert load_features(tmp_path) is None
    from torchvision.models import vgg16

    with torch.device("meta"):
        names = vgg16(weights=None).features[:9].state_dict()
    torch.manual_seed(0)
    stored = {f"features.{name}": 0.1 * torch.randn(value.shape) for name, value in names.items()}
    (tmp_path / "checkpoints").mkdir()
    torch.save(stored, tmp_path / "checkpoints" / WEIGHTS_FILE)
    features = load_features(tmp_path)
    truth, everywhere = torch.rand(1, 16, 16), torch.ones(1, 16, 16)
    predicted = (truth + 0.1).requires_grad_()
    assert perceptual_loss(features, truth, truth, everywhere).item() == 0.0
    loss = perceptual_loss(features, predicted, truth, everywhere)
    loss.backward()
    assert loss.item() > 0.0
    assert predicted.grad.abs().sum() > 0
    assert perceptual_loss(features, predicted, truth, 0 * everywhere).item() == 0.0
