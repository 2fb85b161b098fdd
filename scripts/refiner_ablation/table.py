"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REGIONS = ("all", "observed", "hole", "edge")
TITLES = ("variant", *(f"MAE {region}, mm" for region in REGIONS), "edge F", "coverage, %", "NLL", "s per frame")
LARGEST_STEPS = "50 steps"


def tables(results: Sequence[dict[str, Any]]) -> str:
    """A table for each set and model, and how much worse few steps are than many."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["set"], result["group"]), []).append(result)
    parts = []
    for (name, group), rows in groups.items():
        lines = [f"## {group}: {name} ({rows[0]['frames']} frames)", "", _line(TITLES), "| --- " * len(TITLES) + "|"]
        parts.append("\n".join([*lines, *(_row(row) for row in rows), *_against_most_steps(rows)]))
    return "\n\n".join(parts) + "\n"


def _row(result: dict[str, Any]) -> str:
    depth, sigma = result["depth"], result.get("sigma", {})
    errors = [_number(depth.get(region, {}).get("mae_m"), 1000, 1) for region in REGIONS]
    rest = [
        _number(depth["all"].get("edge_f_score"), 1, 3),
        _number(sigma.get("coverage_68"), 100, 0),
        _number(sigma.get("nll"), 1, 2),
        _number(result.get("seconds"), 1, 2),
    ]
    return _line([result["variant"], *errors, *rest])


def _against_most_steps(rows: Sequence[dict[str, Any]]) -> list[str]:
    errors = {row["variant"]: row["depth"]["all"]["mae_m"] for row in rows}
    most = errors.get(LARGEST_STEPS)
    if not most:
        return []
    said = [f"{name} {100 * (error / most - 1):+.1f} %" for name, error in errors.items() if "step" in name]
    return ["", f"MAE on all pixels against {LARGEST_STEPS}: {', '.join(said)}."]


def _number(value: float | None, factor: float, decimals: int) -> str:
    return "" if value is None else f"{factor * value:.{decimals}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
