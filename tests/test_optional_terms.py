"""Optional losses and corrections in nerfstudio's own pipeline: from the capture's files to a training step."""

from __future__ import annotations

from pathlib import Path

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from diffnerf_ns.field.depth_calibration import DepthCalibrationConfig
from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.field.exposure import ExposureConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig, RefinerConfig


def test_all_optional_terms_at_once_make_a_training_step(capture: Path, cache_dir: Path) -> None:
    datamanager = RefinedDepthDataManagerConfig(
        data=capture,
        train_num_rays_per_batch=90,
        patch_size=3,
        normals_from_depth=True,
        refiner=RefinerConfig("none", cache_dir=cache_dir),
    )
    model = DiffnerfModelConfig(
        num_levels=4,
        max_resolution=32,
        log2_hashmap_size=10,
        depth_loss_type="wasserstein",
        smoothness_loss_mult=0.01,
        normal_loss_mult=0.01,
        exposure=ExposureConfig(enabled=True),
        depth_calibration=DepthCalibrationConfig(enabled=True),
    )
    pipeline = VanillaPipelineConfig(datamanager=datamanager, model=model).setup(device="cpu", test_mode="val")
    pipeline.train()
    _, losses, _ = pipeline.get_train_loss_dict(0)
    assert {"depth_loss", "smoothness_loss", "normal_loss", "exposure_penalty", "depth_calibration_prior"} <= set(
        losses
    )
    assert losses["normal_loss"] > 0
    torch.stack(list(losses.values())).sum().backward()
    for name, parameters in pipeline.get_param_groups().items():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        assert gradients, name
        assert all(gradient.isfinite().all() for gradient in gradients), name
        assert any(gradient.abs().max() > 0 for gradient in gradients), name
