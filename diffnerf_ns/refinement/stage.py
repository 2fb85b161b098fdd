"""Runs a depth refiner over a capture: once, visibly, and never again for the same inputs."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from diffnerf_ns.captures.atomic_files import content_hash
from diffnerf_ns.refinement.cache import Manifest, RefinementCache
from diffnerf_ns.refinement.frame_files import StageFrame, as_the_camera_sees, refiner_frame, sensor_depth_z_m
from diffnerf_ns.refinement.hole_filter import HoleFilter
from diffnerf_ns.refinement.interface import (
    DepthRefiner,
    RefinedDepth,
    RefinerFrame,
    RefinerNotFoundError,
    SeesOthersDepthOnly,
)
from diffnerf_ns.refinement.refiner_config import RefinerSettings
from diffnerf_ns.refinement.registration import misregistration
from diffnerf_ns.refinement.team import Team
from diffnerf_ns.refinement.weights_folder import names_weights

BATCH = 16
"""Frames handed to the refiner at a time; between batches, what another process finished is skipped."""

REGISTRATION_REMEDY = (
    "If it is not, export depth that is aligned to the colour camera, under that camera's intrinsics and poses."
)

ALONE = Team()
"""One process that refines all there is to refine."""

POSE_DECIMALS = 5
"""Digits of a relative pose (metres) that make a difference to the cache."""


@dataclass(frozen=True)
class StageResult:
    """What stage 1 did, and where its results are."""

    keys: list[str]
    """Cache key of each frame, in the order given."""
    refined_count: int
    """Frames that were refined now; the others were in the cache."""
    seconds: float
    """Wall time."""
    summary: str
    """One line for people."""


def load_refiner(config: RefinerSettings | str) -> DepthRefiner:
    """The refiner with these settings.

    Args:
        config: settings, or only their `model`: "hole-filter"; "shipped", a folder or a hub id with weights of the
            diffusion model; or the dotted path of a `DepthRefiner` class or factory without arguments.
    """
    if isinstance(config, str):
        config = RefinerSettings(config)
    model = config.model
    if model == "hole-filter":
        return HoleFilter()
    if names_weights(model):
        from diffnerf_ns.refinement.diffusion_refiner import DiffusionRefiner

        return DiffusionRefiner(config)
    module_name, _, attribute = model.replace(":", ".").rpartition(".")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RefinerNotFoundError(
            f"refiner model {model!r} cannot be loaded ({error}): give hole-filter, shipped, none, a folder or hub id "
            "with weights, or the dotted path of a DepthRefiner, e.g. my_package.my_module.MyRefiner"
        ) from error
    refiner = factory()
    if lacking := [name for name in ("fingerprint", "context", "refine") if not callable(getattr(refiner, name, None))]:
        raise RefinerNotFoundError(f"refiner model {model!r} is no DepthRefiner: it lacks {', '.join(lacking)}")
    return refiner


def refine_frames(
    frames: Sequence[StageFrame],
    refiner: DepthRefiner,
    cache: RefinementCache,
    capture: str,
    console: Console | None = None,
    team: Team = ALONE,
) -> StageResult:
    """Makes sure that the cache holds refined depth for all frames. Killed and started again, it goes on where it was.

    Args:
        frames: the training split.
        refiner: what to refine with.
        cache: where results are looked up and stored.
        capture: the capture's folder, for the manifest.
        console: where to show progress and the result; a new one on standard output by default.
        team: the processes that fill the cache together, each of which calls this.
    """
    start = time.perf_counter()
    console = console or Console()
    with team.together():
        refiner_frames = [refiner_frame(frame) for frame in frames]
        keys = frame_keys(frames, refiner_frames, refiner)
        with _pool() as pool:
            infos = dict(zip(keys, pool.map(cache.read_info, keys), strict=True))
        todo = [index for index, key in enumerate(keys) if infos[key] is None]
        # frames that look at the same others come one after another, so that what these say is worked out once
        todo.sort(key=lambda index: sorted((index, *refiner.context(refiner_frames, index))))
        mine = team.share(todo)
        if mine and mine[0] == todo[0] and (wrong := misregistration(refiner_frames)):
            console.print(f"[yellow]Is this depth registered to colour? In {capture} {wrong}. {REGISTRATION_REMEDY}")
        added = _refine_missing(mine, frames, refiner_frames, keys, refiner, cache, console)
    infos = {key: info or added.get(key) or cache.read_info(key) for key, info in infos.items()}
    _check_complete(infos, cache)
    cache.write_manifest(
        Manifest(capture, refiner.fingerprint(), {f.name: key for f, key in zip(frames, keys, strict=True)})
    )
    seconds = time.perf_counter() - start
    refined_now = len(todo) if team.splits else len(added)
    summary = _summary([info for key in keys if (info := infos[key]) is not None], refined_now, seconds)
    console.print(summary, highlight=False)
    return StageResult(keys, len(added), seconds, summary)


def _refine_missing(
    todo: Sequence[int],
    frames: Sequence[StageFrame],
    refiner_frames: Sequence[RefinerFrame],
    keys: Sequence[str],
    refiner: DepthRefiner,
    cache: RefinementCache,
    console: Console,
) -> dict[str, dict[str, Any]]:
    """Refines frames, unless another process was faster; returns what was noted about them, by key."""
    start = time.perf_counter()
    infos: dict[str, dict[str, Any]] = {}
    with _progress(console, disable=not todo) as progress:
        task = progress.add_task("Refining depth", total=len(todo), rate="")
        for batch in (todo[first : first + BATCH] for first in range(0, len(todo), BATCH)):
            wanted = [index for index in batch if cache.read_info(keys[index]) is None]
            progress.advance(task, len(batch) - len(wanted))
            for index, refined in zip(wanted, refiner.refine(refiner_frames, wanted), strict=True):
                infos[keys[index]] = _store(cache, keys[index], frames[index], refined)
                rate = len(infos) / (time.perf_counter() - start)
                progress.update(task, advance=1, rate=f"{rate:.1f} frames/s")
    return infos


def _check_complete(infos: Mapping[str, dict[str, Any] | None], cache: RefinementCache) -> None:
    if missing := sum(info is None for info in infos.values()):
        raise RuntimeError(
            f"{missing} frames are not in {cache.root} though they were refined: something removes its files, or the "
            "processes have caches of their own. Give all the same folder as cache_dir."
        )


def frame_keys(
    frames: Sequence[StageFrame], refiner_frames: Sequence[RefinerFrame], refiner: DepthRefiner
) -> list[str]:
    """Names each frame's result by everything it depends on: its pixels, what it looks at in other frames, the refiner.

    Poses count only relative to each other, so moving the whole capture changes nothing.
    """
    with _pool() as pool:
        contents = list(pool.map(_frame_content, frames, refiner_frames))
    fingerprint = refiner.fingerprint()
    keys = []
    for index, frame in enumerate(frames):
        seen, world_to_camera = [], np.linalg.inv(frame.camera_to_world)
        for other in refiner.context(refiner_frames, index):
            relative = world_to_camera @ frames[other].camera_to_world
            content = contents[other].depth if isinstance(refiner, SeesOthersDepthOnly) else contents[other].everything
            seen += [content, (np.round(relative, POSE_DECIMALS) + 0.0).tobytes()]
        keys.append(content_hash(fingerprint, contents[index].everything, *seen))
    return keys


class _FrameContent(NamedTuple):
    """Hashes of a frame's camera with its files."""

    everything: str
    depth: str
    """Without the image."""


