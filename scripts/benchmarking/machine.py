"""Where and from what a measurement comes."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from diffnerf_ns import origin


def commit() -> str:
    """The commit of the checkout, with "-dirty" where files differ from it; "unknown" outside of git."""
    return origin.commit(12) or "unknown"


def machine() -> dict[str, Any]:
    """CPU, its cores that this process may use, and versions."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "nerfstudio", "numba")}
    return {
        "cpu": origin.processor_name(),
        "cores": origin.usable_cores(),
        "python": platform.python_version(),
        **versions,
    }
