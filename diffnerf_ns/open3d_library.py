"""Open3D, whose wheel is linked against system libraries that a bare Debian or Ubuntu lacks."""

from __future__ import annotations

import importlib


class Open3DLoadError(ImportError):
    """Says why, and what to install."""


def require_open3d() -> None:
    """Raises Open3DLoadError where it does not."""
    try:
        importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise Open3DLoadError(
            f"Open3D does not load ({error}). "
            "On Debian and Ubuntu this helps: apt-get install libx11-6 libgl1 libgomp1; "
            "where Open3D is missing: pip install open3d"
        ) from error
