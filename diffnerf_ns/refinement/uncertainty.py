"""From the spread of an ensemble to one standard deviation in metres, calibrated per provenance; and whose depth it is.

    sigma^2 = (temperature * spread)^2 + (relative * z)^2 + (per_metre * z^2)^2 + (disagreement * difference)^2

The first term is what the members disagree about (near jumps: the votes of `colour_guidance`), the next two what they
all share: the sensor's bias and noise. The last is how far sensor and other views differ around a pixel: whether this
sensor and these poses are good ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffnerf_ns.depth_units import SENSOR_AXIAL_SIGMA, SENSOR_BIAS_SIGMA, sensor_sigma_z_m
from diffnerf_ns.refinement.interface import Provenance

TOLERANCE_SIGMAS = 3.0
"""Standard deviations of the sensor within which a result still counts as what was measured or seen."""

TOLERANCE_RELATIVE = 0.02
"""Share of the depth within which it does, where that is more."""

ONE_SIGMA_SHARE = 0.6827
"""Share of the errors that one standard deviation of a normal distribution covers."""

SMALLEST_SIGMA_M = 1e-4
"""Sigma is never below this, metres."""

FEWEST_PIXELS = 200
"""A class with fewer pixels is calibrated on all classes together."""

MOST_PIXELS = 100_000
"""Evenly spaced pixels of a class that are enough to calibrate it."""

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class SigmaModel:
    """How sigma follows from spread and depth, for one provenance."""

    temperature: float = 1.0
    """Factor on the ensemble's spread."""
    relative: float = SENSOR_BIAS_SIGMA
    """Floor as a share of the depth."""
    per_metre: float = SENSOR_AXIAL_SIGMA
    """Floor at one metre that grows with the square of the depth, metres."""
    disagreement: float = 0.0
    """Factor on the difference between sensor and other views."""

    def sigma_z_m(self, spread_z_m: Tensor, depth_z_m: Tensor, disagreement_z_m: Tensor) -> Tensor:
        """One standard deviation of the depth, metres."""
        floor = (self.relative**2 + (self.per_metre * depth_z_m) ** 2) ** 0.5 * depth_z_m
        seen = torch.hypot(self.temperature * spread_z_m, self.disagreement * disagreement_z_m)
        return torch.hypot(seen, floor).clamp(min=SMALLEST_SIGMA_M)


