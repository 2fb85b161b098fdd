"""A peak is measured from its reset on, and forgotten at the next."""

from __future__ import annotations

import pytest
import torch

from diffnerf_ns.peak_memory import can_measure_peak, peak_gib, reset_peak


@pytest.mark.skipif(not can_measure_peak("cpu"), reason="resident memory is measured on Linux only")
def test_a_peak_on_a_cpu_is_seen_and_forgotten():
    reset_peak("cpu")
    before = peak_gib("cpu")
    block = torch.ones(1 << 26)
    del block
    assert peak_gib("cpu") - before == pytest.approx(0.25, abs=0.05)
    reset_peak("cpu")
    assert peak_gib("cpu") - before < 0.1


def test_a_device_whose_peak_is_not_known_says_so():
    assert not can_measure_peak("mps")
