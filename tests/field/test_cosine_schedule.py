"""The learning rate warms up, decays to its final share, and stays loadable."""

import io
import itertools

import pytest
import torch

from diffnerf_ns.field.cosine_schedule import WarmCosineScheduleConfig


def _schedule(**settings):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    return optimizer, WarmCosineScheduleConfig(**settings).setup().get_scheduler(optimizer, 1.0)


def _rates(count: int, **settings) -> list[float]:
    optimizer, scheduler = _schedule(**settings)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_it_warms_up_linearly_then_falls_to_its_final_share_and_stays():
    rates = _rates(130, warmup_steps=4, max_steps=100, final_share=0.1)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.01)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[4:]))
    assert rates[100:] == pytest.approx([0.1] * 30)


def test_nothing_moves_during_the_delay():
    rates = _rates(12, warmup_steps=1, max_steps=100, delay_steps=10)
    assert rates[:10] == [0.0] * 10
    assert rates[10] > 0.9


def test_its_state_loads_with_weights_only():
    _, scheduler = _schedule(max_steps=10)
    scheduler.step()
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["last_epoch"] == 1


def test_a_short_training_warms_up_in_a_tenth_of_it():
    rates = _rates(20, warmup_steps=100, max_steps=20)
    assert rates[0] == pytest.approx(0.5, abs=0.01)
    assert rates[1] > 0.98


def test_a_schedule_without_an_end_asks_for_one():
    with pytest.raises(ValueError, match="max_steps is None"):
        _schedule()
