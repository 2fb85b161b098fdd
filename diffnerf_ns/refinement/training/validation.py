"""How good the refiner is on fixed rooms with fixed noise, alone and with other views, against its first guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from diffnerf_ns.evaluation.depth_metrics import depth_errors_by_region
from diffnerf_ns.refinement.normalizer import ResidualCode, base_depth
from diffnerf_ns.refinement.training.data_settings import RoomClips, TrainingData
from diffnerf_ns.refinement.training.objectives import Objective, make_task, sample_code
from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.room_clips import ClipStore
from diffnerf_ns.refinement.training.seeds import Stream, torch_generator
from diffnerf_ns.refinement.training.sensed_clips import sense_clip

DDIM_STEPS = 2
VALIDATION_SEED = 20_250_701
"""Clips of validation come from this seed, whatever the training's."""


@dataclass(frozen=True)
class ValidationClip:
    """Views of one room as the same sensor saw them."""

    alone: PosedViews
    """Each for itself."""
    with_views: PosedViews
    """Told of each other."""


@dataclass(frozen=True)
class Validation:
    """What a validation found."""

    errors_m: dict[str, float]
    """Mean absolute error by "how/region", metres, mean over images: how is alone, with_views, or the fills they start
    from, alone_fill and with_views_fill; region is all, observed, hole or edge."""
    pictures: dict[str, Tensor]
    """By name, [3, H, W], 0..1: sensor, refined alone, refined with other views, truth."""

    @property
    def score_m(self) -> float:
        """What is to be small: the error on all pixels, alone and with other views alike."""
        return 0.5 * (self.errors_m["alone/all"] + self.errors_m["with_views/all"])


def validation_views(
    data: TrainingData, clips: int, views: int, cache: Path | None, device: torch.device | str
) -> list[ValidationClip]:
    """Clips of fixed rooms, one training sensor after the other at its published strength."""
    width = max(data.crop[0], min(256, data.rooms.width[1] // 64 * 64))
    rooms = RoomClips((views, views), (width, width), data.rooms.field_of_view, data.rooms.path_views, (0.8, 1.2))
    store = ClipStore(rooms, VALIDATION_SEED, cache, device)
    kinds = [kind for kind, weight in data.sensors.weights().items() if weight > 0]
    found = []
    for number in range(clips):
        only = {kind: float(kind == kinds[number % len(kinds)]) for kind in data.sensors.weights()}
        sensors = replace(data.sensors, **only, strength=(1.0, 1.0))
        alone, with_views = (
            sense_clip(store.clip(number), sensors, VALIDATION_SEED, number, fused) for fused in (False, True)
        )
        found.append(ValidationClip(*(_cropped_to_multiple(one, 16).to("cpu") for one in (alone, with_views))))
    return found


@torch.no_grad()
def validate(
    predict: nn.Module | Callable[..., Tensor],
    scheduler: DDIMScheduler,
    code: ResidualCode,
    clips: list[ValidationClip],
    objective: Objective,
    device: torch.device,
) -> Validation:
    """Refines all views with two steps of DDIM (a regression with one) from fixed noise."""
    errors: dict[str, list[float]] = {}
    pictures: dict[str, Tensor] = {}
    for number, clip in enumerate(clips):
        views = clip.alone.to(device)
        shown = [_grey(views.sensor_z_m[0], views.truth_z_m[0])]
        for how, given in (("alone", views), ("with_views", clip.with_views.to(device))):
            depth = refine_views(predict, scheduler, code, given, objective, number)
            rivals = {how: depth, f"{how}_fill": base_depth(given.sensor_z_m, given.fused_z_m)}
            for name, predicted in rivals.items():
                _add_errors(errors, name, predicted, given)
            shown.append(_grey(depth[0], views.truth_z_m[0]))
        shown.append(_grey(views.truth_z_m[0], views.truth_z_m[0]))
        pictures[f"clip {number}: sensor, alone, with views, truth"] = torch.cat(shown, dim=2).cpu()
    return Validation({name: sum(found) / len(found) for name, found in errors.items()}, pictures)


def refine_views(
    predict: nn.Module | Callable[..., Tensor],
    scheduler: DDIMScheduler,
    code: ResidualCode,
    views: PosedViews,
    objective: Objective,
    number: int,
) -> Tensor:
    """Refined z-depth [V, H, W], metres, one view at a time."""
    refined = []
    for index in range(len(views)):
        task = make_task(code, views[slice(index, index + 1)])
        start = torch.zeros_like(task.truth_code)[:, None]
        if objective == "diffusion":
            generator = torch_generator("cpu", Stream.VALIDATION, number, index)
            start = torch.randn(start.shape, generator=generator).to(start)
        steps = 1 if objective == "regression" else DDIM_STEPS
        found = sample_code(predict, scheduler, task.conditions, start, steps)  # pyright: ignore
        refined.append(code.decode(found.clamp(-code.limit, code.limit), task.base_z_m))
    return torch.cat(refined)


def _add_errors(errors: dict[str, list[float]], name: str, predicted: Tensor, views: PosedViews) -> None:
    for index in range(len(views)):
        regions = depth_errors_by_region(predicted[index], views.truth_z_m[index], views.sensor_z_m[index])
        for region, found in regions.items():
            if found.count:
                errors.setdefault(f"{name}/{region}", []).append(found.mae_m)


def _cropped_to_multiple(views: PosedViews, multiple: int) -> PosedViews:
    height, width = (size // multiple * multiple for size in views.truth_z_m.shape[1:])
    return views.with_maps(lambda image: image[..., :height, :width])


def _grey(depth_z_m: Tensor, truth_z_m: Tensor) -> Tensor:
    """[3, H, W]: near is bright, missing is dark blue."""
    low, high = truth_z_m[truth_z_m > 0].min(), truth_z_m.max()
    shade = 1.0 - 0.85 * ((depth_z_m - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    missing = shade.new_tensor([0.05, 0.05, 0.3])[:, None, None]
    return torch.where(depth_z_m > 0, shade.expand(3, -1, -1), missing)
