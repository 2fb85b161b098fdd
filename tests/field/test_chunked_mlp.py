"""The chunked network equals the plain one."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

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
    monkeypatch.setattr(chunked_mlp, "_ROWS", 16)
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


class _ProductSizes(TorchDispatchMode):
    """Notes the sizes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[torch.Size, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.mm.default:
            self.seen.add(tuple(operand.shape for operand in args))
        return func(*args, **(kwargs or {}))


def test_the_number_of_samples_does_not_decide_how_many_sizes_of_products_there_are():
    """Each size is compiled once and kept, megabytes each; a training meets a new number of samples in every step."""
    mlp = ChunkedMLP([4, 8, 2])
    products = {}
    for name, counts in {"few": [700], "many": range(5, 1024, 100), "several chunks": [40000, 40010]}.items():
        with _ProductSizes() as sizes:
            for count in counts:
                mlp(torch.randn(count, 4).requires_grad_()).sum().backward()
        products[name] = sizes.seen
    assert len(products["few"]) == 6
    assert products["many"] == products["few"]
    assert len(products["several chunks"]) == 12
