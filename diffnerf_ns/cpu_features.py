"""What the processor can do, and what can be compiled for it."""

from __future__ import annotations

import functools
import importlib.util

import torch


def cpu_has_native_bfloat16() -> bool:
    """True where matrix products in bfloat16 are instructions and not emulation."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # pyright: ignore


@functools.cache
def compiles_for(device_type: str) -> bool:
    """Whether numba is there for a device: it compiles for CPUs, and training a refiner does not need it."""
    return device_type == "cpu" and importlib.util.find_spec("numba") is not None
