"""A small ReLU network evaluated on a CPU in chunks that stay in cache.

torch evaluates layer by layer over all samples, so hidden activations of 10^5 samples travel through main memory and
their freshly mapped pages cost more than the arithmetic. Here a chunk passes through all layers at once, hidden
activations are recomputed in the backward pass, and on CPUs with native bfloat16 the products are taken in it.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from diffnerf_ns.cpu_features import cpu_has_native_bfloat16

_CHUNK = 16384

_ROWS = 1024
"""Chunks are filled up with zeros to a multiple of this: the products are compiled for every size that they meet, and
the last chunk of every step has another one."""


def _chunk(values: Tensor, start: int, dtype: torch.dtype) -> Tensor:
    """Rows from `start` on in another type, as many as a chunk has, with zeros behind the last one."""
    rows = values[start : start + _CHUNK].to(dtype)
    missing = -len(rows) % _ROWS
    return nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows


class _ChunkedMLPFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, dtype: torch.dtype, *weights: Tensor):
        ctx.save_for_backward(inputs, *weights)
        ctx.dtype = dtype
        out = torch.empty(len(inputs), len(weights[-1]), dtype=inputs.dtype)
        transposed = [weight.to(dtype).t() for weight in weights]
        for start in range(0, len(inputs), _CHUNK):
            hidden = _chunk(inputs, start, dtype)
            for weight in transposed[:-1]:
                hidden = (hidden @ weight).relu_()
            out[start : start + _CHUNK] = (hidden @ transposed[-1])[: len(out) - start]
        return out

    @staticmethod
    def backward(ctx, grad_out: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        dtype = ctx.dtype
        inputs, *weights = ctx.saved_tensors
        cast = [weight.to(dtype) for weight in weights]
        grad_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        grad_weights = [torch.zeros_like(weight) for weight in weights]
        for start in range(0, len(inputs), _CHUNK):
            activations = [_chunk(inputs, start, dtype)]
            for weight in cast[:-1]:
                activations.append((activations[-1] @ weight.t()).relu_())
            grad = _chunk(grad_out, start, dtype)
            for layer in range(len(weights) - 1, -1, -1):
                grad_weights[layer] += grad.t() @ activations[layer]
                if layer == 0 and grad_inputs is None:
                    break
                grad = grad @ cast[layer]
                if layer > 0:
                    grad = torch.ops.aten.threshold_backward(grad, activations[layer], 0)
            if grad_inputs is not None:
                grad_inputs[start : start + _CHUNK] = grad[: len(grad_inputs) - start]
        return grad_inputs, None, *grad_weights


class ChunkedMLP(nn.Module):
    """Linear layers without bias, ReLU between them, a linear last layer.

    Args:
        widths: number of inputs, hidden units of each layer, outputs.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths))
        for layer in self.layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")  # pyright: ignore
        self.cpu_dtype = torch.bfloat16 if cpu_has_native_bfloat16() else torch.float32

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [N, widths[-1]] of inputs [N, widths[0]]."""
        weights = [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]
        if inputs.device.type == "cpu" and inputs.dtype == torch.float32:
            return _ChunkedMLPFunction.apply(inputs, self.cpu_dtype, *weights)  # pyright: ignore
        hidden = inputs
        for weight in weights[:-1]:
            hidden = torch.relu(nn.functional.linear(hidden, weight))
        return nn.functional.linear(hidden, weights[-1])
