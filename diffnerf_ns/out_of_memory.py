"""What running out of memory looks like, on every device, and what to do before one tries again with less."""

from __future__ import annotations

import gc

import torch

_MESSAGES = ("can't allocate memory", "DefaultCPUAllocator", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's and MPS's own errors, for the RuntimeError of torch's CPU allocator, and for Python's."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def release_cached_memory() -> None:
    """Gives back what nothing refers to any more. Call it outside of `except`: a caught error keeps its tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
