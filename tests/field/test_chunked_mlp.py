"""The chunked network equals the plain one."""

import pytest
import torch

from diffnerf_ns.field import chunked_mlp
from diffnerf_ns.field.chunked_mlp import ChunkedMLP


def _plain(mlp: ChunkedMLP, inputs: torch.Tensor) -> torch.Tensor:
    hidden = inputs
    for layer in mlp.layers[:-1]:
        hidden = torch.relu(layer(hidden))
    return mlp.layers[-1](hidden)


@pytest.mark.parametrize(("dtype", "likeness"), [(torch.float32, 1 - 1e-6), (torch.bfloat16, 0.995)])
def test_values_and_gradients_point_where_those_of_plain_layers_do(dtype, likeness, monkeypatch):
    monkeypatch.setattr(chunked_mlp, "_CHUNK", 64)
    torch.manual_seed(0)
    mlp = ChunkedMLP([6, 16, 16, 3])
    mlp.cpu_dtype = dtype
    inputs = torch.randn(200, 6)
    results = []
    for function in (lambda x: mlp(x), lambda x: _plain(mlp, x)):
        x = inputs.clone().requires_grad_(True)
        mlp.zero_grad()
        out = function(x)
        (out**2).mean().backward()
        results.append([out.detach(), x.grad, *(layer.weight.grad.clone() for layer in mlp.layers)])
    for chunked, plain in zip(*results, strict=True):
        assert torch.cosine_similarity(chunked.flatten(), plain.flatten(), dim=0) >= likeness
        assert chunked.norm().item() == pytest.approx(plain.norm().item(), rel=0.02)


def test_inputs_that_need_no_gradient_get_none():
    mlp = ChunkedMLP([4, 8, 2])
    inputs = torch.randn(10, 4)
    mlp(inputs).sum().backward()
    assert inputs.grad is None
    assert all(layer.weight.grad is not None for layer in mlp.layers)


def test_no_samples_give_no_outputs():
    assert ChunkedMLP([4, 8, 2])(torch.empty(0, 4)).shape == (0, 2)
