"""Pictures of a report, as PNG files. Depth maps are [height, width], metres, 0 where missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from diffnerf_ns.evaluation.depth_baselines import fill_with_nearest
from diffnerf_ns.evaluation.depth_metrics import depth_jumps
from diffnerf_ns.evaluation.refinement_report.scoring import ScoredFrame

FloatMap = npt.NDArray[np.float32]

HISTOGRAM_EDGES_M = np.arange(0.0, 10.01, 0.05)
"""Bounds of the bins of depth histograms, metres."""

MISSING_COLOUR = "0.82"
"""Grey of missing depth."""

LEAST_ERROR_SCALE_M = 0.02
"""Smallest end of the colour scale of errors, metres."""

STRIP_LENGTH = 6
"""Most pictures in a strip of denoising steps."""

PANEL_INCHES = 2.9
"""Width of one panel."""


@dataclass(frozen=True)
class Picture:
    """A scored frame that is shown, with its denoising steps if the refiner shows them."""

    frame: ScoredFrame
    steps_z_m: Sequence[FloatMap] = ()


def draw_figures(
    folder: Path,
    pictures: Sequence[Picture],
    histograms: Mapping[str, npt.NDArray[np.int64]],
    uncertainty: Mapping[str, Any],
) -> dict[str, str]:
    """Writes all pictures.

    Args:
        folder: where they go.
        pictures: the frames to show.
        histograms: pixels per bin of HISTOGRAM_EDGES_M, by what they are of.
        uncertainty: scores of sigma by provenance, as `score_uncertainty` names them.

    Returns:
        Captions by file name, in the order of a page.
    """
    figures = {
        "refinement.png": (_refinement(pictures), _refinement_caption(pictures)),
        "edges.png": (
            _edges(pictures),
            "Depth edges before and after: green where they should be, red where there is"
            " none in the reference, blue where one of the reference was lost (1 pixel of tolerance).",
        ),
        "histogram.png": (_histogram(histograms), "Depths of all scored frames: missing pixels are in no bin."),
        "uncertainty.png": (
            _uncertainty(pictures, uncertainty),
            "Stated sigma beside the absolute error, on one scale;"
            " and the share of errors that lie within the bounds that sigma promises.",
        ),
    }
    if any(picture.steps_z_m for picture in pictures):
        figures["denoising.png"] = (_denoising(pictures), "From noise to depth: steps of the denoising, in order.")
    for name, (figure, _) in figures.items():
        figure.savefig(folder / name, dpi=100)
    return {name: caption for name, (_, caption) in figures.items()}


def _refinement_caption(pictures: Sequence[Picture]) -> str:
    start = ", the noise that denoising starts from" if any(picture.steps_z_m for picture in pictures) else ""
    return f"Image, sensor depth{start}, refined depth, reference, and what is left of the error. Grey is missing."


def _refinement(pictures: Sequence[Picture]) -> Figure:
    with_start = any(picture.steps_z_m for picture in pictures)
    titles = ["image", "sensor", *(["noisy start"] if with_start else []), "refined", "reference", "|error|"]
    figure, axes = _panels(pictures, titles)
    for row, picture in zip(axes, pictures, strict=True):
        frame = picture.frame
        depths = [frame.sensor_z_m, frame.refined.depth_z_m, frame.truth_z_m]
        if with_start:
            depths.insert(1, picture.steps_z_m[0] if picture.steps_z_m else np.zeros_like(frame.sensor_z_m))
        row[0].imshow(frame.image)
        low, high = _depth_scale(frame)
        for panel, depth_z_m in zip(row[1:], depths, strict=False):
            _bar(figure, _show(panel, depth_z_m, low, high, "viridis"), panel, "m")
        _bar(figure, _show(row[-1], _error(frame), 0, _error_scale(frame), "magma"), row[-1], "m")
    return figure


def _edges(pictures: Sequence[Picture]) -> Figure:
    figure, axes = _panels(pictures, ["sensor (holes filled by nearest)", "refined"])
    for row, picture in zip(axes, pictures, strict=True):
        frame = picture.frame
        truth = depth_jumps(torch.from_numpy(frame.truth_z_m)).numpy()
        known = frame.truth_z_m > 0
        for panel, depth_z_m in zip(row, (frame.sensor_z_m, frame.refined.depth_z_m), strict=True):
            found = depth_jumps(torch.from_numpy(fill_with_nearest(depth_z_m))).numpy()
            picture_rgb = 0.35 * frame.image.astype(np.float32) / 255 + 0.6
            picture_rgb[known & truth & ~_thick(found)] = (0.1, 0.3, 0.9)
            picture_rgb[known & found & ~_thick(truth)] = (0.85, 0.1, 0.1)
            picture_rgb[known & found & _thick(truth)] = (0.0, 0.5, 0.1)
            panel.imshow(np.clip(picture_rgb, 0, 1))
    return figure


def _histogram(histograms: Mapping[str, npt.NDArray[np.int64]]) -> Figure:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    used = np.flatnonzero(sum(histograms.values()))
    for name, counts in histograms.items():
        axes.stairs(counts / 1000, HISTOGRAM_EDGES_M, label=name, linewidth=1.4)
    if used.size:
        axes.set_xlim(float(HISTOGRAM_EDGES_M[used[0]]), float(HISTOGRAM_EDGES_M[used[-1] + 1]))
    axes.set(xlabel="z-depth (m)", ylabel="thousands of pixels per 5 cm")
    axes.legend()
    return figure


def _uncertainty(pictures: Sequence[Picture], uncertainty: Mapping[str, Any]) -> Figure:
    count = len(pictures)
    figure = Figure(figsize=(2 * PANEL_INCHES + 5, max(count * _row_inches(pictures), 4)), layout="constrained")
    grid = figure.add_gridspec(count, 3, width_ratios=(1, 1, 1.5))
    for row, picture in enumerate(pictures):
        frame = picture.frame
        maps = {"sigma": frame.refined.sigma_z_m, "|error|": _error(frame)}
        for column, (title, values) in enumerate(maps.items()):
            panel = figure.add_subplot(grid[row, column])
            panel.set_axis_off()
            if row == 0:
                panel.set_title(title)
            _bar(figure, _show(panel, values, 0, _error_scale(frame), "magma"), panel, "m")
    _calibration(figure.add_subplot(grid[:, 2]), uncertainty)
    return figure


def _calibration(axes: Axes, uncertainty: Mapping[str, Any]) -> None:
    axes.plot((0, 1), (0, 1), color="0.6", linestyle="--", label="true sigma")
    for name, scores in uncertainty.items():
        levels = [float(level) for level in scores["calibration"]]
        shares = list(scores["calibration"].values())
        axes.plot(
            levels, shares, marker="o", markersize=3, label=name.replace("_", " "), zorder=3 if name == "all" else 2
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share promised", ylabel="share of errors within", aspect="equal")
    axes.legend()


def _denoising(pictures: Sequence[Picture]) -> Figure:
    shown = [picture for picture in pictures if picture.steps_z_m]
    length = min(STRIP_LENGTH, max(len(picture.steps_z_m) for picture in shown))
    figure, axes = _panels(shown, ["noise", *[""] * (length - 2), "result"][:length])
    for row, picture in zip(axes, shown, strict=True):
        steps = np.linspace(0, len(picture.steps_z_m) - 1, length).round().astype(int)
        low, high = _depth_scale(picture.frame)
        for panel, step in zip(row, steps, strict=True):
            _show(panel, picture.steps_z_m[step], low, high, "viridis")
    return figure


def _panels(pictures: Sequence[Picture], titles: Sequence[str]) -> tuple[Figure, npt.NDArray[np.object_]]:
    size = (PANEL_INCHES * len(titles), _row_inches(pictures) * len(pictures) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(pictures), len(titles), squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title)
    return figure, axes


def _row_inches(pictures: Sequence[Picture]) -> float:
    height, width = pictures[0].frame.truth_z_m.shape
    return 0.88 * PANEL_INCHES * height / width


def _show(axes: Axes, values: np.ndarray, low: float, high: float, colours: str) -> AxesImage:
    """Values on a colour scale; 0 and what is masked are missing."""
    scale = colormaps[colours].with_extremes(bad=MISSING_COLOUR)
    return axes.imshow(np.ma.masked_equal(values, 0), vmin=low, vmax=high, cmap=scale, interpolation="nearest")


def _bar(figure: Figure, shown: AxesImage, axes: Axes, unit: str) -> None:
    figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02, extend="max").ax.set_title(unit, fontsize=8)


def _error(frame: ScoredFrame) -> np.ma.MaskedArray:
    """Absolute error where refined and true depth are known; masked elsewhere."""
    known = (frame.refined.depth_z_m > 0) & (frame.truth_z_m > 0)
    return np.ma.masked_where(~known, np.abs(frame.refined.depth_z_m - frame.truth_z_m))


def _error_scale(frame: ScoredFrame) -> float:
    errors = _error(frame).compressed()
    return max(float(np.quantile(errors, 0.95)), LEAST_ERROR_SCALE_M) if errors.size else LEAST_ERROR_SCALE_M


def _depth_scale(frame: ScoredFrame) -> tuple[float, float]:
    low, high = np.quantile(frame.truth_z_m[frame.truth_z_m > 0], (0.01, 0.99))
    return float(low), float(high)


def _thick(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.any([padded[r : r + height, c : c + width] for r in range(3) for c in range(3)], axis=0)