@dataclass(frozen=True)
class Calibration:
    """Sigma of each provenance. The defaults are a consumer sensor's noise, and more where nothing was measured."""

    measured: SigmaModel = field(default_factory=SigmaModel)
    """Where the result is what the sensor measured, in an image of which no other view says anything."""
    confirmed: SigmaModel = field(default_factory=SigmaModel)
    """Where it is what the sensor measured, in an image that other views say something of."""
    other_views: SigmaModel = field(default_factory=lambda: SigmaModel(relative=0.01))
    """Where it is what other views saw."""
    generated: SigmaModel = field(default_factory=lambda: SigmaModel(relative=0.03))
    """Where it is neither."""

    def to_json(self) -> dict[str, dict[str, float]]:
        """As it stands in a pipeline's configuration."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping[str, float]]) -> Calibration:
        """From what `to_json` gave."""
        return cls(**{name: SigmaModel(**model) for name, model in values.items()})

    def sigma_z_m(self, spread_z_m: Tensor, depth_z_m: Tensor, provenance: Tensor, disagreement_z_m: Tensor) -> Tensor:
        """One standard deviation of the depth, metres.

        Args:
            spread_z_m: standard deviation of the ensemble's members, metres.
            depth_z_m: the result, metres.
            provenance: whose depth it is, as in `Provenance`.
            disagreement_z_m: from `local_disagreement`, metres.
        """
        sigma = torch.zeros_like(depth_z_m)
        for name, pixels in pixels_by_class(provenance, disagreement_z_m).items():
            model: SigmaModel = getattr(self, name)
            sigma = torch.where(pixels, model.sigma_z_m(spread_z_m, depth_z_m, disagreement_z_m), sigma)
        return sigma


def pixels_by_class(provenance: Any, disagreement_z_m: Any) -> dict[str, Any]:
    """Which pixels each field of `Calibration` is for; arrays or tensors of any shape, as `sigma_z_m` takes them."""
    measured, near_others = provenance == int(Provenance.MEASURED), disagreement_z_m > 0
    return {
        "measured": measured & ~near_others,
        "confirmed": measured & near_others,
        "other_views": provenance == int(Provenance.OTHER_VIEWS),
        "generated": provenance == int(Provenance.GENERATED),
    }


def ensemble_median(members: Tensor) -> Tensor:
    """Median over the members [N, E, H, W] -> [N, H, W]; the mean of the two middle ones where their number is even."""
    ordered, count = members.sort(dim=1).values, members.shape[1]
    return 0.5 * (ordered[:, (count - 1) // 2] + ordered[:, count // 2])


def ensemble_spread(members: Tensor) -> Tensor:
    """Standard deviation over the members [N, E, H, W] -> [N, H, W]; 0 for one member.

    Not the median absolute deviation: of four members, three on one side of a depth edge have none.
    """
    return members.std(dim=1) if members.shape[1] > 1 else torch.zeros_like(members[:, 0])


def provenance_of(depth_z_m: Tensor, sensor_z_m: Tensor, fused_z_m: Tensor | None) -> Tensor:
    """Whose depth a result is, uint8 as in `Provenance`: the sensor's where it agrees with it, else other views'.

    Args:
        depth_z_m: the result, metres.
        sensor_z_m: what the sensor measured, metres, 0 where missing.
        fused_z_m: what posed views agree on, metres, 0 where nothing; None without other views.
    """
    found = torch.full_like(depth_z_m, int(Provenance.GENERATED), dtype=torch.uint8)
    if fused_z_m is not None:
        found[_agrees(depth_z_m, fused_z_m)] = int(Provenance.OTHER_VIEWS)
    found[_agrees(depth_z_m, sensor_z_m)] = int(Provenance.MEASURED)
    return found


def _agrees(depth_z_m: Tensor, evidence_z_m: Tensor) -> Tensor:
    tolerance = torch.maximum(TOLERANCE_SIGMAS * sensor_sigma_z_m(evidence_z_m), TOLERANCE_RELATIVE * evidence_z_m)
    return (evidence_z_m > 0) & ((depth_z_m - evidence_z_m).abs() <= tolerance)


def fit_calibration(
    spread_z_m: FloatArray,
    error_z_m: FloatArray,
    depth_z_m: FloatArray,
    provenance: npt.NDArray[np.uint8],
    disagreement_z_m: FloatArray,
) -> Calibration:
    """The calibration of least negative log-likelihood among those whose sigma covers 68 % of the errors of each class.

    Args:
        spread_z_m: standard deviation of the ensemble's members at some pixels, metres; any shape.
        error_z_m: result minus truth at these pixels, metres.
        depth_z_m: the results, metres.
        provenance: whose depth they are, as in `Provenance`.
        disagreement_z_m: from `local_disagreement`, metres.
    """
    if depth_z_m.size < FEWEST_PIXELS:
        raise ValueError(f"depth_z_m holds {depth_z_m.size} pixels: fit_calibration needs {FEWEST_PIXELS} or more")
    fitted = {}
    values = (spread_z_m, error_z_m, depth_z_m, disagreement_z_m)
    for name, chosen in pixels_by_class(provenance, disagreement_z_m).items():
        if chosen.sum() < FEWEST_PIXELS:
            chosen = np.ones_like(chosen)
        fitted[name] = _fit_class(*(value[chosen].astype(np.float64) for value in values))
    return Calibration(**fitted)


def _fit_class(
    spread_z_m: FloatArray, error_z_m: FloatArray, depth_z_m: FloatArray, disagreement_z_m: FloatArray
) -> SigmaModel:
    """Searches the ratios of the terms, ever finer; the scale that covers 68 % follows from them."""
    stride = max(1, error_z_m.size // MOST_PIXELS)
    depth = depth_z_m[::stride]
    terms = np.stack([depth**2, spread_z_m[::stride] ** 2, depth**4, disagreement_z_m[::stride] ** 2])
    terms = terms if disagreement_z_m.any() else terms[:3]
    unit = np.maximum(terms.mean(axis=1), 1e-12)
    magnitude = np.abs(error_z_m[::stride])

    def scored(log_ratios: tuple[float, ...]) -> tuple[float, npt.NDArray[np.float64], tuple[float, ...]]:
        weights = np.exp([0.0, *log_ratios]) / unit
        sigma = np.maximum(np.sqrt(weights @ terms), 1e-12)
        scale = max(float(np.quantile(magnitude / sigma, ONE_SIGMA_SHARE)), 1e-9)
        sigma *= scale
        return float(np.mean(np.log(sigma) + 0.5 * (magnitude / sigma) ** 2)), scale**2 * weights, log_ratios

    step, ratios = 3.0, len(terms) - 1
    best = min(
        (scored(chosen) for chosen in itertools.product(np.arange(-12.0, 13.0, step), repeat=ratios)), key=_score
    )
    while step > 0.05:
        step *= 0.5
        around = itertools.product(*((ratio - step, ratio, ratio + step) for ratio in best[2]))
        best = min((scored(chosen) for chosen in around), key=_score)
    relative, temperature, per_metre, *disagreement = (float(root) for root in np.sqrt(best[1]))
    return SigmaModel(temperature, relative, per_metre, *disagreement)


def _score(candidate: tuple[float, Any, Any]) -> float:
    return candidate[0]
