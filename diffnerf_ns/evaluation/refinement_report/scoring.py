"""Scores of a refiner and of the classical methods on the same frames, as means over the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from diffnerf_ns.evaluation.depth_baselines import BASELINES, fill_with_nearest
from diffnerf_ns.evaluation.depth_image_metrics import depth_psnr_db, depth_ssim, edge_scores
from diffnerf_ns.evaluation.depth_metrics import depth_errors_by_region
from diffnerf_ns.evaluation.edges_on_image import image_edge_ratio
from diffnerf_ns.evaluation.refinement_report.frames import ReportFrame
from diffnerf_ns.evaluation.refinement_report.tsdf_rival import TsdfRival
from diffnerf_ns.evaluation.uncertainty_metrics import CALIBRATION_LEVELS, uncertainty_scores
from diffnerf_ns.refinement.interface import DepthRefiner, Provenance, RefinedDepth

FloatMap = npt.NDArray[np.float32]
Scores = dict[str, dict[str, float]]
"""By region, then by metric."""

REFINED = "refined"
"""What the refiner's results are called among the methods."""

RAW = "raw + nearest"
"""The method that all others are compared with."""

TSDF = "TSDF of the same views"
"""What fusing all views and casting the rays back is called among the methods."""


@dataclass(frozen=True)
class ScoredFrame:
    """All there is about one frame, for pictures; depth maps are [height, width], metres, 0 where missing."""

    index: int
    image: npt.NDArray[np.uint8]
    sensor_z_m: FloatMap
    truth_z_m: FloatMap
    refined: RefinedDepth
    scores: dict[str, Scores]
    """By method."""
    uncertainty: dict[str, dict[str, Any]]
    """By provenance, "all" among them."""
    seconds: dict[str, float]
    """Computing time, by method."""
    reference_edge_ratio: float | None
    """`image_edge_ratio` of the reference itself."""


def score_frames(
    frames: Sequence[ReportFrame], indices: Sequence[int], refiner: DepthRefiner, single_view: bool
) -> Iterator[ScoredFrame]:
    """Refines and scores the frames at `indices`, each as soon as it is known. Frames in which the sensor
    measured nothing, or nothing is known, are passed over.

    Args:
        frames: all that the refiner may look at.
        indices: those to score.
        refiner: what to refine with.
        single_view: whether the refiner sees each frame alone. The TSDF always sees all.
    """
    fusion, fusing_seconds = _timed(TsdfRival, [frame.seen for frame in frames])
    for index, (refined, seconds) in zip(indices, _refine(frames, indices, refiner, single_view), strict=True):
        image, sensor, truth = frames[index].seen.read_image(), *_depths(frames[index])
        if not (sensor.any() and truth.any()):
            continue
        depths, times = {REFINED: fill_with_nearest(refined.depth_z_m)}, {REFINED: seconds}
        for name, method in BASELINES.items():
            depths[name], times[name] = _timed(method, image, sensor)
        fused_z_m, casting_seconds = _timed(fusion.cast, frames[index].seen)
        depths[TSDF] = fill_with_nearest(fused_z_m)
        times[TSDF] = fusing_seconds / len(frames) + casting_seconds
        yield ScoredFrame(
            index=index,
            image=image,
            sensor_z_m=sensor,
            truth_z_m=truth,
            refined=refined,
            scores={name: _scores(depth, truth, sensor, image) for name, depth in depths.items()},
            uncertainty=score_uncertainty(refined, truth),
            seconds=times,
            reference_edge_ratio=image_edge_ratio(torch.from_numpy(truth), torch.from_numpy(image)),
        )


def _scores(predicted_z_m: FloatMap, truth_z_m: FloatMap, sensor_z_m: FloatMap, image: npt.NDArray[np.uint8]) -> Scores:
    scores = score_depth(predicted_z_m, truth_z_m, sensor_z_m)
    ratio = image_edge_ratio(torch.from_numpy(predicted_z_m), torch.from_numpy(image))
    if ratio is not None and "all" in scores:
        scores["all"]["image_edge_ratio"] = ratio
    return scores


def score_depth(predicted_z_m: FloatMap, truth_z_m: FloatMap, sensor_z_m: FloatMap) -> Scores:
    """Errors of one depth map by region; what a region has no pixel for is left out.

    Args:
        predicted_z_m: z-depth [height, width], metres, with no pixel missing.
        truth_z_m: exact or reference z-depth, the same size, 0 where unknown.
        sensor_z_m: what the sensor measured, the same size, 0 where missing; decides what is a hole.
    """
    predicted, truth, sensor = (torch.from_numpy(depth) for depth in (predicted_z_m, truth_z_m, sensor_z_m))
    scores = {}
    for region, errors in depth_errors_by_region(predicted, truth, sensor).items():
        if errors.count:
            mse_m2 = errors.rmse_m**2
            scores[region] = {**errors.as_dict(), "mse_m2": mse_m2, "psnr_db": depth_psnr_db(mse_m2)}
    if "all" in scores:
        scores["all"] |= {"ssim": depth_ssim(predicted, truth), **edge_scores(predicted, truth)}
    return scores


def score_uncertainty(refined: RefinedDepth, truth_z_m: FloatMap) -> dict[str, dict[str, Any]]:
    """Scores of sigma over all pixels that the refiner gave depth for, and by provenance; without the empty ones."""
    judged = (refined.depth_z_m > 0) & (truth_z_m > 0)
    error, sigma = (torch.from_numpy(array) for array in (refined.depth_z_m - truth_z_m, refined.sigma_z_m))
    classes = {"all": judged}
    for kind in Provenance:
        classes[kind.name.lower()] = judged & (refined.provenance == kind)
    scores = {}
    for name, pixels in classes.items():
        of_class = uncertainty_scores(error[torch.from_numpy(pixels)], sigma[torch.from_numpy(pixels)])
        if of_class is not None:
            calibration = dict(zip(map(str, CALIBRATION_LEVELS), of_class.calibration, strict=True))
            scores[name] = {**asdict(of_class), "calibration": calibration}
    return scores


def mean_over_images(trees: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each number over the images that have it, in nested dictionaries of numbers."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for tree in trees for name in tree):
        values = [tree[name] for tree in trees if name in tree]
        result[name] = mean_over_images(values) if isinstance(values[0], Mapping) else float(np.mean(values))
    return result


def _depths(frame: ReportFrame) -> tuple[FloatMap, FloatMap]:
    return frame.seen.read_depth_z_m(), frame.read_truth_z_m()


def _refine(
    frames: Sequence[ReportFrame], indices: Sequence[int], refiner: DepthRefiner, single_view: bool
) -> Iterator[tuple[RefinedDepth, float]]:
    """Results with the seconds that each took."""
    seen = [frame.seen for frame in frames]
    if single_view:
        for index in indices:
            yield _timed(next, iter(refiner.refine([seen[index]], [0])))
        return
    results = iter(refiner.refine(seen, indices))
    for _ in indices:
        yield _timed(next, results)


def _timed(compute: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return compute(*arguments), time.perf_counter() - start
