"""How many rays are rendered at a time: fewer where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nerfstudio.models.base_model import ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE

from diffnerf_ns.out_of_memory import is_out_of_memory, release_cached_memory

Rendering = TypeVar("Rendering")
SMALLEST_CHUNK = 64


def with_smaller_chunks_if_needed(render: Callable[[], Rendering], config: ModelConfig) -> Rendering:
    """Renders; where memory does not suffice, again with half of `eval_num_rays_per_chunk`, which stays halved."""
    while True:
        try:
            return render()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or config.eval_num_rays_per_chunk <= SMALLEST_CHUNK:
                raise
        config.eval_num_rays_per_chunk //= 2
        release_cached_memory()
        CONSOLE.print(f"[yellow]out of memory: rendering {config.eval_num_rays_per_chunk} rays at a time from here on")
