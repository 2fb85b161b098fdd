"""Adam in one kernel is Adam, and what the methods train with."""

import pytest
import torch

from diffnerf_ns.field.fused_adam import FusedAdamOptimizerConfig
from diffnerf_ns.method_configs.diffnerf import diffnerf  # pyright: ignore[reportMissingImports]
from diffnerf_ns.method_configs.diffnerf_mlp import diffnerf_mlp  # pyright: ignore[reportMissingImports]


def trained(fused: bool) -> torch.Tensor:
    """A parameter after ten steps with gradients of all sizes, zero among them."""
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(100, 2))
    optimizer = FusedAdamOptimizerConfig(lr=1e-2, eps=1e-15, fused=fused).setup([parameter])
    for step in range(10):
        parameter.grad = torch.randn(100, 2) * 10.0 ** torch.arange(-50, 50)[:, None].clamp(-8, 4)
        parameter.grad[step::10] = 0.0
        optimizer.step()
    return parameter.detach()


def test_fused_steps_are_those_of_adam():
    torch.testing.assert_close(trained(fused=True), trained(fused=False), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", [diffnerf, diffnerf_mlp])
def test_every_parameter_group_of_a_method_is_updated_by_it(method):
    for group in method.config.optimizers.values():
        optimizer = group["optimizer"].setup([torch.nn.Parameter(torch.zeros(1))])
        assert optimizer.defaults["fused"] is True