def _frame_content(frame: StageFrame, seen: RefinerFrame) -> _FrameContent:
    camera = f"{seen.width} {seen.height} {np.round(seen.intrinsics, 3).tolist()} {frame.metres_per_unit:.6g}"
    if not frame.lens.is_pinhole:
        camera += f" {frame.lens}"
    depth, suffix = frame.depth_file.read_bytes(), frame.depth_file.suffix
    return _FrameContent(
        content_hash(camera, frame.image_file.read_bytes(), depth, suffix), content_hash(camera, depth, suffix)
    )


def _store(cache: RefinementCache, key: str, frame: StageFrame, refined: RefinedDepth) -> dict[str, Any]:
    sensor_z_m = sensor_depth_z_m(frame)
    if refined.depth_z_m.shape != sensor_z_m.shape:
        raise ValueError(f"refined depth of {frame.name} is {refined.depth_z_m.shape}, its frame {sensor_z_m.shape}")
    refined = as_the_camera_sees(frame, sensor_z_m, refined)
    info = _measure(sensor_z_m, refined)
    cache.save(key, (refined.depth_z_m, refined.sigma_z_m, refined.provenance), info)
    return info


def _measure(sensor_z_m: npt.NDArray[np.float32], refined: RefinedDepth) -> dict[str, Any]:
    known, both = refined.depth_z_m > 0, (refined.depth_z_m > 0) & (sensor_z_m > 0)
    correction = np.abs(refined.depth_z_m - sensor_z_m)[both]
    return {
        "holes_before": float((sensor_z_m == 0).mean()),
        "holes_after": float((~known).mean()),
        "mean_correction_m": float(correction.mean()) if both.any() else 0.0,
        "sigma_quantiles_m": np.quantile(refined.sigma_z_m[known], (0.1, 0.5, 0.9)).tolist() if known.any() else None,
    }


def _summary(infos: Sequence[Mapping[str, Any]], refined_count: int, seconds: float) -> str:
    holes_before, holes_after, correction = (
        float(np.mean([info[name] for info in infos])) for name in ("holes_before", "holes_after", "mean_correction_m")
    )
    quantiles = [info["sigma_quantiles_m"] for info in infos if info["sigma_quantiles_m"]]
    sigma = " / ".join(f"{1000 * q:.1f}" for q in np.mean(quantiles, axis=0)) if quantiles else "none"
    return (
        f"Refined depth: {len(infos)} frames ({refined_count} now, {len(infos) - refined_count} from the cache) in "
        f"{seconds:.1f} s; holes {holes_before:.1%} -> {holes_after:.1%}; mean correction {1000 * correction:.1f} mm; "
        f"sigma {sigma} mm (10 / 50 / 90 %)"
    )


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))


def _progress(console: Console, disable: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )
