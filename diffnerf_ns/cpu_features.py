"""What the processor can do."""

from __future__ import annotations

import torch


def cpu_has_native_bfloat16() -> bool:
    """True where matrix products in bfloat16 are instructions and not emulation."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # pyright: ignore
