"""Where a result comes from: the commit it was computed with, and the processor."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def commit(digits: int = 40) -> str | None:
    """The commit of the checkout that this runs from, with "-dirty" where files differ; None for an installed copy.

    Args:
        digits: of the commit's name, at least.
    """
    command = ["git", "describe", "--always", "--dirty", f"--abbrev={digits}", "--exclude=*"]
    try:
        outcome = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return outcome.stdout.strip()


def processor_name() -> str:
    """What the processor is called, or at least its kind."""
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
