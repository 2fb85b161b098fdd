from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffnerf_ns.refinement.training.checkpoints import BEST, load_checkpoint, numbered_checkpoints
from diffnerf_ns.refinement.training.initial_weights import content_name
from diffnerf_ns.refinement.training.loop import RefinerTraining
from diffnerf_ns.refinement.training.run import run_training
from diffnerf_ns.refinement.training.settings import TrainRefiner
from diffnerf_ns.refinement.training.stored_settings import training_command


def losses_of(out: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record["total"] for record in records if "total" in record}


def run_and_stop(settings: TrainRefiner, at_step: int) -> None:
    """Runs a training that dies after a step, without a chance to save."""
    training = RefinerTraining(settings)
    step = training.train_step

    def dying_step(batch):
        if training.step == at_step:
            raise KeyboardInterrupt
        return step(batch)

    training.train_step = dying_step  # pyright: ignore
    with pytest.raises(KeyboardInterrupt):
        training.run()


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tiny: TrainRefiner, tmp_path: Path) -> None:
    RefinerTraining(tiny).run()
    killed = replace(tiny, out=tmp_path / "killed")
    run_and_stop(killed, at_step=5)
    assert [path.name for path in numbered_checkpoints(killed.out)] == ["checkpoint-2", "checkpoint-4"]
    RefinerTraining(replace(killed, resume_from_checkpoint="latest")).run()
    assert losses_of(killed.out) == losses_of(tiny.out)
    whole, resumed = (load_checkpoint(out / "checkpoint-6") for out in (tiny.out, killed.out))
    for part in ("unet", "ema"):
        first, second = (list(_tensors(state[part])) for state in (whole, resumed))
        assert len(first) == len(second) > 0
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True)), part
    assert whole["best_score_m"] == resumed["best_score_m"]


def _tensors(state: object):
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list):
        for value in state:
            yield from _tensors(value)


def test_only_the_newest_checkpoints_and_the_best_are_kept(tiny: TrainRefiner) -> None:
    RefinerTraining(replace(tiny, checkpoint_limit=2, max_steps=6, checkpoint_every=1)).run()
    assert sorted(path.name for path in tiny.out.glob("checkpoint-*")) == ["checkpoint-5", "checkpoint-6", BEST]


def test_a_training_is_not_overwritten_and_not_resumed_with_other_settings(tiny: TrainRefiner) -> None:
    RefinerTraining(replace(tiny, max_steps=1)).run()
    with pytest.raises(ValueError, match="is there already: add --resume-from-checkpoint latest"):
        RefinerTraining(tiny).run()
    with pytest.raises(ValueError, match=r"trained with other settings \(seed, max_steps\)"):
        RefinerTraining(replace(tiny, seed=1, resume_from_checkpoint="latest")).run()


def test_a_training_stops_when_nothing_improves(tiny: TrainRefiner, monkeypatch: pytest.MonkeyPatch) -> None:
    training = RefinerTraining(replace(tiny, validate_every=1, patience=2, max_steps=50))
    found = iter([0.05, 0.04, 0.04, 0.06, 0.01])
    real = training.validate

    def validate(clips):
        score = next(found)
        return replace(real(clips), errors_m={"alone/all": score, "with_views/all": score})

    monkeypatch.setattr(training, "validate", validate)
    training.run()
    assert (training.step, training.best_step, training.best_score_m) == (4, 2, 0.04)


def test_a_training_ends_with_a_checkpoint_when_its_hours_are_over(tiny: TrainRefiner) -> None:
    training = RefinerTraining(replace(tiny, max_hours=1e-9))
    training.run()
    assert training.step == 0
    assert load_checkpoint(tiny.out / "checkpoint-0")["step"] == 0


def test_weights_at_the_end_of_the_hours_are_validated_too(tiny: TrainRefiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RefinerTraining, "hours", property(lambda training: float(training.step)))
    training = RefinerTraining(replace(tiny, max_hours=4.0, max_steps=50, validate_every=3))
    validated = []
    real = training.validate

    def validate(clips):
        validated.append(training.step)
        return real(clips)

    monkeypatch.setattr(training, "validate", validate)
    training.run()
    assert (training.step, validated) == (4, [3, 4])


def test_hours_of_an_earlier_part_count(tiny: TrainRefiner) -> None:
    RefinerTraining(replace(tiny, max_steps=2)).run()
    state = load_checkpoint(tiny.out / "checkpoint-2")
    training = RefinerTraining(replace(tiny, max_steps=2, max_hours=2.0))
    training.load_state({**state, "seconds": 3 * 3600.0}, tiny.out)
    assert training.hours > 3.0
    assert training._must_stop()


@pytest.mark.parametrize("objective", ["diffusion", "regression"])
def test_a_short_training_lowers_the_loss_on_what_it_sees(tiny: TrainRefiner, objective: str) -> None:
    training = RefinerTraining(replace(tiny, objective=objective, learning_rate=1e-2, max_steps=40, warmup=0.1))
    batch = next(training.batches())
    seen = [float(training.train_step(batch)["v"]) for _ in range(40)]
    assert sum(seen[-8:]) < 0.8 * sum(seen[:8])


def test_all_losses_together_give_finite_gradients(tiny: TrainRefiner) -> None:
    losses = replace(tiny.losses, consistency=0.5)
    training = RefinerTraining(replace(tiny, losses=losses))
    found = training.train_step(next(training.batches()))
    assert {"v", "edge", "consistency", "total"} <= found.keys()
    assert all(torch.isfinite(value) for value in found.values())


def test_a_training_goes_on_from_another_refiner(tiny: TrainRefiner, tmp_path: Path) -> None:
    run_training(tiny, "first")
    refiner = str(tiny.out / "refiner")
    earlier = load_checkpoint(tiny.out / BEST)["ema"]["shadow_params"]
    second = replace(tiny, out=tmp_path / "second", initial_weights=refiner, max_steps=2, learning_rate=0.0)
    begun = RefinerTraining(second)
    assert all(torch.equal(one, other) for one, other in zip(begun.unet.parameters(), earlier, strict=True))
    run_training(second, training_command(second))
    card = (second.out / "refiner" / "README.md").read_text()
    assert f"| begun with | the weights `refiner` of content {content_name(refiner)} |" in card
    assert str(tmp_path) not in card + (second.out / "refiner" / "training.json").read_text()
    assert "| begun with | random weights |" in (tiny.out / "refiner" / "README.md").read_text()


def test_weights_of_another_shape_are_refused(tiny: TrainRefiner) -> None:
    with pytest.raises(ValueError, match=r"initial_weights 'shipped' .* another shape .*settings of `network`"):
        RefinerTraining(replace(tiny, initial_weights="shipped"))
