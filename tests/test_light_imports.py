"""A plugin that is slow or fails to import slows down or breaks every `ns-*` command, also for who does not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = {
    "accelerate",
    "diffusers",
    "h5py",
    "numba",
    "open3d",
    "pymeshlab",
    "tinycudann",
    "torchmetrics",
    "transformers",
}

# nerfstudio loads the plugins while it loads its own methods, so these stand for "nerfstudio alone".
IMPORTS_OF_PLUGINS = """
import importlib, pkgutil, sys
import nerfstudio.data.datamanagers.full_images_datamanager
import nerfstudio.engine.trainer
import nerfstudio.models.nerfacto
import nerfstudio.plugins.registry_dataparser
before = set(sys.modules)
import diffnerf_ns.captures.dataparser_spec
import diffnerf_ns.method_configs as methods
for module in pkgutil.iter_modules(methods.__path__):
    importlib.import_module(f"{methods.__name__}.{module.name}")
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_importing_the_plugins_loads_no_heavy_library(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", IMPORTS_OF_PLUGINS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    loaded = set(outcome.stdout.splitlines()[-1].split())
    assert "diffnerf_ns" in loaded
    assert loaded & HEAVY == set()
