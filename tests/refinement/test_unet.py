"""The network of the refiner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffnerf_ns.refinement.normalizer import CANDIDATE_CHANNELS, CONDITION_CHANNELS
from diffnerf_ns.refinement.unet import DepthRefinementUNet


def tiny_unet(**settings) -> DepthRefinementUNet:
    torch.manual_seed(0)
    return DepthRefinementUNet(block_out_channels=(8, 8), layers_per_block=1, full_resolution_channels=8, **settings)


def inputs(height: int = 12, width: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, 1, height, width, generator=generator)
    conditions = torch.randn(2, CONDITION_CHANNELS, height, width, generator=generator)
    return noisy, torch.tensor([10, 900]), conditions


def test_untrained_it_keeps_to_the_first_guess() -> None:
    noisy, _, conditions = inputs()
    conditions[:, -CANDIDATE_CHANNELS:] = 0.0
    at_last_step = tiny_unet()(noisy, torch.tensor(999), conditions)
    assert at_last_step.shape == (2, 1, 12, 16)
    torch.testing.assert_close(at_last_step, torch.zeros_like(noisy))


def test_a_chosen_candidate_becomes_the_clean_code() -> None:
    unet = tiny_unet()
    noisy, _, conditions = inputs()
    with torch.no_grad():
        unet.conv_out.bias[1 + 5] = 100.0
    chosen = conditions[:, -CANDIDATE_CHANNELS + 5][:, None]
    torch.testing.assert_close(unet(noisy, torch.tensor(999), conditions), -chosen)
    power = unet.signal_power[400]
    expected_v = (power.sqrt() * noisy - chosen) / (1 - power).sqrt()
    torch.testing.assert_close(unet(noisy, torch.tensor(400), conditions), expected_v)


def test_in_16_bits_the_noise_level_stays_exact() -> None:
    noisy, _, conditions = inputs()
    unet, halved = tiny_unet(), tiny_unet().to(torch.bfloat16)
    for step in (1, 40, 999):
        exact = unet(noisy, torch.tensor(step), conditions)
        rounded = halved(noisy.bfloat16(), torch.tensor(step), conditions.bfloat16())
        assert (rounded - exact).abs().max() < 0.02 * exact.abs().max()


def test_sizes_that_are_no_multiples_are_refused_with_the_multiple() -> None:
    assert tiny_unet().size_multiple == 4
    assert DepthRefinementUNet(block_out_channels=(8, 8, 8)).size_multiple == 8
    with pytest.raises(ValueError, match="pad height and width to multiples of 4"):
        tiny_unet()(*inputs(height=10))


@pytest.mark.parametrize("enhanced", [True, False])
def test_gradient_checkpointing_gives_equal_gradients(enhanced: bool) -> None:
    unet = tiny_unet(feature_enhancement=enhanced)
    for name, parameter in unet.named_parameters():
        if name.endswith(("mix.weight", "conv_out.weight")):
            torch.nn.init.normal_(parameter, std=0.1)
    gradients = []
    for checkpointing in (False, True):
        (unet.enable_gradient_checkpointing if checkpointing else unet.disable_gradient_checkpointing)()
        assert unet.gradient_checkpointing is checkpointing
        unet.zero_grad()
        unet(*inputs()).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in unet.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])


def test_timestep_and_conditions_matter_and_a_scalar_timestep_is_for_all() -> None:
    unet = tiny_unet().eval()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    noisy, _, conditions = inputs()
    early, late = unet(noisy, torch.tensor(10), conditions), unet(noisy, torch.tensor(900), conditions)
    assert not torch.allclose(early, late)
    assert not torch.allclose(early, unet(noisy, torch.tensor(10), 0 * conditions))
    torch.testing.assert_close(early, unet(noisy, torch.tensor([10, 10]), conditions))


def test_the_default_network_is_small_enough_to_ship() -> None:
    parameters = sum(parameter.numel() for parameter in DepthRefinementUNet().parameters())
    assert 4 * parameters <= 25e6, "bytes of the weights that come with the package"


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    unet = tiny_unet().eval()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    unet.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.glob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]
    loaded = DepthRefinementUNet.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(*inputs()), unet(*inputs()))
