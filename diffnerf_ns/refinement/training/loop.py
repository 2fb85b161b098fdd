"""The training loop of the refiner."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor

from diffnerf_ns.cpu_features import cpu_has_native_bfloat16
from diffnerf_ns.refinement.noise_schedule import default_scheduler
from diffnerf_ns.refinement.normalizer import ResidualCode
from diffnerf_ns.refinement.training.checkpoints import (
    BEST,
    delete_old_checkpoints,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from diffnerf_ns.refinement.training.clip_renderers import ClipRenderers
from diffnerf_ns.refinement.training.frame_batches import Passes, batches
from diffnerf_ns.refinement.training.initial_weights import content_name, take_weights
from diffnerf_ns.refinement.training.learning_rate import one_cycle
from diffnerf_ns.refinement.training.perceptual import WEIGHTS_FILE, load_features
from diffnerf_ns.refinement.training.posed_views import PosedViews
from diffnerf_ns.refinement.training.progress import Progress
from diffnerf_ns.refinement.training.sample_pool import SamplePool
from diffnerf_ns.refinement.training.seeds import Stream, torch_generator
from diffnerf_ns.refinement.training.settings import Network, TrainRefiner
from diffnerf_ns.refinement.training.sources import clip_folder, clip_reuse, make_sources, renderer_count, worker_count
from diffnerf_ns.refinement.training.step_loss import batch_losses
from diffnerf_ns.refinement.training.validation import Validation, ValidationClip, validate, validation_views
from diffnerf_ns.refinement.unet import DepthRefinementUNet


class RefinerTraining:
    """A training: what it consists of, and how far it is."""

    def __init__(self, settings: TrainRefiner) -> None:
        settings.check()
        self.settings = settings
        self.accelerator = make_accelerator(settings)
        self.device = self.accelerator.device
        self.code = ResidualCode()
        self.scheduler = default_scheduler(self.code)
        self.unet = new_network(settings.network, settings.seed)
        if settings.initial_weights is not None:
            take_weights(self.unet, settings.initial_weights)
        self.unet.to(self.device)
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.nn.Module.to(self.unet, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.ema = EMAModel(self.unet.parameters(), settings.ema_decay, use_ema_warmup=True, power=0.75, foreach=on_gpu)
        self.ema.to(self.device)
        optimizer = torch.optim.AdamW(
            self.unet.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=on_gpu
        )
        self.model, self.optimizer = self.accelerator.prepare(self.unet, optimizer)
        self.features = load_features() if settings.losses.perceptual else None
        if self.features is not None:
            self.features = self.features.to(self.device)
        self.begun_from = None if settings.initial_weights is None else content_name(settings.initial_weights)
        self.step = 0
        self.saved_step = -1
        self.seconds_before = 0.0
        self.best_score_m = float("inf")
        self.best_step = 0
        self.without_improvement = 0
        self.last_validation: dict[str, float] = {}
        self.started = time.monotonic()
        self.interrupted = False

    @property
    def hours(self) -> float:
        """Hours of training so far, those of resumed parts included."""
        return (self.seconds_before + time.monotonic() - self.started) / 3600

    def sample_pool(self) -> SamplePool:
        """Where this process's samples are cut from; empty."""
        settings, rank = self.settings, self.accelerator.process_index
        pairs = settings.losses.consistency > 0
        return SamplePool(settings.data, settings.seed, settings.batch_size, self.device, pairs, rank)

    def batches(self) -> Iterator[PosedViews]:
        """This process's batches from the current step on; clips are rendered for them from now on."""
        settings, pool = self.settings, self.sample_pool()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        sources = make_sources(settings.data, settings.seed, settings.out, self.device)
        renderers = None
        if count := renderer_count(settings.data, self.device, world):
            first = pool.first_needed(self.step) * world // clip_reuse(settings.data, self.device)
            renderers = ClipRenderers(sources["rooms"][0].clips, count, first, rank, world)  # pyright: ignore
        passes = Passes(list(sources.values()), settings.seed)
        workers = worker_count(settings.data, self.device)

        def drawn() -> Iterator[PosedViews]:
            try:
                yield from batches(passes, pool, self.step, workers, rank, world)
            finally:
                if renderers is not None:
                    renderers.close()

        return drawn()

    def train_step(self, batch: PosedViews) -> dict[str, Tensor]:
        """One step of the optimiser."""
        settings = self.settings
        rate = settings.learning_rate * one_cycle(self.share_done(), settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generator = torch_generator(self.device, Stream.NOISE, settings.seed, self.step, self.accelerator.process_index)
        losses = batch_losses(
            self.model,
            self.scheduler,
            self.code,
            batch,
            settings.losses,
            settings.objective,
            generator,
            self.features,
        )
        self.accelerator.backward(losses["total"])
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())
        self.step += 1
        return {
            **{name: loss.detach() for name, loss in losses.items()},
            "gradient": torch.as_tensor(norm),
            "rate": torch.tensor(rate),
        }

    def share_done(self) -> float:
        """Share of the training that is done, as the learning rate sees it."""
        if self.settings.anneal_by == "hours":
            return self.hours / self.settings.max_hours
        return self.step / self.settings.max_steps

    def run(self) -> None:
        """Trains until the steps or hours are over, nothing improves any more, or a signal asks to stop."""
        settings, main = self.settings, self.accelerator.is_main_process
        settings.out.mkdir(parents=True, exist_ok=True)
        self._resume()
        out = settings.out if main else None
        with Progress(out, settings.max_steps, self.step, main, settings.tensorboard) as progress, self._signals():
            if settings.losses.perceptual and self.features is None:
                progress.say(f"{WEIGHTS_FILE} is not in torch hub's folder: trained without the perceptual loss")
            data = self.batches()
            clips = self._validation_clips(progress) if main else []
            self.started = time.monotonic()
            self._steps(progress, clips, data)
            self._save(progress)

    def _steps(self, progress: Progress, clips: list[ValidationClip], data: Iterator[PosedViews]) -> None:
        settings = self.settings
        saved = time.monotonic()
        while self.step < settings.max_steps and not self._must_stop():
            values = self.train_step(next(data))
            progress.step_done(self.step)
            if self.step % settings.log_every == 0:
                progress.record(self.step, {**{k: float(v) for k, v in values.items()}, **self._memory()})
            if self.step % settings.validate_every == 0 or self.step == settings.max_steps:
                self._validate(progress, clips)
            due = time.monotonic() - saved > 60 * settings.checkpoint_minutes
            if self.step % settings.checkpoint_every == 0 or due:
                self._save(progress)
                saved = time.monotonic()
        if not self.interrupted and self.step < settings.max_steps and self.step % settings.validate_every:
            self._validate(progress, clips)

    def _must_stop(self) -> bool:
        """Whether any process has a reason to stop: all of them stop at the same step."""
        settings = self.settings
        over = 0 < settings.max_hours <= self.hours
        stale = 0 < settings.patience <= self.without_improvement
        mine = self.interrupted or over or stale
        if self.accelerator.num_processes == 1:
            return mine
        flag = torch.tensor(float(mine), device=self.device)
        return float(self.accelerator.reduce(flag)) > 0  # pyright: ignore

    def _validation_clips(self, progress: Progress) -> list[ValidationClip]:
        settings = self.settings
        folder = clip_folder(settings.data, settings.out, self.device)
        progress.say("rendering the rooms for validation")
        return validation_views(
            settings.data, settings.validation_clips, settings.validation_views, folder, self.device
        )

    def validate(self, clips: list[ValidationClip]) -> Validation:
        """How good the averaged weights are."""
        self.ema.store(self.unet.parameters())
        self.ema.copy_to(self.unet.parameters())
        self.unet.eval()
        try:
            with self.accelerator.autocast():
                return validate(self.unet, self.scheduler, self.code, clips, self.settings.objective, self.device)
        finally:
            self.unet.train()
            self.ema.restore(self.unet.parameters())

    def _validate(self, progress: Progress, clips: list[ValidationClip]) -> None:
        if not clips:
            return
        found = self.validate(clips)
        self.last_validation = found.errors_m
        progress.record(self.step, {f"mae_m/{name}": value for name, value in found.errors_m.items()}, shown=True)
        progress.pictures(self.step, found.pictures)
        if found.score_m < self.best_score_m:
            self.best_score_m, self.best_step, self.without_improvement = found.score_m, self.step, 0
            save_checkpoint(self.settings.out, BEST, self.state())
        else:
            self.without_improvement += 1

    def _memory(self) -> dict[str, float]:
        if self.device.type == "cuda":
            return {"memory_gib": torch.cuda.max_memory_allocated(self.device) / 2**30}
        return {}

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs: data and noise are functions of the step."""
        scaler = getattr(self.accelerator, "scaler", None)
        return {
            "step": self.step,
            "seconds": 3600 * self.hours,
            "best_score_m": self.best_score_m,
            "best_step": self.best_step,
            "without_improvement": self.without_improvement,
            "last_validation": self.last_validation,
            "settings": self.settings.fixed(),
            "begun_from": self.begun_from,
            "unet": self.unet.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load_state(self, state: dict[str, Any], source: Path) -> None:
        """Takes up a training where it was left; raises ValueError if it was one of other settings."""
        mine, theirs = self.settings.fixed(), state["settings"]
        if differing := [name for name in mine if mine[name] != theirs.get(name)]:
            raise ValueError(
                f"{source} was trained with other settings ({', '.join(differing)}): use the same ones, or another out"
            )
        self.begun_from = state.get("begun_from")
        self.step, self.seconds_before = state["step"], state["seconds"]
        self.best_score_m, self.best_step = state["best_score_m"], state["best_step"]
        self.without_improvement, self.last_validation = state["without_improvement"], state["last_validation"]
        self.unet.load_state_dict(state["unet"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.device)
        self.optimizer.load_state_dict(state["optimizer"])
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])

    def _resume(self) -> None:
        settings = self.settings
        if settings.resume_from_checkpoint is None:
            if found := find_checkpoint(settings.out, "latest"):
                raise ValueError(
                    f"{found} is there already: add --resume-from-checkpoint latest, or choose another out"
                )
            return
        folder = find_checkpoint(settings.out, settings.resume_from_checkpoint)
        if folder is not None:
            self.load_state(load_checkpoint(folder), folder)

    def _save(self, progress: Progress) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and self.step != self.saved_step:
            folder = save_checkpoint(self.settings.out, f"checkpoint-{self.step}", self.state())
            delete_old_checkpoints(self.settings.out, self.settings.checkpoint_limit)
            progress.say(f"saved {folder}")
        self.saved_step = self.step

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Lets SIGTERM and Ctrl-C end the training after the current step, with a checkpoint."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask_to_stop(*_: object) -> None:
            self.interrupted = True

        old = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def make_accelerator(settings: TrainRefiner) -> Accelerator:
    """Accelerate with the precision that the hardware is fast at."""
    precision = settings.mixed_precision
    if precision == "auto":
        on_gpu = torch.cuda.is_available() and not settings.cpu
        if on_gpu:
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            precision = "bf16" if cpu_has_native_bfloat16() else "no"
    return Accelerator(mixed_precision=precision, cpu=settings.cpu or not torch.cuda.is_available())


def new_network(settings: Network, seed: int) -> DepthRefinementUNet:
    """An untrained network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = DepthRefinementUNet(
            block_out_channels=settings.block_out_channels,
            layers_per_block=settings.layers_per_block,
            full_resolution_channels=settings.full_resolution_channels,
            feature_enhancement=settings.feature_enhancement,
        )
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return unet
