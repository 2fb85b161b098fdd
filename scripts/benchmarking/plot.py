"""Quality over wall time as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from scripts.benchmarking.methods import METHODS, REFERENCE_METHOD

COLOURS = dict(zip(METHODS, ("#0072b2", "#56b4e9", "#009e73", "#999999", "#d55e00", "#cc79a7", "#e69f00"), strict=True))
"""Of Okabe and Ito: told apart by everybody. Ours are the warm ones."""

PANELS = {"psnr": "PSNR, dB (higher is better)", "depth_mae_m": "depth MAE, m (lower is better)"}


def draw_curves(results: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Writes PSNR and depth error over the logarithm of wall time; dashed is where the reference method ends."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for name, result in results.items():
            seconds = [point["wall_s"] for point in result["curve"]]
            values = [point[key] for point in result["curve"]]
            axes.plot(seconds, values, marker="o", markersize=4, color=COLOURS[name], label=name)
        if REFERENCE_METHOD in results:
            goal = results[REFERENCE_METHOD]["curve"][-1][key]
            axes.axhline(goal, color=COLOURS[REFERENCE_METHOD], linestyle="--", linewidth=1)
        axes.set_xscale("log")
        label_one_two_five(axes.xaxis)
        if key == "depth_mae_m":
            axes.set_yscale("log")
            label_one_two_five(axes.yaxis)
        axes.set(xlabel="wall time with start-up, without evaluation, s", title=title)
        axes.grid(alpha=0.3, which="both", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8.5)
    figure.savefig(file, dpi=130)


def label_one_two_five(axis: Axis) -> None:
    """Marks 1, 2 and 5 of each power of ten on a logarithmic axis, and nothing between."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def draw_scaling(axes: Mapping[str, Mapping[str, Any]], startups: Mapping[str, Sequence[float]], file: Path) -> None:
    """Writes the cost of a training step over each axis, beside what linear growth would be, and start-up times."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    *panels, last = figure.subplots(1, len(axes) + 1, width_ratios=[*[1.0] * len(axes), 0.7])
    for panel, (axis, measured) in zip(panels, axes.items(), strict=True):
        sizes, costs = measured["sizes"], measured["step_ms"]
        linear = [costs[0] * size / sizes[0] for size in sizes]
        panel.plot(sizes, linear, color="#999999", linestyle="--", linewidth=1, label="linear growth")
        panel.plot(sizes, costs, marker="o", markersize=4, color=COLOURS["diffnerf"], label="measured")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.yaxis.set_major_formatter("{x:.0f}")
        panel.set(xlabel=axis, ylabel="ms per step", title=f"grows with the power {measured['exponent']:.2f}")
        panel.legend(frameon=False, fontsize=8)
    for place, (method, seconds) in enumerate(startups.items()):
        last.plot([place] * len(seconds), seconds, "o", color=COLOURS[method], markersize=5)
    last.set_xticks(range(len(startups)), list(startups))
    last.set_xlim(-0.5, len(startups) - 0.5)
    last.set_ylim(bottom=0)
    last.set(ylabel="s", title="start to first step")
    for panel in (*panels, last):
        panel.grid(alpha=0.3, linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=130)
