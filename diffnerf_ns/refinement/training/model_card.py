"""What to know of trained weights, written from the training itself."""

from __future__ import annotations

from typing import Any

from diffnerf_ns.refinement.training.data_settings import HELD_OUT_SENSOR
from diffnerf_ns.refinement.training.settings import TrainRefiner
from diffnerf_ns.refinement.training.validation import DDIM_STEPS

REGIONS = ("all", "observed", "hole", "edge")
ROWS = {
    "alone_fill": "sensor, holes filled from around",
    "alone": "refined",
    "with_views_fill": "other views fused, else the sensor",
    "with_views": "refined, with other views",
}


def model_card(
    settings: TrainRefiner, state: dict[str, Any], parameters: int, hours: float, hardware: str, command: str
) -> str:
    """A README.md as model hubs expect it.

    Args:
        settings: of the training.
        state: the checkpoint whose weights are written.
        parameters: of the network.
        hours: of training.
        hardware: that it ran on.
        command: that began it.
    """
    return f"""---
license: apache-2.0
library_name: diffusers
tags: [depth, rgb-d, diffusion]
---

# Depth refiner ({settings.objective})

Cleans the depth of RGB-D cameras, in metres, and fills its holes; `DepthRefinementPipeline` of diffnerf_ns loads it.
A UNet of {parameters / 1e6:.1f} million parameters, trained by `scripts/train_refiner.py`.

## Training

| | |
| --- | --- |
| data | {_data(settings)} |
| sensor models | {_sensors(settings)} |
| never seen | the sensor model `{HELD_OUT_SENSOR}`, which is kept for testing |
| begun with | {_beginning(settings, state)} |
| steps | {state["step"]} of {settings.max_steps}, {settings.batch_size} samples of {_size(settings)} pixels each |
| seed | {settings.seed} |
| hours | {hours:.2f} |
| hardware | {hardware} |

    {command}

## Figures

{_figures(settings, state["last_validation"])}

## Licence

Apache-2.0, as the code is. {_licence(settings)}

## Limits

- {_limits(settings)}
- Where neither the sensor nor another view saw anything, depth is a guess: use the provenance and sigma beside it.
- Sigma is calibrated separately from this training.
- Glass, mirrors and depth beyond about 8 m were rare or absent in training.
"""


def _data(settings: TrainRefiner) -> str:
    data = settings.data
    named = []
    if data.rooms_weight > 0:
        named.append(f"synthetic rooms, made while training (weight {data.rooms_weight:g})")
    if data.nyu_file is not None:
        named.append(f"NYU Depth V2, labelled images (weight {data.nyu_weight:g})")
    if data.captures:
        named.append(f"{len(data.captures)} captures (weight {data.captures_weight:g})")
    return "; ".join(named)


def _beginning(settings: TrainRefiner, state: dict[str, Any]) -> str:
    if settings.initial_weights is None:
        return "random weights"
    return f"the weights `{settings.initial_weights}` of content {state['begun_from']}"


def _sensors(settings: TrainRefiner) -> str:
    sensors = settings.data.sensors
    weights = ", ".join(f"{name} {weight:g}" for name, weight in sensors.weights().items() if weight > 0)
    return f"{weights} (relative weights); strength {sensors.strength[0]:g} to {sensors.strength[1]:g}"


def _size(settings: TrainRefiner) -> str:
    return "{} x {}".format(*settings.data.crop)


def _figures(settings: TrainRefiner, errors_m: dict[str, float]) -> str:
    if not errors_m:
        return "Not validated."
    lines = ["| mean absolute error, mm | " + " | ".join(REGIONS) + " |", "| --- " * (len(REGIONS) + 1) + "|"]
    for row, title in ROWS.items():
        found = [errors_m.get(f"{row}/{region}") for region in REGIONS]
        cells = ["" if error is None else f"{1000 * error:.1f}" for error in found]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    steps = 1 if settings.objective == "regression" else DDIM_STEPS
    rooms = f"{settings.validation_clips} synthetic rooms of {settings.validation_views} views that were not trained on"
    return "\n".join([f"On {rooms}, seen by the sensor models of the training; steps: {steps}.", "", *lines])


def _licence(settings: TrainRefiner) -> str:
    if settings.data.nyu_file is None and not settings.data.captures:
        return "All training data was made by this package."
    return "Data from outside this package was used: its own terms hold for what is made of it."


def _limits(settings: TrainRefiner) -> str:
    if settings.data.nyu_file is None and not settings.data.captures:
        return "It has seen no real sensor: noise models stand in for them."
    return "Most of its noise is simulated."
