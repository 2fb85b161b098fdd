"""Sensor depth, an image and what other views say in; depth, sigma and provenance out: a diffusers pipeline.

pipe = DepthRefinementPipeline.from_pretrained(folder_or_hub_id)
refined = pipe(image, depth_z_m, generator=torch.Generator().manual_seed(0))
refined.depth_z_m, refined.sigma_z_m     # [N, H, W], metres
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from diffnerf_ns.refinement.colour_guidance import guided_by_colour
from diffnerf_ns.refinement.normalizer import (
    ResidualCode,
    base_depth,
    condition_channels,
    local_disagreement,
    span_of_opinions,
)
from diffnerf_ns.refinement.pipeline_checks import check_generator, check_whole, refuse_pickles
from diffnerf_ns.refinement.preprocessing import (
    image_shape,
    image_tensor,
    map_shape,
    map_tensor,
    pad_to_multiple,
    resize_depth,
    resize_image,
    resize_nearest,
    size_for_longest_side,
)
from diffnerf_ns.refinement.tiling import TilePlan, batches, blend_tiles
from diffnerf_ns.refinement.uncertainty import Calibration, ensemble_median, ensemble_spread, provenance_of
from diffnerf_ns.refinement.unet import DepthRefinementUNet

MOST_STEPS = 50
"""Largest number of denoising steps."""

CPU_PIXELS_AT_ONCE = 160_000
"""Pixels that go through the network at once on a CPU: more of them leave the caches and take longer."""

GPU_BYTES_PER_PIXEL = 4096
"""Memory that the network takes for each pixel that goes through it at once, bytes; an estimate, not measured."""

GPU_MEMORY_SHARE = 0.5
"""Share of a GPU's free memory that may be taken."""

PURE_NOISE = 1e-6
"""Share of the signal's power below which a noisy code holds nothing of it."""

CALLBACK_TENSORS = ("code", "noisy_depth_z_m", "depth_z_m")
"""What `callback_on_step_end` may ask for."""

Maps = npt.NDArray[np.float32] | Tensor


@dataclass
class DepthRefinementOutput(BaseOutput):
    """Refined depth, each [N, H, W]: arrays, or tensors for `output_type="pt"`."""

    depth_z_m: Maps
    """Refined z-depth, metres."""
    sigma_z_m: Maps | None
    """One standard deviation of it, metres; None without `output_uncertainty`."""
    provenance: npt.NDArray[np.uint8] | Tensor
    """Whose depth it is, uint8 as in `Provenance`."""


