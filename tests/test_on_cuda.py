"""diffnerf and diffnerf-mlp refine, train and evaluate on a GPU without mixing devices, as a simulated one tells."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.eval_utils import eval_setup
from simulated_cuda import CUDA, SimulatedCuda, simulated_cuda

from diffnerf_ns.method_configs.diffnerf import diffnerf  # pyright: ignore[reportMissingImports]
from diffnerf_ns.method_configs.diffnerf_mlp import diffnerf_mlp  # pyright: ignore[reportMissingImports]

SMALL = {"pipeline__model__log2_hashmap_size": 12, "pipeline__model__density_grid_resolution": 24}


@pytest.fixture
def cuda() -> Iterator[SimulatedCuda]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with simulated_cuda() as device:
            yield device


@pytest.fixture
def train(cuda: SimulatedCuda, make_capture: Callable[..., Path], cache_dir: Path, tmp_path: Path) -> Callable:
    """Trains a method for a few steps on the device, with mixed precision; gives back the trainer."""

    def run(method: Any, steps: int = 3, **settings: object):
        config = copy.deepcopy(method.config)
        config.machine.device_type, config.mixed_precision, config.vis = "cuda", True, "tensorboard"
        config.max_num_iterations, config.output_dir = steps, tmp_path / "outputs"
        config.steps_per_eval_batch = config.steps_per_eval_image = config.steps_per_eval_all_images = 2
        config.pipeline.datamanager.data = make_capture(width=32)
        config.pipeline.datamanager.refiner.cache_dir = cache_dir
        config.pipeline.datamanager.train_num_rays_per_batch = 256
        for path, value in settings.items():
            *parents, name = path.split("__")
            owner = config
            for parent in parents:
                owner = getattr(owner, parent)
            assert hasattr(owner, name)
            setattr(owner, name, value)
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainer.train()
        return trainer

    return run


def test_mixing_devices_is_refused_as_on_a_gpu(cuda: SimulatedCuda) -> None:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    assert [one.device.type for one in (there, (there * 2)[1:], here.to(there), here)] == ["cuda"] * 3 + ["cpu"]
    for mixed in (
        lambda: there + here,
        lambda: torch.cat([there, here]),
        lambda: torch.stack([there[0], torch.tensor(1.0)]),
        lambda: here[torch.zeros(1, dtype=torch.long, device="cuda")],
        lambda: there.index_select(0, torch.zeros(1, dtype=torch.long)),
        lambda: there.__setitem__(here > 0, here),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()


def test_what_a_gpu_allows_is_allowed(cuda: SimulatedCuda) -> None:
    there, here = torch.zeros(3, device="cuda"), torch.ones(3)
    assert (there + torch.tensor(1.0)).is_cuda
    assert there[torch.zeros(1, dtype=torch.long)].is_cuda
    assert not there.cpu().is_cuda
    assert there.cpu().numpy().sum() == 0
    there.copy_(here)
    there[:2] = here[:2]
    assert there.sum().item() == 3
    assert not here.is_cuda


def test_random_numbers_come_from_the_generator_of_their_device(cuda: SimulatedCuda) -> None:
    there, here = torch.Generator("cuda"), torch.Generator()
    assert torch.rand(2, generator=there, device="cuda").is_cuda
    with pytest.raises(RuntimeError, match="generator of the same device, but found cpu"):
        torch.rand(2, generator=here, device="cuda")
    with pytest.raises(RuntimeError, match="generator of the same device, but found cuda"):
        torch.rand(2, generator=there)


def test_gradients_lie_where_their_parameters_do(cuda: SimulatedCuda) -> None:
    layer = torch.nn.Linear(2, 1).to("cuda")
    layer(torch.ones(4, 2, device="cuda")).sum().backward()
    assert layer.weight.is_cuda
    assert layer.weight.grad.is_cuda
    assert layer.weight.grad.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "pipeline__model__gradient_checkpointing": True,
            "pipeline__model__depth_calibration__enabled": True,
            "pipeline__model__smoothness_loss_mult": 0.1,
            "pipeline__model__normal_loss_mult": 0.1,
            "pipeline__datamanager__patch_size": 4,
            "pipeline__datamanager__normals_from_depth": True,
            "rays_per_batch__target_memory_gib": 2.0,
        },
        {"pipeline__model__depth_loss_type": "wasserstein", "pipeline__datamanager__images_on_gpu": True},
    ],
    ids=["default", "all-terms", "images-on-gpu"],
)
def test_diffnerf_refines_trains_and_evaluates(train: Callable, settings: dict) -> None:
    trainer = train(diffnerf, **SMALL, **settings)
    model = trainer.pipeline.model
    assert {parameter.device for parameter in model.parameters()} == {CUDA}
    assert {buffer.device for buffer in model.buffers()} == {CUDA}
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.field.parameters())
    camera: Cameras = trainer.pipeline.datamanager.eval_dataset.cameras[:1].to(CUDA)
    outputs = model.eval().get_outputs_for_camera(camera)
    assert {name: output.device for name, output in outputs.items() if output.device != CUDA} == {}
    assert torch.isfinite(outputs["rgb"]).all()
    assert (outputs["depth"] > 0).all()


def test_a_checkpoint_is_loaded_and_scored_as_ns_eval_does(train: Callable) -> None:
    trainer = train(diffnerf, **SMALL)
    trainer.config.save_config()
    _, pipeline, checkpoint, step = eval_setup(trainer.base_dir / "config.yml")
    assert (checkpoint.name, step) == ("step-000000002.ckpt", 2)
    loaded, trained = pipeline.state_dict(), trainer.pipeline.state_dict()
    assert loaded.keys() == trained.keys() - {"train_num_rays"}
    assert all(torch.equal(values, trained[name]) for name, values in loaded.items())
    assert {parameter.device for parameter in pipeline.parameters()} == {CUDA}
    metrics = pipeline.get_average_eval_image_metrics()
    assert metrics["psnr"] > 5
    assert 0 < metrics["depth_mae_m"] < 2


def test_classic_nerf_trains_and_evaluates(train: Callable) -> None:
    trainer = train(diffnerf_mlp, pipeline__model__coarse_samples=8, pipeline__model__fine_samples=8)
    parameters = list(trainer.pipeline.model.parameters())
    assert {parameter.device for parameter in parameters} == {CUDA}
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
