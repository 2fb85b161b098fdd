"""Quality over time, and how soon a method is as good as another one ends up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.benchmarking.methods import REFERENCE_METHOD

Point = Mapping[str, float]
"""One evaluation: `step`, `wall_s` (since the process started, evaluation excluded), `training_s`
(since the first step began, likewise), `psnr`, `depth_mae_m`, ..."""


def evaluation_steps(last: int, ratio: float, first: int) -> list[int]:
    """Numbers of completed steps, `ratio` apart, from the first possible one to the last step."""
    steps = [last]
    while (step := round(last / ratio ** len(steps))) >= first:
        steps.append(step)
    return sorted(set(steps))


def first_as_good(curve: Sequence[Point], psnr: float, depth_mae_m: float) -> Point | None:
    """The first evaluation that is at least as good in both at once. Nothing is interpolated."""
    return next((point for point in curve if point["psnr"] >= psnr and point["depth_mae_m"] <= depth_mae_m), None)


def compare(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Every method in proportion to the reference method; empty where that one was not run."""
    if REFERENCE_METHOD not in results:
        return {}
    reference = results[REFERENCE_METHOD]
    goal = reference["curve"][-1]
    compared = {}
    for name, result in results.items():
        reached = first_as_good(result["curve"], goal["psnr"], goal["depth_mae_m"])
        ratios: dict[str, float | None] = {
            "reference_quality_wall_s": reached["wall_s"] if reached else None,
            "reference_quality_step": reached["step"] if reached else None,
            "reference_quality_share_of_wall": reached["wall_s"] / goal["wall_s"] if reached else None,
            "reference_quality_training_s": reached["training_s"] if reached else None,
            "reference_quality_share_of_training": reached["training_s"] / goal["training_s"] if reached else None,
            "render_speedup": reference["curve"][-1]["render_s_per_view"] / result["curve"][-1]["render_s_per_view"],
            "peak_memory_share": result["peak_memory_mb"] / reference["peak_memory_mb"],
        }
        for rays, rays_per_s in result["rays_per_s_by_batch"].items():
            if rays in reference["rays_per_s_by_batch"]:
                ratios[f"rays_per_s_speedup_{rays}"] = rays_per_s / reference["rays_per_s_by_batch"][rays]
        compared[name] = ratios
    return compared
