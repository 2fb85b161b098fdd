"""`diffnerf refine-report`: refines, scores, draws and writes a folder with report.json, index.html and pictures."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import diffnerf_ns
from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import write_json_atomically
from diffnerf_ns.captures.sensor_noise import SensorKind
from diffnerf_ns.evaluation.refinement_report.figures import HISTOGRAM_EDGES_M, Picture, draw_figures
from diffnerf_ns.evaluation.refinement_report.frames import ReportFrame, open_report_frames
from diffnerf_ns.evaluation.refinement_report.page import edges_of_reference, headline, write_page
from diffnerf_ns.evaluation.refinement_report.scoring import RAW, REFINED, ScoredFrame, mean_over_images, score_frames
from diffnerf_ns.even_spread import evenly_spread
from diffnerf_ns.origin import commit, processor_name, usable_cores
from diffnerf_ns.refinement.interface import DepthRefiner, ShowsDenoising
from diffnerf_ns.refinement.refiner_config import RefinerSettings

PICTURED_FRAMES = 3
"""Frames that are shown, spread evenly over those that are scored."""

RULES = (
    "Every figure is the mean over the images of that image's figure. Nothing is aligned or rescaled.",
    "Every method is scored on every pixel with reference depth. What it leaves missing is filled by nearest.",
    "Observed: the sensor measured. Hole: it did not. Edge: up to 2 pixels from a jump of over 5 % in the reference.",
    "PSNR: peak 10 m, at most 100 dB. SSIM: Gaussian window of 11 pixels (sigma 1.5), range 10 m.",
    "Edge F: jumps of more than 5 % between adjacent pixels, found within 1 pixel; where the reference is known all "
    "around.",
    "Edges on image: mean step of brightness where depth jumps by more than 5 %, over that 4 and 5 pixels beside it. "
    "It needs no reference: where the reference has less of it than a method, its own edges lie beside the picture's.",
    "Sigma is scored where the refiner gave depth, against the absolute error: AUSE is the area between the "
    "sparsification curves of sigma and of the error, over the mean error; 0 is a perfect order.",
    "The TSDF is Open3D's, of all frames, also where the refiner sees one at a time; its voxel is what a pixel "
    "sees at the median depth.",
)


@dataclass(kw_only=True)
class RefineReport(RefinerSettings):
    """Score a depth refiner against classical methods on a capture whose true depth is known."""

    capture: Annotated[Path, tyro.conf.Positional]
    """Capture to refine: a folder with a transforms.json."""
    out: Path = Path("report")
    """Folder for report.json, index.html and pictures; files of an earlier report are replaced."""
    reference_depth_folder: Path | None = None
    """Folder in the capture with reference depth, named as the depth files; None for each frame's
    depth_truth_file_path."""
    corrupt_with: SensorKind | None = None
    """Replace the sensor's depth by what this simulated sensor makes of the exact depth; `none` leaves it exact and
    shows whether the refiner leaves it alone. The exact depth is the reference, or else the capture's own."""
    multiview: bool = True
    """Whether the refiner sees the other views; otherwise it gets each frame alone."""
    frames: int | None = None
    """Frames to score, spread evenly; None for all. Refiner and TSDF see the others either way."""
    seed: int = 0
    """Decides what the simulated sensor does, and the diffusion model's noise."""


def write_report(options: RefineReport, refiner: DepthRefiner, console: Console) -> Path:
    """Makes the report and returns its folder.

    Args:
        options: the command's.
        refiner: with the settings among them.
        console: where to show progress and the result.
    """
    if options.frames is not None and options.frames < 1:
        raise CaptureError(options.capture, "--frames", f"is {options.frames}", "Score 1 frame or more.")
    frames = open_report_frames(options.capture, options.reference_depth_folder, options.corrupt_with, options.seed)
    indices = evenly_spread(len(frames), options.frames or len(frames))
    options.out.mkdir(parents=True, exist_ok=True)
    scored, pictures, histograms = _score(frames, indices, refiner, options, console)
    if not scored:
        raise CaptureError(options.capture, "depth", "no frame has both depth and reference", "Check its depth files.")
    report = _report(options, refiner, frames, scored)
    write_json_atomically(options.out / "report.json", report)
    captions = draw_figures(options.out, pictures, histograms, report["uncertainty"])
    write_page(options.out / "index.html", report, captions)
    console.print(_summary_table(report["methods"]))
    if reference := edges_of_reference(report):
        console.print(reference)
    console.print(headline(report), highlight=False)
    return options.out


