"""The learning rate over steps, and that a checkpoint can be loaded."""

import io

import pytest
import torch

from diffnerf_ns.field.exponential_schedule import ExponentialScheduleConfig


def _schedule(**settings):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    return optimizer, ExponentialScheduleConfig(**settings).setup().get_scheduler(optimizer, 2.0)


def test_it_falls_by_the_same_factor_at_every_step_to_its_final_share_and_stays():
    optimizer, scheduler = _schedule(max_steps=100, final_share=0.1)
    rates = []
    for _ in range(120):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 2.0
    assert rates[50] == pytest.approx(2.0 * 0.1**0.5)
    assert rates[1] / rates[0] == pytest.approx(rates[81] / rates[80])
    assert rates[100:] == pytest.approx([0.2] * 20)


def test_its_state_and_the_optimizer_s_load_with_weights_only():
    optimizer, scheduler = _schedule(max_steps=10)
    optimizer.step()
    scheduler.step()
    file = io.BytesIO()
    torch.save({"scheduler": scheduler.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["scheduler"]["last_epoch"] == 1
