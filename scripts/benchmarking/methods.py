"""What is compared. Everything that is not named here is as the method is registered in nerfstudio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REFERENCE_METHOD = "depth-nerfacto"
"""The method whose final quality the others are timed to reach."""

PEER_RAYS = 1024
"""Rays per batch of the peers: a step of their 4096 takes more than five seconds on two cores."""


@dataclass(frozen=True)
class BenchmarkMethod:
    """One row of the table."""

    base: str
    """Name under which nerfstudio registers the method."""
    is_peer: bool
    """Whether it is nerfstudio's own, and so trains with the peers' batches and iterations."""
    refined_depth: bool = False
    """Whether it trains on a capture that `diffnerf refine --out` wrote, at the child's start; the time counts."""
    cache_of: str | None = None
    """Row whose refined depth it finds in the cache; None for none, so that it refines itself."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changed settings of the registered configuration, by dotted name."""


SIGMA_TUNED = {"pipeline.model.depth_sigma": 0.001, "pipeline.model.depth_loss_mult": 0.01}
"""nerfstudio's depth loss takes depth_sigma for a variance: its 0.01 is a band of 10 cm to each side where a scene unit
is a metre. 0.001 is one of 3 cm, about the error of a Kinect; the narrower band weighs a third, so it counts more."""

METHODS = {
    "depth-nerfacto": BenchmarkMethod("depth-nerfacto", is_peer=True),
    "depth-nerfacto-refined": BenchmarkMethod("depth-nerfacto", is_peer=True, refined_depth=True),
    "depth-nerfacto-tuned": BenchmarkMethod("depth-nerfacto", is_peer=True, settings=SIGMA_TUNED),
    "nerfacto": BenchmarkMethod("nerfacto", is_peer=True),
    "diffnerf": BenchmarkMethod("diffnerf", is_peer=False),
    "diffnerf-again": BenchmarkMethod("diffnerf", is_peer=False, cache_of="diffnerf"),
    "diffnerf-raw": BenchmarkMethod("diffnerf-raw", is_peer=False),
}
"""Methods by the name of their row."""
