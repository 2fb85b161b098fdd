"""Running out of memory is told from other errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffnerf_ns.out_of_memory import is_out_of_memory


def test_an_allocation_that_no_machine_grants_is_recognised_in_torch_and_numpy():
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(1 << 50, dtype=torch.float64)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(1 << 50)
    assert is_out_of_memory(of_torch.value)
    assert is_out_of_memory(of_numpy.value)


def test_a_gpu_that_is_full_is_recognised():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"))


def test_other_errors_are_not():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
