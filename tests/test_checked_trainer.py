"""Steps survive running out of memory, the number of rays survives a checkpoint, schedules end with training."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
import yaml

from diffnerf_ns.checked_trainer import CheckedTrainer, CheckedTrainerConfig
from diffnerf_ns.field.depth_supervised_model import KnownDepth
from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.method_configs.diffnerf import diffnerf  # pyright: ignore[reportMissingImports]
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig

RAYS = 256


@pytest.fixture
def settings(capture: Path, tmp_path: Path) -> CheckedTrainerConfig:
    """diffnerf, small, on a tiny capture; 8 rays are the fewest."""
    config = copy.deepcopy(diffnerf.config)
    assert isinstance(config, CheckedTrainerConfig)
    config.output_dir, config.vis, config.max_num_iterations = tmp_path / "outputs", "tensorboard", 40
    config.machine.device_type = "cpu"
    config.mixed_precision = False
    config.pipeline.model = DiffnerfModelConfig(
        num_levels=4, max_resolution=64, log2_hashmap_size=10, density_grid_resolution=16
    )
    datamanager = config.pipeline.datamanager
    assert isinstance(datamanager, RefinedDepthDataManagerConfig)
    datamanager.data = capture
    datamanager.train_num_rays_per_batch = RAYS
    datamanager.refiner.model = "none"
    config.rays_per_batch.min_rays = 8
    config.set_timestamp()
    return config


def _trainer(config: CheckedTrainerConfig) -> CheckedTrainer:
    torch.manual_seed(0)
    trainer = config.setup()
    trainer.setup()
    trainer.pipeline.train()
    return trainer


def _fit_at_most(trainer: CheckedTrainer, most: int, error: Exception, monkeypatch) -> list[int]:
    """Makes steps of more than `most` rays fail in the forward pass; returns the list of all rays tried."""
    tried = []
    render = trainer.pipeline.model.get_outputs

    def limited(ray_bundle):
        outputs = render(ray_bundle)
        tried.append(len(ray_bundle))
        if len(ray_bundle) > most:
            raise error
        return outputs

    monkeypatch.setattr(trainer.pipeline.model, "get_outputs", limited)
    return tried


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_step_that_does_not_fit_is_repeated_and_counts_once(settings, error, monkeypatch):
    trainer = _trainer(settings)
    tried = _fit_at_most(trainer, 100, error, monkeypatch)
    for step in range(5):
        trainer.train_iteration(step)
    assert tried == [RAYS, 128, 64, 64, 64, 64, 64]
    for optimizer in trainer.optimizers.optimizers.values():
        assert {int(state["step"]) for state in optimizer.state.values()} == {5}
    assert {schedule.last_epoch for schedule in trainer.optimizers.schedulers.values()} == {5}
    assert trainer.pipeline.datamanager.get_train_rays_per_batch() == 64


def test_a_failed_attempt_leaves_no_trace_in_the_gradients(settings, monkeypatch):
    trainer = _trainer(settings)
    backward, calls = torch.Tensor.backward, []

    def failing(loss, *args, **kwargs):
        backward(loss, *args, **kwargs)
        calls.append(trainer.pipeline.datamanager.get_train_rays_per_batch())
        if len(calls) == 1:
            raise OUT_OF_MEMORY[0]

    monkeypatch.setattr(torch.Tensor, "backward", failing)
    loss, _, _ = trainer.train_iteration(0)
    assert calls == [RAYS, RAYS // 2]
    assert torch.isfinite(loss)
    last_layer = trainer.pipeline.model.get_parameter("field.color_mlp.layers.2.weight")
    moment = trainer.optimizers.optimizers["fields"].state[last_layer]["exp_avg"]
    assert last_layer.grad is not None
    torch.testing.assert_close(moment, 0.1 * last_layer.grad)


def test_other_errors_and_half_done_steps_are_not_repeated(settings, monkeypatch):
    trainer = _trainer(settings)
    _fit_at_most(trainer, 0, ValueError("something else"), monkeypatch)
    with pytest.raises(ValueError, match="something else"):
        trainer.train_iteration(0)
    monkeypatch.undo()
    monkeypatch.setattr(trainer.optimizers, "scheduler_step_all", lambda step: (_ for _ in ()).throw(OUT_OF_MEMORY[0]))
    with pytest.raises(torch.OutOfMemoryError):
        trainer.train_iteration(0)


def test_a_model_that_never_fits_ends_with_the_remedy(settings, monkeypatch):
    settings.rays_per_batch.min_rays = 128
    trainer = _trainer(settings)
    _fit_at_most(trainer, 0, OUT_OF_MEMORY[0], monkeypatch)
    with pytest.raises(RuntimeError, match=r"out of memory with 128 rays .*gradient_checkpointing"):
        trainer.train_iteration(0)


def test_a_patch_that_does_not_fit_is_not_tried_again(settings, monkeypatch):
    settings.pipeline.datamanager.patch_size = 8
    settings.pipeline.datamanager.train_num_rays_per_batch = 64
    trainer = _trainer(settings)
    tried = _fit_at_most(trainer, 0, OUT_OF_MEMORY[0], monkeypatch)
    with pytest.raises(RuntimeError, match="out of memory with 64 rays"):
        trainer.train_iteration(0)
    assert tried == [64]


def _rays_of_steps(trainer: CheckedTrainer, steps: range, monkeypatch) -> list[int]:
    tried = _fit_at_most(trainer, 10**9, MemoryError(), monkeypatch)
    for step in steps:
        trainer.train_iteration(step)
    return tried


def test_rays_grow_over_a_share_of_training_and_a_resumed_one_goes_on(settings, monkeypatch):
    settings.rays_per_batch.first_rays, settings.rays_per_batch.growth_share = RAYS // 4, 0.2
    trainer = _trainer(settings)
    assert _rays_of_steps(trainer, range(6), monkeypatch) == [RAYS // 4] * 4 + [RAYS // 2] * 2
    trainer.save_checkpoint(5)
    settings.load_dir = trainer.checkpoint_dir
    assert _rays_of_steps(_trainer(settings), range(6, 11), monkeypatch) == [RAYS // 2] * 2 + [RAYS] * 3


def test_rays_that_ran_out_of_memory_grow_no_more(settings, monkeypatch):
    settings.rays_per_batch.first_rays, settings.rays_per_batch.growth_share = RAYS // 4, 0.2
    trainer = _trainer(settings)
    tried = _fit_at_most(trainer, RAYS // 4, OUT_OF_MEMORY[0], monkeypatch)
    for step in range(20):
        trainer.train_iteration(step)
    assert tried == [RAYS // 4] * 4 + [RAYS // 2] + [RAYS // 4] * 16


def test_a_number_of_rays_set_from_outside_stays_until_the_plan_changes(settings, monkeypatch):
    settings.rays_per_batch.first_rays, settings.rays_per_batch.growth_share = RAYS // 4, 0.2
    trainer = _trainer(settings)
    trainer.train_iteration(30)
    trainer._sampler().set_num_rays_per_batch(17)
    assert _rays_of_steps(trainer, range(31, 34), monkeypatch) == [17] * 3


def test_a_target_moves_the_rays_and_a_checkpoint_remembers_them(settings):
    settings.rays_per_batch.target_step_seconds = 1e-6
    settings.rays_per_batch.steps_between_changes = 2
    trainer = _trainer(settings)
    for step in range(4):
        trainer.train_iteration(step)
    assert trainer.pipeline.datamanager.get_train_rays_per_batch() == RAYS // 4
    trainer.save_checkpoint(4)
    settings.load_dir = trainer.checkpoint_dir
    assert _trainer(settings).pipeline.datamanager.get_train_rays_per_batch() == RAYS // 4
    settings.rays_per_batch.min_rays = 100
    assert _trainer(settings).pipeline.datamanager.get_train_rays_per_batch() == 100
    settings.rays_per_batch.target_step_seconds = None
    assert _trainer(settings).pipeline.datamanager.get_train_rays_per_batch() == RAYS


def test_the_number_of_rays_does_not_scale_the_losses(settings):
    """Halves of a batch have gradients whose mean is the whole batch's."""
    model = _trainer(settings).pipeline.model
    weights, lengths = torch.rand(64, 5) / 5, torch.sort(torch.rand(64, 6))[0]
    near, far = torch.zeros(64, 1), torch.ones(64, 1)
    image = torch.rand(64, 3)
    values = {"rgb": torch.rand(64, 3), "accumulation": weights.sum(-1, keepdim=True), "weights": weights}
    values |= {"edges": lengths, "near": near, "far": far}
    known_ray = torch.rand(64, 1) + 0.1
    known = KnownDepth(known_ray, torch.full((64, 1), 0.01), known_ray)

    def losses(rows: slice) -> dict[str, torch.Tensor]:
        outputs = {key: value[rows] for key, value in values.items()}
        outputs["known_depth"] = KnownDepth(*(value[rows] for value in known))
        return model.get_loss_dict(outputs, {"image": image[rows]})

    whole, first, second = losses(slice(None)), losses(slice(0, 32)), losses(slice(32, 64))
    for name in ("rgb_loss", "distortion_loss", "depth_loss", "free_space_loss"):
        torch.testing.assert_close(whole[name], 0.5 * (first[name] + second[name]))


def test_the_schedule_ends_with_training_unless_it_has_an_end_of_its_own(settings):
    settings.optimizers["camera_opt"]["scheduler"].max_steps = 10
    optimizers = _trainer(settings).setup_optimizers()
    rates = {name: [] for name in optimizers.schedulers}
    for _ in range(60):
        for name, schedule in optimizers.schedulers.items():
            optimizers.optimizers[name].step()
            schedule.step()
            rates[name].append(schedule.get_last_lr()[0] / optimizers.config[name]["optimizer"].lr)
    assert rates["camera_opt"][9] == pytest.approx(0.02)
    assert rates["fields"][9] > 0.8
    assert rates["fields"][39:] == pytest.approx([0.02] * 21)
    assert settings.optimizers["fields"]["scheduler"].max_steps is None


def test_its_settings_are_written_and_read_again(settings):
    settings.rays_per_batch.target_memory_gib = 3.5
    text = io.StringIO(yaml.dump(settings))
    assert yaml.load(text, Loader=yaml.Loader).rays_per_batch.target_memory_gib == 3.5
