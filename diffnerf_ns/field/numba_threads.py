"""How many threads compiled kernels take."""

from __future__ import annotations

import numba
import torch


def share_torch_threads() -> None:
    """As many as torch may take, no more than numba was started with."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # pyright: ignore
