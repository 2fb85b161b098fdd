"""Variants of diffnerf side by side on one capture: trained and evaluated with nerfstudio's own commands.

    python -m scripts.ablate CAPTURE --reference-depth-folder depth_ref --views 10 40 --seeds 0 1 2

Every run goes to OUT/ablation.json as it ends, and is not made again. OUT/ablation.md has the table: means over seeds,
with their standard deviation. The time of a run is that of ns-train, start-up included. With --mesh, the surface is
scored too, by scripts/score_mesh.py. "reference depth" trains on what the others are scored against: nothing that is
done to depth can do better than that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from scripts.benchmarking.prepared_capture import write_capture_with_reference_depth

MODEL = "--pipeline.model."
DATA = "--pipeline.datamanager."

NO_DEPTH = [
    *("diffnerf-raw", f"{MODEL}depth-loss-mult", "0", f"{MODEL}free-space-loss-mult", "0"),
    *(f"{MODEL}samples-in-band", "0", f"{MODEL}samples-in-free-space", "0", f"{MODEL}samples-from-grid", "24"),
    *(f"{MODEL}free-space-rays", "0"),
]
NO_POSES = [f"{MODEL}camera-optimizer.mode", "off"]
PATCHES = ["diffnerf", f"{DATA}patch-size", "4"]

REFERENCE_DEPTH = "reference depth"

VARIANTS: dict[str, list[str]] = {
    "diffnerf": ["diffnerf"],
    "sensor depth": ["diffnerf-raw"],
    REFERENCE_DEPTH: ["diffnerf-raw"],
    "no corrections": ["diffnerf", f"{DATA}least-correction-sigmas", "inf"],
    "corrections of one sigma": ["diffnerf", f"{DATA}least-correction-sigmas", "1"],
    "all corrections": ["diffnerf", f"{DATA}least-correction-sigmas", "0"],
    "sensor's bias kept": ["diffnerf", f"{DATA}bias-from-refined", "False"],
    "doubtful depth throughout": ["diffnerf", f"{MODEL}doubtful-depth.until", "1"],
    "doubtful depth let go": ["diffnerf", f"{MODEL}doubtful-depth.widening", "1e6"],
    "poses three times as fast": ["diffnerf", "--optimizers.camera-opt.optimizer.lr", "0.003"],
    "no depth, poses three times as fast": [*NO_DEPTH, "--optimizers.camera-opt.optimizer.lr", "0.003"],
    "no pose refinement": ["diffnerf", *NO_POSES],
    "poses after 100 steps": ["diffnerf", "--optimizers.camera-opt.scheduler.delay-steps", "100"],
    "corrections shared over 0.1": ["diffnerf", f"{MODEL}camera-optimizer.reach", "0.1"],
    "corrections shared over 0.5": ["diffnerf", f"{MODEL}camera-optimizer.reach", "0.5"],
    "free space unknown": ["diffnerf", f"{MODEL}free-space-rays", "0"],
    "no depth": NO_DEPTH,
    "no depth, no pose refinement": [*NO_DEPTH, *NO_POSES],
    "L1": ["diffnerf", f"{MODEL}depth-loss-type", "l1"],
    "L1, a tenth": ["diffnerf", f"{MODEL}depth-loss-type", "l1", f"{MODEL}depth-loss-mult", "0.001"],
    "BerHu": ["diffnerf", f"{MODEL}depth-loss-type", "berhu"],
    "BerHu, a tenth": ["diffnerf", f"{MODEL}depth-loss-type", "berhu", f"{MODEL}depth-loss-mult", "0.001"],
    "Wasserstein": ["diffnerf", f"{MODEL}depth-loss-type", "wasserstein"],
    "Wasserstein, a tenth": ["diffnerf", f"{MODEL}depth-loss-type", "wasserstein", f"{MODEL}depth-loss-mult", "0.001"],
    "patches": PATCHES,
    "patches, smooth": [*PATCHES, f"{MODEL}smoothness-loss-mult", "0.01"],
    "normals": ["diffnerf", f"{DATA}normals-from-depth", "True", f"{MODEL}normal-loss-mult", "0.001"],
    "no exposure": ["diffnerf", f"{MODEL}exposure.enabled", "False"],
    "exposure learnt faster": [
        *("diffnerf", "--optimizers.exposure.optimizer.lr", "0.005"),
        *(f"{MODEL}exposure.l2-penalty", "0.001"),
    ],
    "all rays from the start": ["diffnerf", "--rays-per-batch.first-rays", "None"],
    "sensor depth, all rays from the start": ["diffnerf-raw", "--rays-per-batch.first-rays", "None"],
    "no weight decay": ["diffnerf", f"{MODEL}weight-decay-over-views", "0"],
    "weight decay 1e-5": ["diffnerf", "--optimizers.fields.optimizer.weight-decay", "1e-5"],
    "finest cells 512": ["diffnerf", f"{MODEL}max-resolution", "512"],
    "depth loss three times": ["diffnerf", f"{MODEL}depth-loss-mult", "0.03"],
    "depth calibration": ["diffnerf", f"{MODEL}depth-calibration.enabled", "True"],
}
"""ns-train arguments by variant."""

DEFAULT_VARIANTS = [variant for variant in VARIANTS if variant != REFERENCE_DEPTH]
"""A capture need not have reference depth."""

COLUMNS = {
    "psnr": ("PSNR dB", 2),
    "ssim": ("SSIM", 3),
    "depth_mae_m": ("depth MAE m", 4),
    "depth_rmse_m": ("depth RMSE m", 3),
    "mesh_f_score": ("mesh F", 3),
    "training_seconds": ("training s", 0),
}
"""Titles and decimals of the table, by score."""


@dataclass(frozen=True)
class Run:
    """What one training is a training of."""

    capture: str
    variant: str
    views: int | None
    """Training views; None for all."""
    seed: int
    iterations: int | None
    """Training steps; None for as many as the method takes."""
    rays: int | None
    """Rays of a training step; None for as many as the method takes."""

    @property
    def folder(self) -> str:
        counts = (
            f"{self.views or 'all'} views seed {self.seed} {self.iterations or 'all'} steps {self.rays or 'all'} rays"
        )
        return f"{self.variant} {counts}".replace(",", "").replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.ablate", description="Variants of diffnerf side by side.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=DEFAULT_VARIANTS)
    parser.add_argument("--views", nargs="+", type=int, default=[None], help="numbers of training views (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42], help="seeds of training (default: nerfstudio's)")
    parser.add_argument("--iterations", type=int, help="training iterations (default: the method's)")
    parser.add_argument("--rays", type=int, help="rays of a training step (default: the method's)")
    parser.add_argument("--reference-depth-folder", help="folder of the capture with depth to score against")
    parser.add_argument("--mesh", action="store_true", help="score the surface too; needs reference depth")
    parser.add_argument("--out", type=Path, default=Path("ablation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "ablation.json"
    results: list[dict] = json.loads(file.read_text()) if file.exists() else []
    capture = str(options.capture.resolve())
    for seed in options.seeds:
        for views in options.views:
            for variant in options.variants:
                run = Run(capture, variant, views, seed, options.iterations, options.rays)
                if not any(is_result_of(run, options.mesh, result) for result in results):
                    result = {**asdict(run), **train_and_evaluate(run, options)}
                    results = [other for other in results if not is_result_of(run, False, other)] + [result]
                    file.write_text(json.dumps(results, indent=1))
                    (options.out / "ablation.md").write_text(table(results))
    print(table(results))


def is_result_of(run: Run, with_mesh: bool, result: dict) -> bool:
    """Whether a result is that of a run, with all that is asked for."""
    return asdict(run).items() <= result.items() and (not with_mesh or "mesh_f_score" in result)


def train_and_evaluate(run: Run, options: argparse.Namespace) -> dict[str, float]:
    """What ns-eval says of a training, and the seconds that ns-train took."""
    train = ["ns-train", *VARIANTS[run.variant], "--output-dir", str(options.out), "--experiment-name", run.folder]
    train += ["--timestamp", "run", "--vis", "tensorboard", "--machine.seed", str(run.seed)]
    if run.iterations is not None:
        train += ["--max-num-iterations", str(run.iterations)]
    if run.rays is not None:
        train += ["--pipeline.datamanager.train-num-rays-per-batch", str(run.rays)]
    on_reference = run.variant == REFERENCE_DEPTH
    train += ["--data", str(perfect_capture(options)) if on_reference else run.capture, "diffnerf-data"]
    if run.views is not None:
        train += ["--train-views", str(run.views)]
    if options.reference_depth_folder and not on_reference:
        train += ["--reference-depth-folder", options.reference_depth_folder]
    started = time.monotonic()
    execute(train, options.out / f"{run.folder}.train.log")
    seconds = time.monotonic() - started
    scores = options.out / f"{run.folder}.eval.json"
    config = options.out / run.folder / VARIANTS[run.variant][0] / "run" / "config.yml"
    execute(
        ["ns-eval", "--load-config", str(config), "--output-path", str(scores)], options.out / f"{run.folder}.eval.log"
    )
    results = {**json.loads(scores.read_text())["results"], "training_seconds": seconds}
    if options.mesh:
        mesh = options.out / f"{run.folder}.mesh.json"
        command = [sys.executable, "-m", "scripts.score_mesh", "--load-config", str(config), "--output-path", str(mesh)]
        execute(command, options.out / f"{run.folder}.mesh.log")
        results |= json.loads(mesh.read_text())
    return results


def perfect_capture(options: argparse.Namespace) -> Path:
    """The capture as if its sensor had measured the reference depth."""
    out = options.out / "reference_depth"
    return write_capture_with_reference_depth(options.capture, out, options.reference_depth_folder)


def table(results: list[dict]) -> str:
    """Markdown: a row for every capture, number of steps, rays and views, and variant, in the order they were run."""
    groups: dict[tuple, list[dict]] = {}
    for result in results:
        key = tuple(result[name] for name in ("capture", "iterations", "rays", "views", "variant"))
        groups.setdefault(key, []).append(result)
    lines = [
        "| capture | steps | rays | views | variant | seeds | "
        + " | ".join(title for title, _ in COLUMNS.values())
        + " |",
        "| --- " * (6 + len(COLUMNS)) + "|",
    ]
    for (capture, *counts, variant), runs in groups.items():
        scores = [
            mean_and_spread([run[score] for run in runs if score in run], decimals)
            for score, (_, decimals) in COLUMNS.items()
        ]
        cells = [Path(capture).name, *(str(count or "all") for count in counts), variant, str(len(runs)), *scores]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def mean_and_spread(values: list[float], decimals: int) -> str:
    """The mean, and behind it the standard deviation where there is more than one value; a dash without any."""
    if not values:
        return "-"
    text = f"{mean(values):.{decimals}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{decimals}f}"


def execute(command: list[str], log: Path) -> None:
    """Runs a command with its output in a file, and ends with one line if it fails."""
    with open(log, "w") as output:
        variables = {**os.environ, "PYTHONWARNINGS": "ignore"}
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=variables, check=False).returncode
    if code != 0:
        sys.exit(f"{' '.join(command)} failed with exit code {code}; its output: {log}")


if __name__ == "__main__":
    main()
