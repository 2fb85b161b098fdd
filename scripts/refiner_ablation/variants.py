"""What is left out of a training, and what of the sampling of a trained refiner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.training.settings import TrainRefiner


@dataclass(frozen=True)
class Sampling:
    """How a refiner is used."""

    steps: int = RefinerConfig.steps
    """Denoising steps."""
    ensemble: int = RefinerConfig.ensemble
    """Samples per frame."""
    colour: bool = True
    """Whether it sees the image."""
    other_views: bool = True
    """Whether it sees what other views say."""
    edges_from_colour: bool = True
    """Whether pixels of like colour have a say where depth jumps."""


@dataclass(frozen=True)
class TrainedVariant:
    """A training that lacks something."""

    change: Callable[[TrainRefiner], TrainRefiner]
    """Makes the variant's settings of the common ones."""
    sampling: Sampling = field(default_factory=Sampling)
    """How its refiner is used."""


SAMPLINGS = {
    "2 steps, 4 samples": Sampling(),
    "1 step": Sampling(steps=1),
    "4 steps": Sampling(steps=4),
    "50 steps": Sampling(steps=50),
    "1 sample": Sampling(ensemble=1),
    "8 samples": Sampling(ensemble=8),
    "without colour": Sampling(colour=False),
    "without other views": Sampling(other_views=False),
    "edges as sampled": Sampling(edges_from_colour=False),
}
"""Uses of one refiner."""


def _hiding(**shares: float) -> Callable[[TrainRefiner], TrainRefiner]:
    return lambda settings: replace(
        settings, data=replace(settings.data, dropout=replace(settings.data.dropout, **shares))
    )


def _losing(**weights: float) -> Callable[[TrainRefiner], TrainRefiner]:
    return lambda settings: replace(settings, losses=replace(settings.losses, **weights))


def _plain_skips(settings: TrainRefiner) -> TrainRefiner:
    return replace(settings, network=replace(settings.network, feature_enhancement=False))


TRAINED = {
    "diffusion": TrainedVariant(lambda settings: settings),
    "no colour": TrainedVariant(_hiding(image=1.0), Sampling(colour=False)),
    "no other views": TrainedVariant(_hiding(evidence=1.0), Sampling(other_views=False)),
    "no enhancement blocks": TrainedVariant(_plain_skips),
    "no edge loss": TrainedVariant(_losing(edge=0.0)),
    "no depth loss": TrainedVariant(_losing(depth=0.0)),
    "regression": TrainedVariant(
        lambda settings: replace(settings, objective="regression"), Sampling(steps=1, ensemble=1)
    ),
}
"""Trainings of equal length."""
