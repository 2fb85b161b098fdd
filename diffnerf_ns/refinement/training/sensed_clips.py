"""Clips as a sensor sees them: noisy depth, colour that is off, and evidence fused with poses that drift."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffnerf_ns.captures.sensor_noise import border_strip, fatten_edges, misregister, pose_drift, simulate_sensor
from diffnerf_ns.refinement.depth_bias import without_bias
from diffnerf_ns.refinement.training.colour_noise import degrade_colour
from diffnerf_ns.refinement.training.data_settings import HELD_OUT_SENSOR, SensorMixture
from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.room_clips import CLIPS_KEPT, CleanClip, ClipStore
from diffnerf_ns.refinement.training.seeds import Stream, numpy_generator, torch_generator
from diffnerf_ns.refinement.view_evidence import evidence_from_views
from diffnerf_ns.refinement.view_votes import without_contradicted

DRIFT_PERIOD = 12
"""Views over which poses drift: about a clip."""


class RoomSource:
    """Views of synthetic rooms; each clip is used several times with new noise."""

    def __init__(
        self, clips: ClipStore, sensors: SensorMixture, seed: int, clip_reuse: int, alone: float = 0.0
    ) -> None:
        """
        Args:
            clips: exact views.
            sensors: what noise to choose from.
            seed: of the training.
            clip_reuse: passes for each new clip.
            alone: share of passes whose views are not fused, which saves the time for it.
        """
        self.clips, self.sensors, self.seed, self.clip_reuse, self.alone = clips, sensors, seed, clip_reuse, alone

    def views(self, number: int) -> PosedViews:
        clip = self.clips.clip(clip_of_pass(self.seed, number, self.clip_reuse))
        fused = bool(numpy_generator(Stream.CHOICE, self.seed, number, 3).uniform() >= self.alone)
        return sense_clip(clip, self.sensors, self.seed, number, fused)


def clip_of_pass(seed: int, number: int, clip_reuse: int) -> int:
    """Which clip a pass uses: every `clip_reuse`-th pass a new one, else any of the latest `CLIPS_KEPT`."""
    newest = number // clip_reuse
    if number % clip_reuse == 0:
        return newest
    return int(numpy_generator(Stream.CHOICE, seed, number).integers(max(0, newest + 1 - CLIPS_KEPT), newest + 1))


def sense_clip(clip: CleanClip, sensors: SensorMixture, seed: int, number: int, fused: bool = True) -> PosedViews:
    """Puts noise on a clip and tells its views what the others say.

    Args:
        clip: exact views.
        sensors: what noise to choose from.
        seed: of the training.
        number: of the pass; another number gives other noise.
        fused: whether views are told of each other.
    """
    truth = clip.depth_z_m
    draw = numpy_generator(Stream.SENSOR, seed, number)
    generator = torch_generator(truth.device, Stream.SENSOR, seed, number)
    sensed = _sensed(clip, sensors, draw, generator)
    image = degrade_colour(clip.rgb.permute(0, 3, 1, 2) / 255.0, generator)
    intrinsics = clip.intrinsics.expand(len(truth), 3, 3)
    drifted = drifted_poses(clip, sensors, float(draw.uniform()), seed, number)
    poses = drifted if fused else None
    return with_evidence(image, sensed, truth, (truth > 0).float(), intrinsics, clip.camera_to_world, poses)


def with_evidence(
    image: Tensor,
    sensor_z_m: Tensor,
    truth_z_m: Tensor,
    weight: Tensor,
    intrinsics: Tensor,
    camera_to_world: Tensor,
    drifted: Tensor | None,
) -> PosedViews:
    """Views with what they say of each other, which takes its bias off the sensor's depth; single views say nothing.

    Args:
        image: colour [V, 3, H, W], 0..1.
        sensor_z_m: sensor depth [V, H, W], metres.
        truth_z_m: true depth [V, H, W], metres.
        weight: how far the truth counts [V, H, W].
        intrinsics: [V, 3, 3], pixels.
        camera_to_world: exact poses [V, 4, 4].
        drifted: the poses to fuse with [V, 4, 4]; None to leave views alone.
    """
    nothing = torch.zeros_like(sensor_z_m)
    fused = support = violations = nothing
    if len(image) > 1 and drifted is not None:
        unbiased = without_bias(sensor_z_m, intrinsics, drifted)
        sensor_z_m = torch.stack(without_contradicted(unbiased, intrinsics, drifted)).to(nothing)
        evidence = evidence_from_views(sensor_z_m, intrinsics, drifted)
        fused, support, violations = (
            torch.as_tensor(part).to(nothing) for part in (evidence.fused_z_m, evidence.support, evidence.violations)
        )
    return PosedViews(
        image, sensor_z_m, truth_z_m, weight, fused, support, violations, intrinsics.float(), camera_to_world.float()
    )


def _sensed(clip: CleanClip, sensors: SensorMixture, draw: np.random.Generator, generator: torch.Generator) -> Tensor:
    weights = sensors.weights()
    share = list(weights.values())
    kind = str(draw.choice(list(weights), p=[value / sum(share) for value in share]))
    if kind == HELD_OUT_SENSOR:
        raise ValueError(f"the sensor model {HELD_OUT_SENSOR} is kept for testing: training may not draw it")
    if kind == "none":
        return clip.depth_z_m.clone()
    return measured(clip, kind, float(draw.uniform(*sensors.strength)), sensors, draw, generator)


def drifted_poses(clip: CleanClip, sensors: SensorMixture, share: float, seed: int, number: int) -> Tensor:
    """The poses that a tracker would have given [V, 4, 4].

    Args:
        clip: exact views.
        sensors: how far poses drift at most.
        share: of that, 0..1.
        seed: of the training.
        number: of the pass.
    """
    generator = torch_generator("cpu", Stream.SENSOR, seed, number, 1)
    exact = clip.camera_to_world.cpu()
    drifted = pose_drift(exact, share * sensors.drift_m, share * sensors.drift_degrees, generator, DRIFT_PERIOD)
    return drifted.to(clip.camera_to_world.device)


def measured(
    clip: CleanClip,
    kind: str,
    strength: float,
    sensors: SensorMixture,
    draw: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """What a sensor measures [V, H, W], metres, 0 where missing, and beside the colour.

    Args:
        clip: exact views.
        kind: the sensor model.
        strength: how bad it is; 1 is as published.
        sensors: how far depth is shifted against colour, edges are fattened and borders are blind, at most.
        draw: decides how far.
        generator: of the noise.
    """
    sensed = simulate_sensor(
        kind,  # pyright: ignore[reportArgumentType]
        clip.depth_z_m,
        float(clip.intrinsics[0, 0]),
        clip.albedo / 255.0,
        clip.view_cosine / 255.0,
        clip.specular / 255.0,
        generator,
        strength,
    )
    pixels = clip.depth_z_m.shape[2] / 320.0
    across, down = sensors.misregistration_px * pixels * draw.uniform(-1.0, 1.0, 2)
    fattened = fatten_edges(sensed, float(draw.uniform(0.0, sensors.fattening_px)) * pixels, generator)
    moved = misregister(fattened, (float(across), float(down)))
    return border_strip(moved, *border_widths(moved.shape[2], moved.shape[1], sensors.border, draw))


def border_widths(width: int, height: int, largest: float, draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Pixels without depth at the left, right, top and bottom: none in half of the cases, else up to a share."""
    shares = largest * np.maximum(draw.uniform(-1.0, 1.0, 4), 0.0)
    left, right, top, bottom = (round(float(pixels)) for pixels in shares * (width, width, height, height))
    return left, right, top, bottom
