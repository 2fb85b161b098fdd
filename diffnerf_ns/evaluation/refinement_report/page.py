"""A report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1300px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .25em .7em; text-align: right }
th { border-bottom: 2px solid #888; font-weight: 600 } td { border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } .best { font-weight: 700 } .ours { background: #eef4ff }
figure { margin: 2em 0 } img { max-width: 100% } figcaption, .small { color: #555; font-size: 13px }
"""

REGIONS = ("all", "observed", "hole", "edge")

METRICS: dict[str, tuple[str, int, bool]] = {
    "rmse_m": ("RMSE (m)", 4, False),
    "mse_m2": ("MSE (m²)", 5, False),
    "psnr_db": ("PSNR (dB)", 2, True),
    "ssim": ("SSIM", 4, True),
    "abs_rel": ("AbsRel", 4, False),
    "delta_1.05": ("δ < 1.05", 4, True),
    "delta_1.25": ("δ < 1.25", 4, True),
    "edge_f_score": ("edge F", 3, True),
    "image_edge_ratio": ("edges on image", 2, True),
}
"""Metrics over all pixels: heading, decimals, and whether more is better."""

UNCERTAINTY: dict[str, tuple[str, int]] = {
    "nll": ("NLL (nats)", 2),
    "coverage_68": ("within 1 sigma (0.683 is true)", 3),
    "ause": ("AUSE", 3),
    "count": ("pixels per image", 0),
}
"""Headings and decimals of the scores of sigma."""


def write_page(file: Path, report: Mapping[str, Any], captions: Mapping[str, str]) -> None:
    """Writes the page.

    Args:
        file: the HTML file; the pictures lie beside it and are taken into it.
        report: what report.json holds.
        captions: the pictures' captions by file name.
    """
    about = report["about"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Depth refinement report</title>",
        f"<style>{STYLE}</style><h1>Depth refinement report</h1>",
        f"<p>{escape(headline(report))}</p>",
        "<h2>Mean absolute error (m)</h2>",
        _mae_table(report["methods"]),
        "<h2>All pixels</h2>",
        _metric_table(report["methods"]),
        *(f"<p class='small'>{escape(text)}</p>" for text in (edges_of_reference(report),) if text),
        f"<h2>Uncertainty of {escape(about['refiner'])}</h2>",
        _uncertainty_table(report["uncertainty"]),
        "<h2>How it was measured</h2><ul>",
        *(f"<li>{escape(rule)}</li>" for rule in report["rules"]),
        "</ul>",
        *(_figure(file.parent / name, caption) for name, caption in captions.items()),
        "<h2>How to repeat it</h2><table>",
        *(f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>" for key, value in about.items()),
        "</table></html>",
    ]
    file.write_text("\n".join(parts), encoding="utf8")


def headline(report: Mapping[str, Any]) -> str:
    """What was found, in two sentences."""
    about, methods = report["about"], report["methods"]
    ours, raw = methods["refined"].get("all", {}), methods["raw + nearest"].get("all", {})
    text = f"{about['frames_scored']} of {about['frames']} frames of {about['capture']}, {about['sensor']}. "
    if report.get("clean_input_mae_m") is not None:
        return f"{text}A noise-free input is changed by {1000 * report['clean_input_mae_m']:.1f} mm on average (MAE)."
    if ours and raw:
        share = f", {ours['mae_m'] / raw['mae_m']:.2f} times that" if raw["mae_m"] else ""
        text += f"MAE {raw['mae_m']:.4f} m with holes filled by nearest; refined {ours['mae_m']:.4f} m{share}."
    return text


def edges_of_reference(report: Mapping[str, Any]) -> str:
    """How well the reference's own edges lie on the picture's; empty where that cannot be told."""
    ratio = report.get("reference_edge_ratio")
    return "" if ratio is None else f"Edges on image, of the reference itself: {ratio:.2f}"


def _mae_table(methods: Mapping[str, Any]) -> str:
    cells: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        region: lambda scores, region=region: scores.get(region, {}).get("mae_m") for region in REGIONS
    }
    best = {
        region: min((value for scores in methods.values() if (value := get(scores)) is not None), default=None)
        for region, get in cells.items()
    }
    rows = []
    for name, scores in methods.items():
        values = [_cell(get(scores), 4, best[region]) for region, get in cells.items()]
        values.append(f"<td>{scores['seconds_per_frame']:.2f}</td>")
        rows.append(_row(name, values))
    return _table(("method", *REGIONS, "s per frame"), rows)


def _metric_table(methods: Mapping[str, Any]) -> str:
    best = {}
    for metric, (_, _, more_is_better) in METRICS.items():
        values = [scores["all"][metric] for scores in methods.values() if metric in scores.get("all", {})]
        best[metric] = (max if more_is_better else min)(values, default=None)
    rows = [
        _row(name, [_cell(scores.get("all", {}).get(metric), METRICS[metric][1], best[metric]) for metric in METRICS])
        for name, scores in methods.items()
    ]
    return _table(("method", *(heading for heading, _, _ in METRICS.values())), rows)


def _uncertainty_table(uncertainty: Mapping[str, Any]) -> str:
    rows = [
        _row(name.replace("_", " "), [_cell(scores[key], digits, None) for key, (_, digits) in UNCERTAINTY.items()])
        for name, scores in uncertainty.items()
    ]
    return _table(("provenance", *(heading for heading, _ in UNCERTAINTY.values())), rows)


def _table(headings: tuple[str, ...], rows: list[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{escape(heading)}</th>' for heading in headings)}</tr>{''.join(rows)}</table>"


def _row(name: str, cells: list[str]) -> str:
    style = " class='ours'" if name == "refined" else ""
    return f"<tr{style}><td>{escape(name)}</td>{''.join(cells)}</tr>"


def _cell(value: float | None, decimals: int, best: float | None) -> str:
    if value is None:
        return "<td>-</td>"
    style = " class='best'" if best is not None and value == best else ""
    return f"<td{style}>{value:.{decimals}f}</td>"


def _figure(file: Path, caption: str) -> str:
    content = base64.b64encode(file.read_bytes()).decode()
    text = escape(caption)
    return f"<figure><img alt='{text}' src='data:image/png;base64,{content}'><figcaption>{text}</figcaption></figure>"
