"""The pull of a field's parameters towards 0: the less, the more views there are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers

from diffnerf_ns.field.diffnerf_model import DiffnerfModel, DiffnerfModelConfig
from diffnerf_ns.field.fused_adam import FusedAdamOptimizerConfig

SMALL = {"num_levels": 3, "max_resolution": 32, "log2_hashmap_size": 8, "density_grid_resolution": 8}


def start(views: int, own: float = 0.0, **settings: float) -> tuple[DiffnerfModel, Optimizers]:
    """A model and its optimizers after what happens before the first step."""
    box = SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    poses = torch.eye(4)[None, :3].repeat(views, 1, 1)
    model = DiffnerfModelConfig(**SMALL, free_space_rays=0, **settings).setup(
        scene_box=box, num_train_data=views, metadata={"camera_to_worlds": poses}
    )
    groups = model.get_param_groups()
    decays = {"fields": own}
    configs = {
        name: FusedAdamOptimizerConfig(lr=1e-2, eps=1e-15, weight_decay=decays.get(name, 0.0)) for name in groups
    }
    optimizers = Optimizers(
        {name: {"optimizer": config, "scheduler": None} for name, config in configs.items()}, groups
    )
    pipeline, trainer = SimpleNamespace(datamanager=None), SimpleNamespace(config=SimpleNamespace(max_num_iterations=9))
    for callback in model.get_training_callbacks(TrainingCallbackAttributes(optimizers, None, pipeline, trainer)):
        callback.run_callback_at_location(0, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
    return model, optimizers


def decay_of(optimizers: Optimizers, name: str) -> float:
    (group,) = optimizers.optimizers[name].param_groups
    return group["weight_decay"]


@pytest.mark.parametrize(("views", "expected"), [(10, 1e-5), (40, 2.5e-6)])
def test_it_follows_the_number_of_training_views(views: int, expected: float) -> None:
    _, optimizers = start(views)
    assert decay_of(optimizers, "fields") == pytest.approx(expected)
    assert decay_of(optimizers, "camera_opt") == 0.0


def test_an_optimizer_s_own_stays() -> None:
    assert decay_of(start(10, own=1e-3)[1], "fields") == 1e-3


def test_none_is_none() -> None:
    assert decay_of(start(10, weight_decay_over_views=0.0)[1], "fields") == 0.0


def test_entries_that_no_ray_asks_for_go_to_zero() -> None:
    model, optimizers = start(10)
    table = next(iter(model.field.hash_grid.parameters()))
    before = float(table.detach().abs().max())
    for _ in range(200):
        table.grad = torch.zeros_like(table)
        optimizers.optimizers["fields"].step()
    assert float(table.detach().abs().max()) < 1e-2 * before


def test_it_is_resumed_with_the_optimizer() -> None:
    _, optimizers = start(10)
    _, fresh = start(40, weight_decay_over_views=0.0)
    fresh.optimizers["fields"].load_state_dict(optimizers.optimizers["fields"].state_dict())
    assert decay_of(fresh, "fields") == pytest.approx(1e-5)
