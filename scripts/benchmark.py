"""diffnerf and nerfstudio's depth-nerfacto and nerfacto side by side on one capture, each in a process of its own.

    python -m scripts.benchmark CAPTURE --reference-depth-folder depth_ref

Writes OUT/benchmark.json, benchmark.md and benchmark.png after every method. A method whose result is there already,
for the same settings, is not run again. Run it alone on the machine: it measures time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.capture_files import write_json_atomically
from scripts.benchmarking.curves import compare
from scripts.benchmarking.jobs import Job, capture_hash, run_or_load
from scripts.benchmarking.machine import commit, machine
from scripts.benchmarking.methods import METHODS, PEER_RAYS
from scripts.benchmarking.plot import draw_curves
from scripts.benchmarking.prepared_capture import chosen_views, write_benchmark_capture
from scripts.benchmarking.table import report

PEER_ITERATIONS = 1000
QUICK_PEER_ITERATIONS, QUICK_ITERATIONS = 10, 250
QUICK_HELD_OUT_VIEWS = 1
RAYS_TO_TIME, QUICK_RAYS_TO_TIME = (1024, 4096), (1024,)
PEER_EVALUATION_RATIO, FIRST_PEER_EVALUATION = 4.0, 200
"""Peers render so slowly that evaluating them twice as often would take longer than training them."""
OWN_EVALUATION_RATIO, FIRST_OWN_EVALUATION = 2**0.25, 16


def main() -> None:
    options = parse_options()
    try:
        capture = write_benchmark_capture(
            options.capture, options.out / "capture", options.reference_depth_folder, options.views
        )
    except CaptureError as error:
        sys.exit(f"Error: {error}")
    results = {}
    for name in [name for name in METHODS if name in options.methods]:
        results[name] = run_or_load(job_for(name, options, capture), options.out / "methods" / name)
        write_results(results, options, capture)
    print((options.out / "benchmark.md").read_text())


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmark", description="Methods side by side.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("--reference-depth-folder", help="folder of the capture with depth to score against")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark"), help="folder for everything (default: benchmark)"
    )
    parser.add_argument("--quick", action="store_true", help="few steps and few held-out views")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--views", type=int, help="training views, evenly spread (default: all)")
    parser.add_argument("--held-out-views", type=int, help="held-out views to score, evenly spread (default: all)")
    parser.add_argument("--iterations", type=int, help=f"steps of every method (default: peers {PEER_ITERATIONS})")
    parser.add_argument(
        "--rays-to-time",
        type=int,
        nargs="*",
        help="batch sizes at which training speed is timed (default: 1024 4096; 1024 with --quick)",
    )
    parser.add_argument("--seed", type=int, default=42, help="nerfstudio's machine.seed (default: 42, as nerfstudio's)")
    options = parser.parse_args()
    for name in options.methods:
        if (before := METHODS[name].cache_of) not in (None, *options.methods):
            parser.error(f"{name} takes depth that {before} has refined: name {before} among the methods too")
    return options


def job_for(name: str, options: argparse.Namespace, capture: Path) -> Job:
    """What to measure of a method."""
    method = METHODS[name]
    iterations = options.iterations
    if iterations is None and options.quick:
        iterations = QUICK_PEER_ITERATIONS if method.is_peer else QUICK_ITERATIONS
    elif iterations is None and method.is_peer:
        iterations = PEER_ITERATIONS
    rays_to_time = QUICK_RAYS_TO_TIME if options.quick else RAYS_TO_TIME
    if options.rays_to_time is not None:
        rays_to_time = tuple(options.rays_to_time)
    first_evaluation = FIRST_OWN_EVALUATION
    if method.is_peer:
        first_evaluation = 10**9 if options.quick else FIRST_PEER_EVALUATION
    return Job(
        method=name,
        base=method.base,
        settings=dict(method.settings),
        refined_depth=method.refined_depth,
        cache_of=method.cache_of,
        capture=str(capture.resolve()),
        capture_hash=capture_hash(capture),
        iterations=iterations,
        rays_per_batch=PEER_RAYS if method.is_peer else None,
        seed=options.seed,
        evaluation_ratio=PEER_EVALUATION_RATIO if method.is_peer else OWN_EVALUATION_RATIO,
        first_evaluation=first_evaluation,
        held_out_views=options.held_out_views or (QUICK_HELD_OUT_VIEWS if options.quick else None),
        rays_to_time=rays_to_time,
        seconds_to_time=2.0 if options.quick else 15.0,
    )


def write_results(results: Mapping[str, Mapping[str, Any]], options: argparse.Namespace, capture: Path) -> None:
    """Writes all of the output files anew."""
    meta = json.loads((capture / "transforms.json").read_text())
    held_out = next(iter(results.values()))["job"]["held_out_views"]
    summary = {
        "commit": commit(),
        "command": shlex.join(["python", "-m", "scripts.benchmark", *sys.argv[1:]]),
        "seed": options.seed,
        "machine": machine(),
        "capture": options.capture.resolve().name,
        "train_views": len(meta["train_filenames"]),
        "held_out_views": len(chosen_views(len(meta["val_filenames"]), held_out)),
        "quick": options.quick,
        "methods": results,
        "compared": compare(results),
    }
    write_json_atomically(options.out / "benchmark.json", summary)
    (options.out / "benchmark.md").write_text(report(summary))
    draw_curves(results, options.out / "benchmark.png")


if __name__ == "__main__":
    main()
