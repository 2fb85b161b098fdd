"""The diffusion model as a `DepthRefiner`: loaded when first needed, fed with what other views say, reproducible."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from diffnerf_ns.cpu_features import cpu_has_native_bfloat16
from diffnerf_ns.refinement.interface import Provenance, RefinedDepth, RefinerFrame
from diffnerf_ns.refinement.one_thread_each import OneThreadEach
from diffnerf_ns.refinement.refiner_config import RefinerSettings
from diffnerf_ns.refinement.view_blocks import ViewBlock, view_blocks
from diffnerf_ns.refinement.weights_folder import content_of, weights_folder

if TYPE_CHECKING:
    from diffnerf_ns.refinement.fused_views import FusedViews
    from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline

VERSION = 10
"""Raised whenever the results change, so that caches know."""

FRAMES_AT_ONCE_ON_GPU = 8
"""Frames that a GPU takes through the network at once. A CPU takes one, which is exactly reproducible."""

MOST_GROUPS_AT_ONCE_ON_CPU = 4
"""Groups of frames that a CPU refines side by side, at most: each needs memory for itself."""


@dataclass(frozen=True)
class _Input:
    """One frame as the pipeline takes it."""

    image: npt.NDArray[np.uint8]
    depth_z_m: npt.NDArray[np.float32]
    contradicted: npt.NDArray[np.bool_]
    """Where the sensor measured what other views look through: missing in depth_z_m."""
    evidence: dict[str, Any]
    generator: torch.Generator


class DiffusionRefiner:
    """Refines frames with `DepthRefinementPipeline`, in blocks of views that are fused together.

    A frame's result depends on its pixels, on the depth and poses of its block, and on the settings: not on names, and
    not on which other frames are refined with it.
    """

    sees_others_depth_only: Literal[True] = True

    def __init__(self, config: RefinerSettings) -> None:
        """
        Args:
            config: `model` names weights: "shipped", a folder, or a hub id.
        """
        for name, value, accepted in (
            ("steps", config.steps, range(1, 51)),
            ("ensemble", config.ensemble, range(1, 1001)),
            ("batch", config.batch, range(10001)),
        ):
            if value not in accepted:
                raise ValueError(f"refiner.{name} is {value}: give {accepted.start} to {accepted.stop - 1}")
        self.config = config
        self.folder = weights_folder(config.model)
        self.device = _device(config.device)
        self.groups_at_once = MOST_GROUPS_AT_ONCE_ON_CPU
        self._pipeline: DepthRefinementPipeline | None = None
        self._of_thread = threading.local()
        self._frames: Sequence[RefinerFrame] | None = None
        self._blocks: dict[int, ViewBlock] = {}
        self._fused: FusedViews | None = None

    def fingerprint(self) -> str:
        config = self.config
        return (
            f"diffusion {VERSION} weights {content_of(self.folder)} steps {config.steps} ensemble {config.ensemble} "
            f"seed {config.seed} multiview {config.multiview}"
        )

    def context(self, frames: Sequence[RefinerFrame], index: int) -> Sequence[int]:
        if not self.config.multiview:
            return ()
        return [other for other in self._block_of(frames, index).members if other != index]

    def refine(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[RefinedDepth]:
        groups = self._groups(frames, indices)
        if self.device.type != "cpu":
            for group in groups:
                inputs = self._inputs(frames, group)
                yield from _results(inputs, self._run(self._loaded(), inputs))
            return
        self._loaded()
        with OneThreadEach(min(torch.get_num_threads(), self.groups_at_once)) as threads:
            yield from threads.map(self._refined_in_thread, (self._inputs(frames, group) for group in groups))

    def _groups(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> Iterator[list[int]]:
        """Indices of frames of one size that go through the network together."""
        at_once = self.config.batch or (FRAMES_AT_ONCE_ON_GPU if self.device.type == "cuda" else 1)
        waiting: list[int] = []
        for index in indices:
            size = frames[index].height, frames[index].width
            if waiting and (len(waiting) == at_once or size != (frames[waiting[0]].height, frames[waiting[0]].width)):
                yield waiting
                waiting = []
            waiting.append(index)
        if waiting:
            yield waiting

    def denoising_steps(self, frames: Sequence[RefinerFrame], index: int) -> list[npt.NDArray[np.float32]]:
        """Depth [height, width], metres, on its way: one member's noise, what each step arrives at, the result last."""
        shown: list[npt.NDArray[np.float32]] = []

        def keep(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if step == 0:
                shown.append(tensors["noisy_depth_z_m"][0].cpu().numpy())
            shown.append(tensors["depth_z_m"][0].cpu().numpy())
            return {}

        result = self._run(self._loaded(), [self._input(frames, index)], keep, ("noisy_depth_z_m", "depth_z_m"))
        return [*shown[:-1], result.depth_z_m[0]]

    def disagreement_z_m(self, frames: Sequence[RefinerFrame], index: int) -> npt.NDArray[np.float32]:
        """How far sensor and other views differ around each pixel [height, width], metres; 0 where they do not meet."""
        from diffnerf_ns.refinement.normalizer import local_disagreement

        given = self._input(frames, index)
        sensor_z_m, fused_z_m = torch.from_numpy(given.depth_z_m)[None], given.evidence.get("fused_z_m")
        return local_disagreement(sensor_z_m, None if fused_z_m is None else fused_z_m.cpu())[0].numpy()

    def _inputs(self, frames: Sequence[RefinerFrame], indices: Sequence[int]) -> list[_Input]:
        return [self._input(frames, index) for index in indices]

    def _refined_in_thread(self, inputs: Sequence[_Input]) -> Iterator[RefinedDepth]:
        """Refines with this thread's own pipeline: schedulers remember where they are."""
        if not hasattr(self._of_thread, "pipeline"):
            own = copy.copy(self._loaded())
            own.scheduler = copy.deepcopy(own.scheduler)
            self._of_thread.pipeline = own
        return _results(inputs, self._run(self._of_thread.pipeline, inputs))

    def _run(
        self,
        pipeline: DepthRefinementPipeline,
        inputs: Sequence[_Input],
        callback: Any = None,
        tensors: Sequence[str] = (),
    ) -> Any:
        evidence: dict[str, Any] = {
            name: torch.cat([one.evidence[name] for one in inputs]) for name in inputs[0].evidence
        }
        return pipeline(
            [one.image for one in inputs],
            [one.depth_z_m for one in inputs],
            **evidence,
            num_inference_steps=self.config.steps,
            ensemble_size=self.config.ensemble,
            generator=[one.generator for one in inputs],
            callback_on_step_end=callback,
            callback_on_step_end_tensor_inputs=tensors,
        )

    def _input(self, frames: Sequence[RefinerFrame], index: int) -> _Input:
        image, measured_z_m = frames[index].read_image(), frames[index].read_depth_z_m()
        generator = _generator(self.config.seed, image, measured_z_m)
        depth_z_m, evidence = measured_z_m, {}
        if self.config.multiview and len(frames) > 1:
            fused = self._fused_around(frames, index)
            evidence, depth_z_m = dict(vars(fused.evidence(index))), fused.depth_z_m(index).cpu().numpy()
        contradicted = (measured_z_m > 0) & (depth_z_m <= 0)
        return _Input(image, depth_z_m, contradicted, evidence, generator)

    def _block_of(self, frames: Sequence[RefinerFrame], index: int) -> ViewBlock:
        if self._frames is not frames:
            blocks = view_blocks(np.stack([frame.camera_to_world for frame in frames]))
            self._frames, self._fused = frames, None
            self._blocks = {view: block for block in blocks for view in block.core}
        return self._blocks[index]

    def _fused_around(self, frames: Sequence[RefinerFrame], index: int) -> FusedViews:
        from diffnerf_ns.refinement.fused_views import FusedViews

        block = self._block_of(frames, index)
        if self._fused is None or self._fused.block is not block:
            self._fused = None  # let go of one before the next is made
            self._fused = FusedViews(frames, block, self.device)
        return self._fused

    def _loaded(self) -> DepthRefinementPipeline:
        if self._pipeline is None:
            from diffusers.utils import logging

            from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline

            logging.disable_progress_bar()  # two files are no reason for one
            pipeline = DepthRefinementPipeline.from_pretrained(self.folder)
            logging.enable_progress_bar()
            pipeline.set_progress_bar_config(disable=True)
            # not ModelMixin.to, which warns of layers to be kept in float32 even where there are none
            torch.nn.Module.to(pipeline.unet, fastest_dtype(self.device))
            torch.nn.Module.to(pipeline.unet, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            self._pipeline = pipeline.to(self.device)
        assert self._pipeline is not None
        return self._pipeline


def _results(inputs: Sequence[_Input], refined: Any) -> Iterator[RefinedDepth]:
    for given, depth_z_m, sigma_z_m, provenance in zip(
        inputs, refined.depth_z_m, refined.sigma_z_m, refined.provenance, strict=True
    ):
        provenance[given.contradicted] = int(Provenance.REPLACED)
        yield RefinedDepth(depth_z_m, sigma_z_m, provenance)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"refiner.device is {name!r}: give auto, cpu, cuda, cuda:1, ...") from error


def fastest_dtype(device: torch.device) -> torch.dtype:
    """What the network computes in: 16 bits where the device has instructions for it."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_native_bfloat16() else torch.float32


def _generator(seed: int, image: npt.NDArray[np.uint8], depth_z_m: npt.NDArray[np.float32]) -> torch.Generator:
    """Noise that follows from the seed and the frame's own pixels."""
    digest = sha256(f"{seed}".encode() + image.tobytes() + depth_z_m.tobytes()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
