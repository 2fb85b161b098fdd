"""A multi-resolution hash encoding whose back-end is chosen at run time and whose parameters do not depend on it."""

from __future__ import annotations

import functools
import importlib
from typing import Literal

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from diffnerf_ns.field import hash_grid_torch
from diffnerf_ns.field.hash_grid_layout import make_layout

HashGridBackend = Literal["auto", "tcnn", "numba", "torch"]
_PREFERENCE = {"cuda": ("tcnn", "torch"), "cpu": ("numba", "torch")}
_MODULE_OF = {"tcnn": "tinycudann", "numba": "numba", "torch": "torch"}
_DEVICE_OF = {"tcnn": "cuda", "numba": "cpu"}


@functools.cache
def _why_unavailable(backend: str) -> str:
    """Empty where the back-end's library imports, otherwise the reason it does not."""
    try:
        importlib.import_module(_MODULE_OF[backend])
    except Exception as error:  # tinycudann raises its own errors for a GPU it was not built for
        return f"{_MODULE_OF[backend]} does not import ({type(error).__name__}: {str(error).splitlines()[0]})"
    return ""


@functools.cache
def choose_backend(requested: HashGridBackend, device_type: str) -> str:
    """The back-end to use on a device. Says once what `auto` settled for when its first choice is missing."""
    if requested != "auto":
        needed = _DEVICE_OF.get(requested, device_type)
        if needed != device_type:
            raise RuntimeError(f"hash grid back-end '{requested}' runs on {needed}, the model is on {device_type}")
        reason = _why_unavailable(requested)
        if reason:
            raise RuntimeError(f"hash grid back-end '{requested}': {reason}; choose 'auto' or install it")
        return requested
    passed_over = []
    for backend in _PREFERENCE.get(device_type, ("torch",)):
        reason = _why_unavailable(backend)
        if not reason:
            if passed_over:
                CONSOLE.print(f"[yellow]hash grid: using {backend} on {device_type}: {'; '.join(passed_over)}")
            return backend
        passed_over.append(reason)
    raise RuntimeError(f"hash grid: no back-end for {device_type}: {'; '.join(passed_over)}")


class HashGrid(nn.Module):
    """Encodes positions in [0, 1]^3 into two features per level.

    Args:
        num_levels: number of resolutions.
        base_resolution: grid points along an axis at the coarsest level.
        max_resolution: grid points along an axis at the finest level.
        log2_hashmap_size: largest number of entries of one level, as a power of two.
        backend: tiny-cuda-nn, numba, torch, or the best that is there for the device.
    """

    features_per_level = 2

    def __init__(
        self,
        num_levels: int,
        base_resolution: int,
        max_resolution: int,
        log2_hashmap_size: int,
        backend: HashGridBackend = "auto",
    ) -> None:
        super().__init__()
        self.layout = make_layout(num_levels, base_resolution, max_resolution, log2_hashmap_size)
        self.backend: HashGridBackend = backend
        self.table = nn.Parameter((torch.rand(self.layout.num_entries, self.features_per_level) * 2 - 1) * 1e-4)
        self._tcnn_encoding: list = []

    @property
    def out_dim(self) -> int:
        """Number of features per position."""
        return self.features_per_level * len(self.layout.levels)

    def forward(self, positions: Tensor) -> Tensor:
        """Features [N, out_dim] of positions [N, 3]."""
        backend = choose_backend(self.backend, positions.device.type)
        if backend == "numba":
            from diffnerf_ns.field import hash_grid_numba

            return hash_grid_numba.encode(positions, self.table, self.layout)
        if backend == "tcnn":
            return self._encode_tcnn(positions)
        return hash_grid_torch.encode(positions, self.table, self.layout)

    def _encode_tcnn(self, positions: Tensor) -> Tensor:
        """tiny-cuda-nn's own kernel, reading our table.

        The encoding object is kept out of the module tree: its parameter is `self.table`, stored once. It computes in
        float32, as the other back-ends do: rendering is not under autocast, where a network would not take halves.
        """
        if not self._tcnn_encoding:
            import tinycudann  # pyright: ignore[reportMissingImports]

            layout = self.layout
            encoding = tinycudann.Encoding(
                3,
                {
                    "otype": "HashGrid",
                    "n_levels": len(layout.levels),
                    "n_features_per_level": self.features_per_level,
                    "log2_hashmap_size": layout.log2_hashmap_size,
                    "base_resolution": layout.base_resolution,
                    "per_level_scale": layout.growth,
                },
                dtype=torch.float32,
            )
            if encoding.params.numel() != self.table.numel():
                raise RuntimeError(
                    f"hash grid: this tiny-cuda-nn lays out {encoding.params.numel()} parameters where "
                    f"{self.table.numel()} are expected; choose backend 'torch'"
                )
            del encoding.params
            self._tcnn_encoding.append(encoding)
        encoding = self._tcnn_encoding[0]
        encoding.params = self.table.view(-1)
        return encoding(positions)
