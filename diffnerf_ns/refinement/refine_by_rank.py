"""Stage 1 on many devices or machines, ahead of training: each process refines its share into one cache.

    accelerate launch -m diffnerf_ns.refinement.refine_by_rank CAPTURE [--model ...] [--cache-dir ...]
    torchrun --nproc-per-node 2 -m diffnerf_ns.refinement.refine_by_rank CAPTURE --device cpu

The second line is for CPUs, where accelerate starts a single process. Trainings with the same settings then find all
frames there. Machines need a cache folder that all of them reach.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import torch.distributed as dist
import tyro
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from rich.console import Console

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.dataparser_frames import check_dataparser_outputs, stage_frames
from diffnerf_ns.refinement.cache import cache_in
from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.stage import StageResult, load_refiner, refine_frames
from diffnerf_ns.refinement.team import OtherProcessFailedError, team_that_splits


@dataclass(kw_only=True)
class RefineByRank(RefinerConfig):
    """Refine a capture's training split into the cache, with all processes that accelerate or torchrun start."""

    capture: Annotated[Path, tyro.conf.Positional]
    """Capture to refine, as trainings take it for their --data."""
    dataparser: AnnotatedDataParserUnion = field(default_factory=DiffnerfDataParserConfig)
    """Dataparser with which the capture will be trained on; it decides which frames are the training split."""


def refine_share(options: RefineByRank) -> StageResult:
    """Refines this process's share of the frames; returns when all processes are through."""
    rank = _join_others()
    refiner = load_refiner(options)
    options.dataparser.data = options.capture
    outputs = options.dataparser.setup().get_dataparser_outputs(split="train")
    check_dataparser_outputs([outputs])
    cache = cache_in(options.cache_dir)
    capture, console = str(options.capture.resolve()), Console(quiet=rank != 0)
    return refine_frames(stage_frames(outputs), refiner, cache, capture, console, team_that_splits())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; ends with exit code 1 and one clear line where the input cannot be used.

    Args:
        arguments: the command line without the program's name; the real one by default.
    """
    options = tyro.cli(RefineByRank, prog="diffnerf_ns.refinement.refine_by_rank", args=arguments)
    try:
        refine_share(options)
    except (CaptureError, OSError, ValueError, OtherProcessFailedError) as error:
        raise SystemExit(f"Error: {error}") from error
    if dist.is_initialized():
        dist.destroy_process_group()


def _join_others() -> int:
    """Connects the processes and gives each a device of its own; returns this one's rank."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank() if dist.is_initialized() else 0


if __name__ == "__main__":
    main(sys.argv[1:])
