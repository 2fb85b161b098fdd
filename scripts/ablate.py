"""Variants of diffnerf side by side on one capture: trained and evaluated with nerfstudio's own commands.

    python -m scripts.ablate CAPTURE --reference-depth-folder depth_ref

Results go to OUT/ablation.json and, as a table, to the terminal. A variant that is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

VARIANTS: dict[str, list[str]] = {
    "diffnerf": ["diffnerf"],
    "sensor depth": ["diffnerf-raw"],
    "no pose refinement": ["diffnerf", "--pipeline.model.camera-optimizer.mode", "off"],
    "no depth": [
        *("diffnerf-raw", "--pipeline.model.depth-loss-mult", "0", "--pipeline.model.free-space-loss-mult", "0"),
        *("--pipeline.model.samples-in-band", "0", "--pipeline.model.samples-in-free-space", "0"),
        *("--pipeline.model.samples-from-grid", "24"),
    ],
    "no depth, no pose refinement": [
        *("diffnerf-raw", "--pipeline.model.depth-loss-mult", "0", "--pipeline.model.free-space-loss-mult", "0"),
        *("--pipeline.model.samples-in-band", "0", "--pipeline.model.samples-in-free-space", "0"),
        *("--pipeline.model.samples-from-grid", "24", "--pipeline.model.camera-optimizer.mode", "off"),
    ],
}
"""ns-train arguments by variant."""

COLUMNS = {"psnr": "PSNR dB", "ssim": "SSIM", "depth_mae_m": "depth MAE m", "depth_rmse_m": "depth RMSE m"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.ablate", description="Variants of diffnerf side by side.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--iterations", type=int, help="training iterations (default: the method's)")
    parser.add_argument("--reference-depth-folder", help="folder of the capture with depth to score against")
    parser.add_argument("--out", type=Path, default=Path("ablation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "ablation.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in options.variants:
        if name not in results:
            results[name] = run_variant(name, options)
            file.write_text(json.dumps(results, indent=1))
    print("| variant | " + " | ".join(COLUMNS.values()) + " | training s |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    for name in options.variants:
        scores = [f"{results[name][key]:.3f}" for key in COLUMNS]
        print(f"| {name} | " + " | ".join(scores) + f" | {results[name]['training_seconds']:.0f} |")


def run_variant(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Trains and evaluates one variant; gives ns-eval's means, and the seconds between ns-train's start and end."""
    run = name.replace(" ", "-").replace(",", "")
    train = ["ns-train", *VARIANTS[name], "--output-dir", str(options.out), "--experiment-name", run]
    train += ["--timestamp", "run", "--vis", "tensorboard"]
    if options.iterations is not None:
        train += ["--max-num-iterations", str(options.iterations)]
    train += ["--data", str(options.capture), "diffnerf-data"]
    if options.reference_depth_folder:
        train += ["--reference-depth-folder", options.reference_depth_folder]
    started = time.monotonic()
    _run(train, options.out / f"{run}.train.log")
    seconds = time.monotonic() - started
    scores = options.out / f"{run}.eval.json"
    config = options.out / run / VARIANTS[name][0] / "run" / "config.yml"
    _run(["ns-eval", "--load-config", str(config), "--output-path", str(scores)], options.out / f"{run}.eval.log")
    return {**json.loads(scores.read_text())["results"], "training_seconds": seconds}


def _run(command: list[str], log: Path) -> None:
    with open(log, "w") as output:
        variables = {**os.environ, "PYTHONWARNINGS": "ignore"}
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=variables, check=False).returncode
    if code != 0:
        sys.exit(f"{' '.join(command)} failed with exit code {code}; its output: {log}")


if __name__ == "__main__":
    main()
