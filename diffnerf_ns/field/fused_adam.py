"""Adam in one pass over memory: a hash table's parameters and moments are too large to be read once per operation."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio.engine.optimizers import AdamOptimizerConfig


@dataclass
class FusedAdamOptimizerConfig(AdamOptimizerConfig):
    """nerfstudio's Adam with torch's fused kernel, on CPU, CUDA and MPS."""

    fused: bool = True
    """Update parameters and moments in one kernel; False for an operation at a time, with the same result."""
