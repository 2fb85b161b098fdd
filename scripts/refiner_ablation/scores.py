"""A refiner that can be denied things, and its scores on posed sets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffnerf_ns.evaluation.depth_baselines import fill_with_nearest
from diffnerf_ns.evaluation.refinement_report.scoring import mean_over_images, score_depth, score_uncertainty
from diffnerf_ns.refinement.diffusion_refiner import DiffusionRefiner
from diffnerf_ns.refinement.interface import RefinerFrame
from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.training.sample_pool import GREY
from scripts.refiner_ablation.posed_sets import PosedSet
from scripts.refiner_ablation.variants import Sampling


class AblatedRefiner(DiffusionRefiner):
    """The refiner of stage 1, used in other ways."""

    def __init__(self, weights: Path, device: str, regression: bool = False) -> None:
        """
        Args:
            weights: the refiner's folder.
            device: where it runs.
            regression: whether it was trained to start from zero instead of noise.
        """
        super().__init__(RefinerConfig(str(weights), device=device))
        self.sampling = Sampling()
        self.regression = regression
        self.seconds: list[float] = []
        self.groups_at_once = 1  # for the sake of these seconds

    def use(self, sampling: Sampling) -> None:
        """Refines in this way from now on."""
        self.sampling = sampling
        self.config = replace(
            self.config, steps=sampling.steps, ensemble=sampling.ensemble, multiview=sampling.other_views
        )
        self.seconds = []

    def _input(self, frames: Sequence[RefinerFrame], index: int) -> Any:
        given = super()._input(frames, index)
        if self.sampling.colour:
            return given
        return replace(given, image=np.full(given.image.shape, GREY, np.float32))

    def _run(self, pipeline: Any, *arguments: Any) -> Any:
        if not self.sampling.edges_from_colour:
            pipeline = partial(pipeline, edges_from_colour=False)
        start = time.perf_counter()
        result = super()._run(pipeline, *arguments)
        self.seconds.append(time.perf_counter() - start)
        return result

    def _loaded(self) -> Any:
        pipeline = super()._loaded()
        if self.regression:
            pipeline.scheduler.init_noise_sigma = 0.0
        return pipeline


def score_refiner(refiner: AblatedRefiner, sampling: Sampling, sets: Sequence[PosedSet]) -> dict[str, Any]:
    """Means over the scored frames: depth errors by region, sigma's scores, and seconds of the pipeline per frame."""
    refiner.use(sampling)
    found = []
    for posed in sets:
        for index, refined in zip(posed.indices, refiner.refine(posed.frames, posed.indices), strict=True):
            truth, sensor = posed.truths[index](), posed.frames[index].read_depth_z_m()
            depth = score_depth(fill_with_nearest(refined.depth_z_m), truth, sensor)
            found.append({"depth": depth, "sigma": score_uncertainty(refined, truth)["all"]})
    return {**mean_over_images(found), "seconds": float(np.mean(refiner.seconds))}


def score_sensor(sets: Sequence[PosedSet]) -> dict[str, Any]:
    """The sensor's own scores, holes filled from the nearest pixel."""
    found = []
    for posed in sets:
        for index in posed.indices:
            sensor = posed.frames[index].read_depth_z_m()
            found.append({"depth": score_depth(fill_with_nearest(sensor), posed.truths[index](), sensor)})
    return mean_over_images(found)
