"""Rows of a batch evaluated chunk by chunk, each chunk's intermediate values recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_checkpointed_chunks(
    function: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...], rows: int
) -> tuple[Tensor, ...]:
    """`function(*inputs)`, with no more saved for the backward pass than its inputs and outputs.

    Args:
        function: maps tensors [N, ...] to tensors [N, ...] row by row.
        inputs: tensors of equal length.
        rows: rows of one chunk; the backward pass holds one chunk's intermediate values at a time.
    """
    parts = zip(*(values.split(rows) for values in inputs), strict=True)
    outputs = [checkpoint(function, *part, use_reentrant=False) for part in parts]
    return tuple(torch.cat(values) for values in zip(*outputs, strict=True))
