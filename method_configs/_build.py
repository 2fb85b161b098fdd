"""What the methods share: the device they run on, and a trainer around a model."""

from __future__ import annotations

from typing import Any, Literal

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from diffnerf_ns.checked_trainer import CheckedTrainerConfig
from diffnerf_ns.field.cosine_schedule import WarmCosineScheduleConfig
from diffnerf_ns.field.depth_supervised_model import DepthSupervisedModelConfig
from diffnerf_ns.field.exponential_schedule import ExponentialScheduleConfig
from diffnerf_ns.field.fused_adam import FusedAdamOptimizerConfig
from diffnerf_ns.rays_per_batch import RaysPerBatchConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig

DeviceType = Literal["cpu", "cuda", "mps"]


def available_device() -> DeviceType:
    """The fastest device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def hash_grid_optimizer() -> dict[str, Any]:
    """Optimizer and schedule of a hash grid and its networks."""
    return {
        "optimizer": FusedAdamOptimizerConfig(lr=1e-2, eps=1e-15),
        "scheduler": WarmCosineScheduleConfig(),
    }


def classic_optimizer() -> dict[str, Any]:
    """Optimizer and schedule of NeRF as published, with gradients clipped."""
    return {
        "optimizer": FusedAdamOptimizerConfig(lr=5e-4, eps=1e-7, max_norm=1.0),
        "scheduler": ExponentialScheduleConfig(),
    }


def trainer(
    method_name: str,
    model: DepthSupervisedModelConfig,
    datamanager: RefinedDepthDataManagerConfig,
    device_type: DeviceType,
    steps: int,
    field_optimizer: dict[str, Any] | None = None,
    rays_per_chunk: int = 1 << 15,
) -> CheckedTrainerConfig:
    """A complete training configuration of `steps` iterations; the viewer renders `rays_per_chunk` rays at a time."""
    return CheckedTrainerConfig(
        method_name=method_name,
        machine=MachineConfig(device_type=device_type),
        max_num_iterations=steps,
        steps_per_save=max(100, steps // 4),
        steps_per_eval_batch=max(50, steps // 20),
        steps_per_eval_image=max(100, steps // 4),
        steps_per_eval_all_images=steps,
        mixed_precision=device_type == "cuda",
        pipeline=VanillaPipelineConfig(datamanager=datamanager, model=model),
        rays_per_batch=RaysPerBatchConfig(first_rays=1024 if device_type == "cpu" else None),
        optimizers={
            "fields": field_optimizer or hash_grid_optimizer(),
            "camera_opt": {
                "optimizer": FusedAdamOptimizerConfig(lr=1e-3, eps=1e-15),
                "scheduler": WarmCosineScheduleConfig(warmup_steps=steps // 10),
            },
            "exposure": {
                "optimizer": FusedAdamOptimizerConfig(lr=1e-3, eps=1e-15),
                "scheduler": WarmCosineScheduleConfig(warmup_steps=steps // 10),
            },
            "depth_calibration": {
                "optimizer": FusedAdamOptimizerConfig(lr=1e-2, eps=1e-15),
                "scheduler": WarmCosineScheduleConfig(warmup_steps=steps // 10),
            },
        },
        viewer=ViewerConfig(num_rays_per_chunk=rays_per_chunk),
        vis="viewer",
    )
