"""What `scripts/demo` runs: commands that anybody could type, one after the other, then a summary and a picture.

A step that has been completed with the same command is not run again; its files and its time are still there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

CONSOLE = Console()
LINES_OF_LOG_SHOWN = 25
SCORES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "depth_mae_m": "depth, mean absolute error (m)",
    "depth_observed_mae_m": "  where the sensor saw it",
    "depth_hole_mae_m": "  where the sensor had holes",
    "depth_edge_mae_m": "  at depth edges",
}


@dataclass(frozen=True)
class Step:
    """One command line and the file that shows that it was completed."""

    title: str
    command: Sequence[str]
    result: Path


def demo_steps(folder: Path, iterations: int | None) -> list[Step]:
    room, exports = folder / "room", folder / "exports"
    run = folder / "outputs" / "room" / "diffnerf" / "demo"
    config = str(run / "config.yml")
    train = ["ns-train", "diffnerf", "--data", str(room), "--output-dir", str(folder / "outputs")]
    train += ["--timestamp", "demo", "--vis", "tensorboard"]
    if iterations is not None:
        train += ["--max-num-iterations", str(iterations)]
    points = ["--num-points", "200000"]
    cloud, mesh = exports / "pointcloud", exports / "poisson"
    return [
        Step(
            "make a room and its noisy depth",
            ["diffnerf", "make-room", str(room), "--views", "48", "--resolution", "160", "120"],
            room / "transforms.json",
        ),
        Step("train", train, run / "nerfstudio_models"),
        Step(
            "evaluate held-out views",
            ["ns-eval", "--load-config", config, "--output-path", str(folder / "eval.json")],
            folder / "eval.json",
        ),
        Step(
            "export a point cloud",
            ["ns-export", "pointcloud", "--load-config", config, "--output-dir", str(cloud), *points],
            cloud / "point_cloud.ply",
        ),
        Step(
            "export a mesh",
            [
                *("ns-export", "poisson", "--load-config", config, "--output-dir", str(mesh), *points),
                *("--texture-method", "point_cloud"),
            ],
            mesh / "poisson_mesh.ply",
        ),
        Step(
            "draw the picture",
            [sys.executable, "-m", "scripts.demo_picture", config, str(folder / "demo.png")],
            folder / "demo.png",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="A noisy RGB-D room, trained and exported.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: demo)")
    parser.add_argument("--fresh", action="store_true", help="start over")
    parser.add_argument("--iterations", type=int, help="training iterations (default: the method's)")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True, exist_ok=True)

    seconds = run_steps(demo_steps(options.out, options.iterations), options.out)
    show_summary(options.out, seconds)


def run_steps(steps: Sequence[Step], folder: Path) -> dict[str, float]:
    """Runs what has not been completed, and everything after it. Gives the seconds that each step took, by title."""
    record_file = folder / "steps.json"
    record = json.loads(record_file.read_text()) if record_file.exists() else {}
    everything_is_there = True
    for number, step in enumerate(steps, 1):
        command = shlex.join(step.command)
        done = record.get(step.title, {})
        everything_is_there &= done.get("command") == command and step.result.exists()
        CONSOLE.print(f"[bold]{number}/{len(steps)} {step.title}[/bold]")
        CONSOLE.print(f"  $ {command}", style="dim", soft_wrap=True, highlight=False)
        if everything_is_there:
            CONSOLE.print(f"  is there already (took {done['seconds']:.0f} s)")
            continue
        for later in steps[number - 1 :]:
            record.pop(later.title, None)
        record[step.title] = {"command": command, "seconds": run_step(step, folder / "logs")}
        record_file.write_text(json.dumps(record, indent=1))
    return {step.title: record[step.title]["seconds"] for step in steps}


def run_step(step: Step, logs: Path) -> float:
    """Runs one command with its output in a log file; ends the demo if it fails."""
    logs.mkdir(exist_ok=True)
    log = logs / f"{step.title.replace(' ', '-')}.log"
    started = time.monotonic()
    with CONSOLE.status(f"log: {log}"), open(log, "w") as output:
        variables = {**os.environ, "PYTHONWARNINGS": "ignore"}
        code = subprocess.run(
            step.command, stdout=output, stderr=subprocess.STDOUT, env=variables, check=False
        ).returncode
    seconds = time.monotonic() - started
    if code != 0 or not step.result.exists():
        CONSOLE.print("\n".join(log.read_text(errors="replace").splitlines()[-LINES_OF_LOG_SHOWN:]), markup=False)
        sys.exit(f"'{step.title}' failed with exit code {code}; all of its output: {log}")
    CONSOLE.print(f"  {seconds:.0f} s")
    return seconds


def show_summary(folder: Path, seconds: dict[str, float]) -> None:
    scores = json.loads((folder / "eval.json").read_text())["results"]
    table = Table.grid(padding=(0, 2))
    for name, title in SCORES.items():
        if name in scores:
            table.add_row(title, f"{scores[name]:.3f}")
    table.add_row("")
    for title, duration in seconds.items():
        table.add_row(title, f"{duration:.0f} s")
    table.add_row("[bold]all steps", f"[bold]{sum(seconds.values()):.0f} s")
    table.add_row("")
    for title, file in {
        "picture": folder / "demo.png",
        "point cloud": folder / "exports" / "pointcloud" / "point_cloud.ply",
        "mesh": folder / "exports" / "poisson" / "poisson_mesh.ply",
        "viewer": f"source .venv/bin/activate; ns-viewer --load-config {folder}/outputs/room/diffnerf/demo/config.yml",
    }.items():
        table.add_row(title, str(file))
    CONSOLE.print(Panel(table, title="diffnerf: held-out views of the demo room", expand=False))


if __name__ == "__main__":
    main()
