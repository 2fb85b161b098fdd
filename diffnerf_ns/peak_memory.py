"""Peak memory of a stretch of work: what torch allocated on a GPU, or what was resident of this process on Linux."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def can_measure_peak(device_type: str) -> bool:
    """True where `peak_gib` works."""
    return device_type == "cuda" or (device_type == "cpu" and _CLEAR.exists())


def reset_peak(device_type: str) -> None:
    """Starts a stretch whose peak is to be known."""
    if device_type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        _CLEAR.write_text(_RESET_PEAK)


def peak_gib(device_type: str) -> float:
    """Peak memory since `reset_peak`, in GiB."""
    if device_type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**20
