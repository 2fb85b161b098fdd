"""Memory and speed of stage 1 and of the data manager on a capture of many frames.

    python -m scripts.measure_stage --frames 2000 --out FOLDER

Renders a few frames of a synthetic room and lists them again and again, each time with links to the same files, at
another place and with another focal length: what is read, refined, cached and kept is as much as if all files differed.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from diffnerf_ns.captures.capture_files import TRANSFORMS_FILE, write_json_atomically
from diffnerf_ns.captures.room_capture import MakeRoom, write_room_capture
from diffnerf_ns.dataparser_frames import stage_frames
from diffnerf_ns.peak_memory import peak_gib
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig
from diffnerf_ns.refinement.cache import RefinementCache
from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.stage import load_refiner, refine_frames

HELD_OUT_EVERY = 9
"""One frame in so many is kept for evaluation."""

METRES_BETWEEN_REPEATS = 0.02
"""How far the camera is moved each time that the rendered frames are listed again."""

PIXELS_BETWEEN_REPEATS = 0.01
"""How much its focal length grows each time: the cache must not take one frame for the other."""

FOCAL_LENGTHS = ("fl_x", "fl_y")


@dataclass
class MeasureStage:
    """Measure stage 1 and the data manager on a capture of many frames, on a CPU."""

    out: Path
    """Folder for the capture and the cache."""
    frames: int = 2000
    """Frames of the capture, one in nine of which is held out."""
    rendered: int = 9
    """Different images among them."""
    resolution: tuple[int, int] = (640, 480)
    """Width and height of images and depth, pixels."""
    model: str = "hole-filter"
    """Refiner, as `--pipeline.datamanager.refiner.model` takes it."""
    steps: int = 1
    """Denoising steps of the diffusion model."""
    ensemble: int = 1
    """Samples per frame of the diffusion model."""
    part: Literal["all", "refine", "load"] = "all"
    """`refine` fills the cache, `load` makes a data manager of what is there; `all` runs both, each in a process."""


def make_capture(options: MeasureStage) -> Path:
    """The capture's folder; made once."""
    rendered, capture = options.out / "rendered", options.out / f"capture_{options.frames}"
    if (capture / TRANSFORMS_FILE).exists():
        return capture
    write_room_capture(MakeRoom(rendered, views=options.rendered, resolution=options.resolution, held_out=0))
    meta = json.loads((rendered / TRANSFORMS_FILE).read_text())
    frames = [_repeated(meta, index, rendered, capture) for index in range(options.frames)]
    names = [frame["file_path"] for frame in frames]
    held = names[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
    splits = {"train": [name for name in names if name not in set(held)], "val": held, "test": held}
    meta = {key: value for key, value in meta.items() if key not in FOCAL_LENGTHS}
    meta |= {"frames": frames, **{f"{split}_filenames": chosen for split, chosen in splits.items()}}
    write_json_atomically(capture / TRANSFORMS_FILE, meta)
    return capture


def _repeated(meta: dict, index: int, rendered: Path, capture: Path) -> dict:
    """A frame with a place and focal length of its own, whose files are links."""
    repeat, place = divmod(index, len(meta["frames"]))
    frame = copy.deepcopy(meta["frames"][place])
    frame |= {key: meta[key] + PIXELS_BETWEEN_REPEATS * repeat for key in FOCAL_LENGTHS}
    frame["transform_matrix"][2][3] += METRES_BETWEEN_REPEATS * repeat
    for key in [key for key in frame if key.endswith("file_path")]:
        file = Path(frame[key])
        frame[key] = str(file.with_stem(f"{file.stem}_{repeat:04d}"))
        (capture / frame[key]).parent.mkdir(parents=True, exist_ok=True)
        os.link(rendered / file, capture / frame[key])
    return frame


def manager_config(options: MeasureStage) -> RefinedDepthDataManagerConfig:
    refiner = RefinerConfig(options.model, options.steps, options.ensemble, cache_dir=options.out / "cache")
    return RefinedDepthDataManagerConfig(data=make_capture(options), refiner=refiner)


def measure_refine(options: MeasureStage) -> str:
    config = manager_config(options)
    config.dataparser.data = make_capture(options)
    frames = stage_frames(config.dataparser.setup().get_dataparser_outputs("train"))
    before = peak_gib("cpu")
    result = refine_frames(frames, load_refiner(config.refiner), RefinementCache(options.out / "cache"), "measured")
    rate = result.refined_count / result.seconds
    return f"refine: {result.refined_count} of {len(frames)} frames, {rate:.1f} frames/s; {_peak(before)}"


def measure_load(options: MeasureStage) -> str:
    before, start = peak_gib("cpu"), time.perf_counter()
    manager = manager_config(options).setup(device="cpu", test_mode="val")
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    for step in range(20):
        manager.next_train(step)
    batch_ms = 1000 * (time.perf_counter() - start) / 20
    images = f"{len(manager.train_dataset)} + {len(manager.eval_dataset)} images"
    return f"load: {images} in {seconds:.0f} s, {batch_ms:.1f} ms per batch; {_peak(before)}"


def _peak(before_gib: float) -> str:
    return f"peak memory of the process {peak_gib('cpu'):.2f} GiB, {before_gib:.2f} GiB of it before"


def main(options: MeasureStage) -> None:
    """Runs the parts, each in a process of its own, so that each has a peak of its own."""
    if options.part == "all":
        make_capture(options)
        for part in ("refine", "load"):
            subprocess.run([sys.executable, "-m", "scripts.measure_stage", *sys.argv[1:], "--part", part], check=True)
        return
    torch.set_num_threads(1)
    print((measure_refine if options.part == "refine" else measure_load)(options))


if __name__ == "__main__":
    main(tyro.cli(MeasureStage))
