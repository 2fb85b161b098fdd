"""One child process per method, so that its memory is its own; what has been measured is not measured again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffnerf_ns.captures.atomic_files import file_hash

PROJECT = Path(__file__).resolve().parents[2]
LINES_OF_LOG_SHOWN = 25


@dataclass(frozen=True)
class Job:
    """All that one method's measurement depends on, apart from code and machine."""

    method: str
    """Name of the row."""
    base: str
    """Name under which nerfstudio registers the method."""
    settings: dict[str, Any]
    """Changed settings by dotted name."""
    refined_depth: bool
    """Whether the method trains on a refined copy of the capture."""
    cache_of: str | None
    """Method of the same run whose refined depth is in the cache from the start."""
    capture: str
    """Folder of the capture."""
    capture_hash: str
    """Hash of its transforms.json."""
    iterations: int | None
    """Training steps; None for the method's own number."""
    rays_per_batch: int | None
    """Rays of a training step; None for the method's own number."""
    seed: int
    """nerfstudio's machine.seed."""
    evaluation_ratio: float
    """Factor between training steps at which quality is measured, the last one included."""
    first_evaluation: int
    """Earliest such step."""
    held_out_views: int | None
    """Held-out views that are scored, evenly spread; None for all."""
    rays_to_time: tuple[int, ...]
    """Batch sizes at which training speed is timed after training."""
    seconds_to_time: float
    """Seconds for which each of them is timed."""

    def as_json(self) -> dict[str, Any]:
        """The job as a JSON file holds it."""
        return json.loads(json.dumps(asdict(self)))


def capture_hash(capture: Path) -> str:
    """What a job says of the capture's content."""
    return file_hash(capture / "transforms.json")


def run_or_load(job: Job, folder: Path) -> dict[str, Any]:
    """The result of the same job if the folder holds one, else that of a new child process.

    Args:
        job: what to measure.
        folder: where the method's result, log and working files go.
    """
    result_file = folder / "result.json"
    if result_file.exists():
        result = json.loads(result_file.read_text())
        if result["job"] == job.as_json():
            print(f"{job.method}: is there already ({result_file})")
            return result
    print(f"{job.method}: running; log: {folder / 'log.txt'}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(job.as_json(), indent=1))
    run_child(folder)
    return json.loads(result_file.read_text())


def run_child(folder: Path) -> None:
    """Runs the folder's job in a process of its own; ends the command if it fails."""
    variables = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with open(folder / "log.txt", "w") as log:
        command = [sys.executable, "-m", "scripts.benchmarking.child", str(folder.resolve()), str(time.time())]
        code = subprocess.run(
            command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT, env=variables, check=False
        ).returncode
    if code != 0:
        log_file = folder / "log.txt"
        print("\n".join(log_file.read_text(errors="replace").splitlines()[-LINES_OF_LOG_SHOWN:]))
        sys.exit(f"{folder.name} failed with exit code {code}; all of its output: {log_file}")
