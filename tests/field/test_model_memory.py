"""Less memory, the same gradients; rendering goes on in smaller chunks; numbers hold up under mixed precision."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor, nn

from diffnerf_ns.field.chunked_mlp import ChunkedMLP
from diffnerf_ns.field.diffnerf_model import DiffnerfModel, DiffnerfModelConfig
from diffnerf_ns.field.hash_grid import HashGridBackend

BOX = torch.tensor([[-2.0, -2.0, -2.5], [2.0, 2.0, 0.5]])
POSES = torch.eye(4)[:3].repeat(3, 1, 1)
POSES[:, 0, 3] = torch.tensor([0.0, 0.5, 1.0])
RAYS = 600
BACKENDS: tuple[HashGridBackend, ...] = ("numba", "torch")


def _model(**settings) -> DiffnerfModel:
    torch.manual_seed(0)
    config = DiffnerfModelConfig(
        num_levels=6, max_resolution=64, log2_hashmap_size=12, density_grid_resolution=24, **settings
    )
    metadata = {"dataparser_scale": 1.0, "camera_to_worlds": POSES}
    model = config.setup(scene_box=SceneBox(aabb=BOX), num_train_data=len(POSES), metadata=metadata).train()
    with torch.no_grad():
        model.field.hash_grid.table.normal_(std=0.3)
    for network in (model.field.density_mlp, model.field.color_mlp):
        network.cpu_dtype = torch.float32  # bfloat16 sums differ by their rounding when chunks differ
    return model


def _rays() -> RayBundle:
    generator = torch.Generator().manual_seed(1)
    direction = torch.cat([torch.rand(RAYS, 2, generator=generator) * 0.8 - 0.4, -torch.ones(RAYS, 1)], dim=-1)
    norm = direction.norm(dim=-1, keepdim=True)
    depth = torch.full((RAYS, 1), 2.0)
    return RayBundle(
        origins=torch.zeros(RAYS, 3),
        directions=direction / norm,
        pixel_area=torch.ones(RAYS, 1),
        camera_indices=torch.arange(RAYS)[:, None] % len(POSES),
        metadata={"directions_norm": norm, "depth_z": depth, "depth_sigma": torch.full_like(depth, 0.02)},
    )


def _loss(model: DiffnerfModel) -> Tensor:
    torch.manual_seed(2)
    outputs = model(_rays())
    batch = {"image": torch.full((RAYS, 3), 0.3)}
    return torch.stack(list(model.get_loss_dict(outputs, batch).values())).sum()


def _gradients(model: DiffnerfModel) -> dict[str, Tensor]:
    _loss(model).backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def _saved_megabytes(model: DiffnerfModel) -> float:
    """What a step keeps for its backward pass, each piece of memory counted once, parameters not at all."""
    parameters = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept = {}

    def keep(saved: Tensor) -> Tensor:
        if saved.untyped_storage().data_ptr() not in parameters:
            kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        loss = _loss(model)
    megabytes = sum(storage.nbytes() for storage in kept.values()) / 1e6
    loss.backward()
    return megabytes


@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpointing_gives_the_same_gradients_also_to_poses(backend):
    plain = _gradients(_model(hash_grid_backend=backend))
    cheap = _gradients(_model(hash_grid_backend=backend, gradient_checkpointing=True, checkpoint_rays=250))
    assert set(plain) == set(cheap)
    assert any("camera_optimizer" in name for name in plain)
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(cheap[name], gradient, atol=min(1e-6, 1e-5 * gradient.abs().max().item()), rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpointing_keeps_a_fraction_for_the_backward_pass(backend):
    plain = _saved_megabytes(_model(hash_grid_backend=backend))
    cheap = _saved_megabytes(_model(hash_grid_backend=backend, gradient_checkpointing=True, checkpoint_rays=250))
    assert cheap < 0.4 * plain


def test_a_view_that_does_not_fit_is_rendered_in_smaller_chunks_which_stay(monkeypatch):
    model = _model(eval_num_rays_per_chunk=512).eval()
    camera = Cameras(torch.eye(4)[None, :3], fx=30.0, fy=30.0, cx=16.0, cy=12.0, width=32, height=24)
    expected = model.get_outputs_for_camera(camera)["rgb"]
    render, tried = model.get_outputs, []

    def limited(ray_bundle):
        tried.append(len(ray_bundle))
        if len(ray_bundle) > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return render(ray_bundle)

    monkeypatch.setattr(model, "get_outputs", limited)
    torch.testing.assert_close(model.get_outputs_for_camera(camera)["rgb"], expected)
    assert tried == [512, 256, *[128] * 6]
    assert model.config.eval_num_rays_per_chunk == 128
    monkeypatch.setattr(model, "get_outputs", lambda ray_bundle: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.get_outputs_for_camera(camera)


def test_a_view_that_never_fits_ends(monkeypatch):
    model = _model(eval_num_rays_per_chunk=128).eval()
    camera = Cameras(torch.eye(4)[None, :3], fx=30.0, fy=30.0, cx=16.0, cy=12.0, width=32, height=24)

    def full(ray_bundle):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "get_outputs", full)
    with pytest.raises(torch.OutOfMemoryError):
        model.get_outputs_for_camera(camera)


def _layer_by_layer(mlp: ChunkedMLP, inputs: Tensor) -> Tensor:
    """What a network does on a GPU, where autocast chooses the precision of each layer."""
    hidden = inputs
    for layer in mlp.layers[:-1]:
        hidden = torch.relu(nn.functional.linear(hidden, layer.weight))
    return nn.functional.linear(hidden, mlp.layers[-1].weight)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "scale", "similar"), [(torch.bfloat16, 1.0, 0.9), (torch.float16, 2.0**16, 0.99)])
def test_under_autocast_losses_are_finite_and_gradients_are_those_of_float32(
    backend, dtype, scale, similar, monkeypatch
):
    """In float16 with the scale that nerfstudio's GradScaler starts with. bfloat16 is coarser, above all for poses."""
    monkeypatch.setattr(ChunkedMLP, "forward", _layer_by_layer)
    exact = _gradients(_model(hash_grid_backend=backend))
    model = _model(hash_grid_backend=backend)
    with torch.autocast("cpu", dtype=dtype):
        loss = _loss(model)
    assert torch.isfinite(loss)
    assert loss.dtype == torch.float32
    (scale * loss).backward()
    for name, gradient in exact.items():
        rounded = model.get_parameter(name).grad
        assert rounded.dtype == torch.float32
        assert torch.isfinite(rounded).all()
        assert torch.cosine_similarity(rounded.flatten(), gradient.flatten(), dim=0) > similar, name
        assert rounded.norm().item() / scale == pytest.approx(gradient.norm().item(), rel=0.1), name


def test_under_autocast_densities_and_weights_stay_in_float32(monkeypatch):
    monkeypatch.setattr(ChunkedMLP, "forward", _layer_by_layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = _model()(_rays())
    for name in ("weights", "edges", "rgb", "accumulation", "expected_depth"):
        assert outputs[name].dtype == torch.float32, name
    assert outputs["accumulation"].max() <= 1.0 + 1e-5