class DepthRefinementPipeline(DiffusionPipeline):
    """Refines sensor depth with a conditional diffusion model of the depth's difference to a first guess.

    Any scheduler with v-prediction can take the other's place: `pipe.scheduler = EulerDiscreteScheduler.from_config(
    pipe.scheduler.config)`.
    """

    model_cpu_offload_seq = "unet"

    def __init__(
        self,
        unet: DepthRefinementUNet,
        scheduler: Any,
        code: Mapping[str, float] | None = None,
        calibration: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """
        Args:
            unet: predicts v.
            scheduler: any of diffusers' with v-prediction.
            code: fields of `ResidualCode`, as the network was trained with; None for its defaults.
            calibration: from `Calibration.to_json`; None for its defaults.
        """
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(
            code=dict(code or asdict(ResidualCode())), calibration=dict(calibration or Calibration().to_json())
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **options: Any) -> Any:
        """Loads a pipeline from a local folder or a hub id; weights in safetensors alone."""
        refuse_pickles(Path(pretrained_model_name_or_path))
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **{**options, "use_safetensors": True})
        # Mapped from their file, weights lie at odd addresses, for which CPUs have other kernels: other last digits.
        for weights in pipeline.unet.parameters():
            weights.data = weights.data.clone()
        return pipeline

    @property
    def residual_code(self) -> ResidualCode:
        """How the network sees depth."""
        return ResidualCode(**self.config["code"])

    @property
    def calibration(self) -> Calibration:
        """How sigma follows from the ensemble."""
        return Calibration.from_json(self.config["calibration"])

    def set_calibration(self, calibration: Calibration) -> None:
        """Takes another calibration, which `save_pretrained` then writes."""
        self.register_to_config(calibration=calibration.to_json())

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        depth_z_m: Any,
        fused_z_m: Any = None,
        support: Any = None,
        violations: Any = None,
        num_inference_steps: int = 2,
        ensemble_size: int = 4,
        processing_resolution: int | None = None,
        match_input_resolution: bool = True,
        within_measurements: bool = True,
        edges_from_colour: bool = True,
        batch_size: int | None = None,
        tile_size: int = 640,
        tile_overlap: int = 64,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_uncertainty: bool = True,
        output_type: str = "np",
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (),
    ) -> DepthRefinementOutput:
        """Refines depth.

        Args:
            image: PIL image, array [H, W, 3] or [N, H, W, 3] (uint8, or floats 0..1), tensor [3, H, W] or
                [N, 3, H, W] (floats 0..1), or a list of single ones of equal size.
            depth_z_m: sensor z-depth [H, W] or [N, H, W], metres as floats, 0 where missing; or a list.
            fused_z_m: depth fused from posed views, likewise; None for single images.
            support: number of other views that agree with it, same shape.
            violations: number of other views that look through it, same shape.
            num_inference_steps: denoising steps, 1 to 50.
            ensemble_size: samples per image; their median is the depth, their spread goes into sigma.
            processing_resolution: longest side to work at, pixels; None or 0 for the input's.
            match_input_resolution: whether the result has the input's size where these differ.
            within_measurements: whether the result stays between the sensor and what other views say, where both say
                something: the median of the three.
            edges_from_colour: whether members and their neighbours of like colour vote where depth jumps.
            batch_size: images (samples and tiles count as images) that go through the network at once; None for what
                fits into memory.
            tile_size: longest side that is looked at in one piece, pixels; larger images are tiled.
            tile_overlap: pixels that neighbouring tiles share at least.
            generator: of the noise; one for all images, or one for each.
            output_uncertainty: whether sigma is wanted.
            output_type: "np" for arrays, "pt" for tensors.
            callback_on_step_end: called after each step with the pipeline, the step's number, its timestep and the
                tensors asked for; may give back another `code`.
            callback_on_step_end_tensor_inputs: which of "code" [N * ensemble_size, 1, h, w], padded; "depth_z_m"
                [N, H', W'], the depth that the step arrives at; "noisy_depth_z_m", what it came from, first members.
        """
        # 1. Refuse what cannot be refined.
        self.check_inputs(
            {"depth_z_m": depth_z_m, "fused_z_m": fused_z_m, "support": support, "violations": violations},
            image,
            num_inference_steps=num_inference_steps,
            ensemble_size=ensemble_size,
            processing_resolution=processing_resolution,
            batch_size=batch_size,
            tile_size=tile_size,
            tile_overlap=tile_overlap,
            generator=generator,
            output_type=output_type,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
        )
        device, dtype = self._execution_device, self.unet.dtype
        code = self.residual_code

        # 2. To tensors at working resolution.
        colour = image_tensor(image).to(device)  # [N, 3, H, W]
        sensor = map_tensor(depth_z_m).to(device)  # [N, H, W]
        height, width = sensor.shape[-2:]
        size = size_for_longest_side(height, width, processing_resolution)  # H', W'
        colour, sensor = resize_image(colour, *size), resize_depth(sensor, *size)
        fused = None if fused_z_m is None else resize_depth(map_tensor(fused_z_m).to(device), *size)
        votes = [
            None if votes is None else resize_nearest(map_tensor(votes).to(device), *size)
            for votes in (support, violations)
        ]

        # 3. The first guess, and padding to sizes that the network takes. What is added is unmeasured.
        multiple = self.unet.size_multiple
        base = pad_to_multiple(base_depth(sensor, fused), multiple)  # [N, h, w]
        measured, *evidence = (
            None if maps is None else pad_to_multiple(maps, multiple, 0.0) for maps in (sensor, fused, *votes)
        )
        assert measured is not None
        conditions = condition_channels(code, pad_to_multiple(colour, multiple), measured, base, *evidence).to(dtype)
        bounds = span_of_opinions(measured, evidence[0]) if within_measurements else None

        # 4. Noise for each member of the ensemble.
        generators = _one_for_each(generator, len(base), ensemble_size)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        shape = (len(base) * ensemble_size, 1, *base.shape[1:])
        noise = randn_tensor(shape, generator=generators, device=device, dtype=torch.float32)
        codes = noise * self.scheduler.init_noise_sigma  # [N * E, 1, h, w]

        # 5. Denoise.
        plan = TilePlan(base.shape[1], base.shape[2], tile_size, tile_overlap, multiple)
        options = {"generator": generators} if "generator" in _parameters(self.scheduler.step) else {}
        timesteps = self.scheduler.timesteps
        with self.progress_bar(total=len(timesteps)) as progress:  # pyright: ignore[reportCallIssue]
            for step, timestep in enumerate(timesteps):
                noisy = self.scheduler.scale_model_input(codes, timestep)
                last = step == len(timesteps) - 1
                # Pure noise says nothing of the depth: one member's prediction is as good as another's. They part in
                # what follows from it and from their own noise.
                shared = ensemble_size if self._is_pure_noise(timestep) and not last else 1
                velocity = self._predict(noisy[::shared], timestep, conditions, plan, batch_size)
                velocity = velocity.repeat_interleave(shared, dim=0)  # [N * E, 1, h, w]
                result = self.scheduler.step(velocity, timestep, codes, **options)
                # Some spacings of timesteps end just before 0 and leave a trace of noise in prev_sample.
                estimate = getattr(result, "pred_original_sample", result.prev_sample)
                codes = estimate if last else result.prev_sample
                if callback_on_step_end is not None:
                    noisy_depth, _ = self.decode(noisy[::ensemble_size], base)
                    depth, _ = self.decode(estimate, base, bounds if last else None)
                    shown = {"noisy_depth_z_m": noisy_depth, "depth_z_m": depth}
                    tensors = {name: maps[:, : size[0], : size[1]] for name, maps in shown.items()} | {"code": codes}
                    asked = {name: tensors[name] for name in callback_on_step_end_tensor_inputs}
                    codes = (callback_on_step_end(self, step, timestep, asked) or {}).get("code", codes)
                progress.update()

        # 6. Median and spread of the members, without the padding.
        depth, members = (maps[..., : size[0], : size[1]] for maps in self.decode(codes, base, bounds))
        if edges_from_colour:
            depth, spread = guided_by_colour(members, depth, colour)  # [N, H', W']
        else:
            spread = ensemble_spread(members)

        # 7. Whose depth it is, and how far it can be trusted.
        provenance = provenance_of(depth, sensor, fused)
        sigma = None
        if output_uncertainty:
            sigma = self.calibration.sigma_z_m(spread, depth, provenance, local_disagreement(sensor, fused))

        # 8. To the input's size.
        if match_input_resolution:
            depth, provenance = resize_depth(depth, height, width), resize_nearest(provenance, height, width)
            sigma = None if sigma is None else resize_nearest(sigma, height, width)
        self.maybe_free_model_hooks()
        results = [None if maps is None else maps.cpu() for maps in (depth, sigma, provenance)]
        if output_type == "np":
            results = [None if maps is None else maps.numpy() for maps in results]
        return DepthRefinementOutput(*results)

    def decode(
        self, codes: Tensor, base_z_m: Tensor, bounds_z_m: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Depth [N, H, W] of an ensemble's codes, and that of its members [N, E, H, W], metres.

        Args:
            codes: [N * E, 1, H, W].
            base_z_m: the first guess [N, H, W], metres.
            bounds_z_m: least and largest depth of each pixel [N, H, W], metres; None for no bounds.
        """
        code = self.residual_code
        members = codes.clamp(-code.limit, code.limit).reshape(len(base_z_m), -1, *base_z_m.shape[1:])
        depth = code.decode(ensemble_median(members), base_z_m)
        depths = code.decode(members, base_z_m[:, None])
        if bounds_z_m is not None:
            low, high = bounds_z_m
            depth, depths = depth.clamp(low, high), depths.clamp(low[:, None], high[:, None])
        return depth, depths

    def _predict(
        self, noisy: Tensor, timestep: Tensor, conditions: Tensor, plan: TilePlan, batch_size: int | None
    ) -> Tensor:
        """v of the noisy codes [N * E, 1, h, w] under the conditions [N, C, h, w], which an image's members share."""
        ensemble_size = len(noisy) // len(conditions)

        def predict(rows: slice, columns: slice) -> Tensor:
            tiles, known = noisy[..., rows, columns].to(conditions.dtype), conditions[..., rows, columns]
            size = batch_size or _fitting_batch(tiles.shape[-2] * tiles.shape[-1], known.device)
            parts = []
            for batch in batches(len(tiles), size):
                images = torch.tensor([member // ensemble_size for member in batch], device=known.device)
                parts.append(self.unet(tiles[batch.start : batch.stop], timestep, known[images]))
            return torch.cat(parts).to(torch.float32)

        return blend_tiles(plan, predict)

    def _is_pure_noise(self, timestep: Tensor) -> bool:
        """Whether nothing of the depth is left at this timestep: the first one of schedules of zero terminal SNR."""
        alphas_cumprod = getattr(self.scheduler, "alphas_cumprod", None)
        return alphas_cumprod is not None and float(alphas_cumprod[int(timestep)]) < PURE_NOISE

    def check_inputs(
        self,
        maps: Mapping[str, Any],
        image: Any,
        num_inference_steps: int,
        ensemble_size: int,
        processing_resolution: int | None,
        batch_size: int | None,
        tile_size: int,
        tile_overlap: int,
        generator: Any,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Raises ValueError or TypeError that names the argument and what is accepted. See `__call__`."""
        check_whole("num_inference_steps", num_inference_steps, 1, MOST_STEPS)
        check_whole("ensemble_size", ensemble_size, 1)
        check_whole("tile_size", tile_size, 1)
        check_whole("tile_overlap", tile_overlap, 0, tile_size)
        if processing_resolution is not None:
            check_whole("processing_resolution", processing_resolution, 0)
        if batch_size is not None:
            check_whole("batch_size", batch_size, 1)
        if output_type not in ("np", "pt"):
            raise ValueError(f"`output_type` is {output_type!r}: give 'np' or 'pt'")
        if unknown := set(callback_on_step_end_tensor_inputs) - set(CALLBACK_TENSORS):
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` holds {sorted(unknown)}: give some of {list(CALLBACK_TENSORS)}"
            )
        shape = image_shape(image)
        for name, values in maps.items():
            if values is None and name != "depth_z_m":
                continue
            if (found := map_shape(name, values)) != shape:
                raise ValueError(
                    f"`{name}` is {found} (images, height, width) and `image` is {shape}: give one value for each pixel"
                )
        check_generator(generator, shape[0])


def _one_for_each(
    generator: torch.Generator | Sequence[torch.Generator] | None, images: int, ensemble_size: int
) -> list[torch.Generator] | None:
    """A generator for each member, so that an image's noise does not depend on what else is in the batch."""
    if generator is None:
        return None
    generators = [generator] * images if isinstance(generator, torch.Generator) else generator
    return [one for one in generators for _ in range(ensemble_size)]


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _fitting_batch(pixels: int, device: torch.device) -> int:
    """How many images of so many pixels go through the network at once."""
    pixels_at_once = CPU_PIXELS_AT_ONCE
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        pixels_at_once = int(GPU_MEMORY_SHARE * free_bytes / GPU_BYTES_PER_PIXEL)
    return max(1, pixels_at_once // pixels)
