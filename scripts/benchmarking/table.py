"""The results of a benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.benchmarking.methods import REFERENCE_METHOD

QUALITY = {
    "PSNR dB": ("psnr", ".2f"),
    "SSIM": ("ssim", ".3f"),
    "depth MAE m": ("depth_mae_m", ".3f"),
    "observed": ("depth_observed_mae_m", ".3f"),
    "in holes": ("depth_hole_mae_m", ".3f"),
    "at edges": ("depth_edge_mae_m", ".3f"),
    "depth RMSE m": ("depth_rmse_m", ".3f"),
}
"""Name in the curve's points and format, by heading."""


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, form: str) -> str:
    """A number as text; a dash for none."""
    return "-" if value is None else format(value, form)


def quality_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """How good every method is at its end."""
    rows = []
    for name, result in results.items():
        last = result["curve"][-1]
        length = [str(result["iterations"]), f"{result['rays'] / 1e6:.2f}"]
        rows.append([name, *length, *(number(last.get(key), form) for key, form in QUALITY.values())])
    return markdown_table(["method", "steps", "million rays", *QUALITY], rows)


def cost_table(results: Mapping[str, Mapping[str, Any]], compared: Mapping[str, Mapping[str, Any]]) -> str:
    """What every method takes; in brackets, in proportion to the reference method."""
    headings = ["method", "rays/s", "start-up s", "training s", "render s per view", "peak memory MB"]
    batches = sorted({int(rays) for result in results.values() for rays in result["rays_per_s_by_batch"]})
    headings += [f"rays/s at {rays} rays" for rays in batches]
    headings += [f"as good as {REFERENCE_METHOD} after s", "of which training s"]
    rows = []
    for name, result in results.items():
        ratios = compared.get(name, {})
        rows.append([name, *_costs(result, ratios), *_speeds(result, ratios, batches), *_times_to_reference(ratios)])
    return markdown_table(headings, rows)


def _costs(result: Mapping[str, Any], ratios: Mapping[str, Any]) -> list[str]:
    last = result["curve"][-1]
    render, memory = ratios.get("render_speedup"), ratios.get("peak_memory_share")
    return [
        number(result["rays_per_s"], ".0f"),
        number(result["startup_s"], ".1f"),
        number(result["training_s"], ".0f"),
        f"{last['render_s_per_view']:.2f}" + _in_brackets(render, ".1f", " x"),
        f"{result['peak_memory_mb']:.0f}" + _in_brackets(memory, ".0%"),
    ]


def _speeds(result: Mapping[str, Any], ratios: Mapping[str, Any], batches: Sequence[int]) -> list[str]:
    cells = []
    for rays in batches:
        speed = result["rays_per_s_by_batch"].get(str(rays))
        cells.append(number(speed, ".0f") + _in_brackets(ratios.get(f"rays_per_s_speedup_{rays}"), ".1f", " x"))
    return cells


def _in_brackets(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f" ({value:{form}}{unit})"


def _times_to_reference(ratios: Mapping[str, Any]) -> list[str]:
    cells = []
    for clock in ("wall", "training"):
        seconds, share = ratios.get(f"reference_quality_{clock}_s"), ratios.get(f"reference_quality_share_of_{clock}")
        cells.append("-" if seconds is None or share is None else f"{seconds:.1f} (1/{1 / share:.1f})")
    return cells


def report(summary: Mapping[str, Any]) -> str:
    """The Markdown file.

    Args:
        summary: what benchmark.json holds.
    """
    machine, results = summary["machine"], summary["methods"]
    held_out = summary["held_out_views"]
    lines = [
        "# Benchmark",
        "",
        f"    {summary['command']}",
        "",
        f"{summary['capture']}: {summary['train_views']} training views, {held_out} held-out views scored. "
        f"{machine['cpu']}, {machine['cores']} cores; torch {machine['torch']}, nerfstudio {machine['nerfstudio']}; "
        f"commit {summary['commit']}, seed {summary['seed']}.",
        "",
    ]
    if summary["quick"]:
        lines += [
            "**A quick run: far fewer steps than a method needs. It shows speed, not what methods can reach.**",
            "",
        ]
    lines += [
        quality_table(results),
        "",
        "Means over the held-out views; depth is z-depth, compared with the reference depth where there is one.",
        "",
        cost_table(results, summary["compared"]),
        "",
        f"In brackets: in proportion to {REFERENCE_METHOD}. Seconds to its quality count from the start of the process "
        "to the first evaluation at which its final PSNR and its final depth MAE are both reached, and of these from "
        "the first training step; evaluation itself is not counted.",
    ]
    return "\n".join(lines) + "\n"
