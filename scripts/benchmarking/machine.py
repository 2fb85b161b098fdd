"""Where and from what a measurement comes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """The commit of the checkout, with "-dirty" where files differ from it; "unknown" outside of git."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    return outcome.stdout.strip() if outcome.returncode == 0 else "unknown"


def machine() -> dict[str, Any]:
    """CPU, its cores that this process may use, and versions."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "nerfstudio", "numba")}
    return {"cpu": _cpu_model(), "cores": _usable_cores(), "python": platform.python_version(), **versions}


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