def _score(
    frames: Sequence[ReportFrame],
    indices: Sequence[int],
    refiner: DepthRefiner,
    options: RefineReport,
    console: Console,
) -> tuple[list[dict[str, Any]], list[Picture], dict[str, np.ndarray]]:
    """Scores of each frame, the frames to show, and pixels per bin of depth. Other frames' maps are not kept."""
    shown = {indices[position] for position in evenly_spread(len(indices), PICTURED_FRAMES)}
    scored, pictures = [], []
    histograms = {name: np.zeros(len(HISTOGRAM_EDGES_M) - 1, np.int64) for name in ("sensor", "refined", "reference")}
    results = score_frames(frames, indices, refiner, not options.multiview)
    for frame in track(results, "Scoring", total=len(indices), console=console, transient=True):
        scored.append(_record(frames, frame))
        maps = (frame.sensor_z_m, frame.refined.depth_z_m, frame.truth_z_m)
        for name, depth_z_m in zip(histograms, maps, strict=True):
            histograms[name] += np.histogram(depth_z_m[depth_z_m > 0], HISTOGRAM_EDGES_M)[0]
        if frame.index in shown:
            pictures.append(Picture(frame, _denoising_steps(frames, frame.index, refiner, not options.multiview)))
    return scored, pictures, histograms


def _denoising_steps(
    frames: Sequence[ReportFrame], index: int, refiner: DepthRefiner, single_view: bool
) -> Sequence[np.ndarray]:
    if not isinstance(refiner, ShowsDenoising):
        return ()
    if single_view:
        return refiner.denoising_steps([frames[index].seen], 0)
    return refiner.denoising_steps([frame.seen for frame in frames], index)


def _record(frames: Sequence[ReportFrame], frame: ScoredFrame) -> dict[str, Any]:
    return {
        "name": frames[frame.index].seen.name,
        "methods": {
            name: {"seconds_per_frame": frame.seconds[name], **scores} for name, scores in frame.scores.items()
        },
        "uncertainty": frame.uncertainty,
        **({} if frame.reference_edge_ratio is None else {"reference_edge_ratio": frame.reference_edge_ratio}),
    }


def _report(
    options: RefineReport, refiner: DepthRefiner, frames: Sequence[ReportFrame], scored: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    methods = mean_over_images([record["methods"] for record in scored])
    for name in methods:
        methods[name]["images"] = sum("all" in record["methods"][name] for record in scored)
    raw = methods[RAW]
    report = {
        "about": {
            "refiner": options.model,
            "fingerprint": refiner.fingerprint(),
            "capture": str(options.capture),
            "sensor": f"corrupted by the {options.corrupt_with} sensor" if options.corrupt_with else "as measured",
            "views": "each alone" if not options.multiview else "all together",
            "frames": len(frames),
            "frames_scored": len(scored),
            "seed": options.seed,
            "command": shlex.join(["diffnerf", *sys.argv[1:]]),
            "version": diffnerf_ns.__version__,
            "commit": commit(),
            **_machine(),
        },
        "rules": RULES,
        "methods": methods,
        "mae_relative_to_raw": {
            name: {
                region: scores[region]["mae_m"] / raw[region]["mae_m"]
                for region in ("all", "observed", "hole", "edge")
                if region in scores and raw.get(region, {}).get("mae_m")
            }
            for name, scores in methods.items()
        },
        "uncertainty": mean_over_images([record["uncertainty"] for record in scored]),
        "frames": scored,
    }
    if ratios := [record["reference_edge_ratio"] for record in scored if "reference_edge_ratio" in record]:
        report["reference_edge_ratio"] = float(np.mean(ratios))
    if options.corrupt_with == "none":
        report["clean_input_mae_m"] = methods[REFINED]["observed"]["mae_m"]
    return report


def _machine() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "machine": f"{platform.system()}, {processor_name()}, {usable_cores()} cores, {device}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
    }


def _summary_table(methods: dict[str, Any]) -> Table:
    table = Table(Column("MAE (mm)", no_wrap=True), "all", "observed", "hole", "edge", "edge F", "on image", "s")
    for name, scores in methods.items():
        values = [scores.get(region, {}).get("mae_m") for region in ("all", "observed", "hole", "edge")]
        cells = ["-" if value is None else f"{1000 * value:.1f}" for value in values]
        edges = [scores.get("all", {}).get(key) for key in ("edge_f_score", "image_edge_ratio")]
        cells += ["-" if value is None else f"{value:.2f}" for value in edges]
        table.add_row(name, *cells, f"{scores['seconds_per_frame']:.2f}")
    return table
