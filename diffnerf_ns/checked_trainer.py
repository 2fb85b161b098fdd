"""nerfstudio's trainer, with three differences.

A capture which cannot be trained on leaves nothing behind. A step that runs out of memory is repeated with fewer rays,
and the number of rays can grow or follow a target. Learning rate schedules without an end of their own end with
training.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from nerfstudio.data.pixel_samplers import PixelSampler
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.out_of_memory import is_out_of_memory, release_cached_memory
from diffnerf_ns.peak_memory import can_measure_peak, peak_gib, reset_peak
from diffnerf_ns.rays_per_batch import RaysPerBatch, RaysPerBatchConfig


@runtime_checkable
class ChecksCapture(Protocol):
    """A data manager's settings that can tell whether their capture is fit for training."""

    def check_capture(self) -> None:
        """Raises CaptureError if it is not. Writes nothing."""
        ...


@dataclass
class CheckedTrainerConfig(TrainerConfig):
    """Checks the capture before `ns-train` writes its first file."""

    _target: type = field(default_factory=lambda: CheckedTrainer)
    """Target class to instantiate."""
    rays_per_batch: RaysPerBatchConfig = field(default_factory=RaysPerBatchConfig)
    """How the number of rays of a step grows at the beginning, or follows a time or memory target."""

    def save_config(self) -> None:
        """Checks the capture, then writes config.yml; ends the command with one clear line if the check fails."""
        datamanager = self.pipeline.datamanager
        try:
            if isinstance(datamanager, ChecksCapture):
                datamanager.check_capture()
        except CaptureError as error:
            raise SystemExit(f"Error: {error}") from error
        super().save_config()


def optimizers_ending_at(optimizers: dict[str, Any], max_steps: int) -> dict[str, Any]:
    """Optimizer settings in which a schedule whose `max_steps` is None ends at `max_steps`."""
    filled = {}
    for name, settings in optimizers.items():
        schedule = settings["scheduler"]
        if schedule is not None and getattr(schedule, "max_steps", max_steps) is None:
            settings = {**settings, "scheduler": dataclasses.replace(schedule, max_steps=max_steps)}
        filled[name] = settings
    return filled


class CheckedTrainer(Trainer):
    """Repeats a step that ran out of memory with half its rays; changes no parameter and no learning rate for it."""

    config: CheckedTrainerConfig

    def setup_optimizers(self) -> Optimizers:
        """Optimizers whose schedules end with training, and a place in checkpoints for the number of rays."""
        device_type = self.device.partition(":")[0]
        if self.config.rays_per_batch.target_memory_gib is not None and not can_measure_peak(device_type):
            raise ValueError(
                f"rays_per_batch.target_memory_gib: peak memory of {device_type} cannot be measured on this system; "
                "use rays_per_batch.target_step_seconds, or neither"
            )
        self.rays_per_batch = RaysPerBatch(self.config.rays_per_batch)
        self._all_rays, self._planned_rays = self._num_rays(), self._num_rays()
        self.pipeline.register_buffer("train_num_rays", torch.tensor(self._num_rays()))
        optimizers = Optimizers(
            optimizers_ending_at(self.config.optimizers, self.config.max_num_iterations),
            self.pipeline.get_param_groups(),
        )
        self._parameters_changed = False
        for optimizer in optimizers.optimizers.values():
            optimizer.register_step_pre_hook(self._note_change)
        return optimizers

    def _load_checkpoint(self) -> None:
        """Loads what nerfstudio loads; a number of rays that follows a target goes on where it was."""
        configured = self._num_rays()
        super()._load_checkpoint()
        follows = self.config.rays_per_batch.has_target()
        self._set_num_rays(self.rays_per_batch.within_bounds(int(self._rays_buffer())) if follows else configured)

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """One step, repeated with half its rays for as long as memory does not suffice."""
        self._follow_plan(step)
        while True:
            num_rays = self._num_rays()
            try:
                return self._measured_iteration(step, num_rays)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._can_repeat():
                    raise
                fewer = self.rays_per_batch.after_running_out(num_rays)
                if fewer is None or self._set_num_rays(fewer) == num_rays:
                    raise RuntimeError(
                        f"out of memory with {num_rays} rays per batch, and rays_per_batch.min_rays is "
                        f"{self.config.rays_per_batch.min_rays}: turn pipeline.model.gradient_checkpointing on, "
                        "or train a smaller model"
                    ) from error
            self._all_rays = self._planned_rays = self._num_rays()
            self.optimizers.zero_grad_all()
            release_cached_memory()
            CONSOLE.print(
                f"[yellow]out of memory at step {step}: repeated with {self._num_rays()} instead of {num_rays} rays"
            )

    def _follow_plan(self, step: int) -> None:
        """Sets the number of rays where it is to grow; what else has set it stays in between."""
        planned = self.rays_per_batch.planned(step, self.config.max_num_iterations, self._all_rays)
        if planned != self._planned_rays:
            self._planned_rays = planned
            self._set_num_rays(planned)

    def _measured_iteration(self, step: int, num_rays: int) -> TRAIN_INTERATION_OUTPUT:
        """nerfstudio's step, and what it says about the number of rays of the next one."""
        self._parameters_changed = False
        settings, device_type = self.config.rays_per_batch, self.device.partition(":")[0]
        if settings.target_memory_gib is not None:
            reset_peak(device_type)
        started = time.perf_counter()
        result = super().train_iteration(step)
        if not settings.has_target():
            return result
        if device_type == "cuda":
            torch.cuda.synchronize()
        peak = peak_gib(device_type) if settings.target_memory_gib is not None else None
        wanted = self.rays_per_batch.after_step(num_rays, time.perf_counter() - started, peak)
        if wanted != num_rays:
            self._set_num_rays(wanted)
        return result

    def _can_repeat(self) -> bool:
        """False where a part of the step has already had its effect, here or on another process."""
        return not (self._parameters_changed or self.config.gradient_accumulation_steps or self.world_size > 1)

    def _note_change(self, *_: Any) -> None:
        self._parameters_changed = True

    def _sampler(self) -> PixelSampler:
        datamanager = self.pipeline.datamanager
        assert isinstance(datamanager, VanillaDataManager)
        assert datamanager.train_pixel_sampler is not None
        return datamanager.train_pixel_sampler

    def _num_rays(self) -> int:
        return self._sampler().num_rays_per_batch

    def _rays_buffer(self) -> torch.Tensor:
        return self.pipeline.get_buffer("train_num_rays")

    def _set_num_rays(self, num_rays: int) -> int:
        """Sets it as far as the sampler can: it takes whole patches. Returns what it came to."""
        self._sampler().set_num_rays_per_batch(num_rays)
        self._rays_buffer().fill_(self._num_rays())
        return self._num_rays()
