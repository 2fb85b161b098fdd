"""diffnerf-mlp: NeRF as published under diffnerf's data and losses, to see what hash grids are worth."""

from nerfstudio.plugins.types import MethodSpecification

from diffnerf_ns.field.classic_model import ClassicModelConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig

from ._build import available_device, classic_optimizer, trainer

DEVICE = available_device()
ON_CPU = DEVICE == "cpu"
RAYS_PER_CHUNK = 512 if ON_CPU else 4096


def model() -> ClassicModelConfig:
    """The published network; on a CPU, with half of the published samples."""
    if ON_CPU:
        return ClassicModelConfig(coarse_samples=32, fine_samples=64, eval_num_rays_per_chunk=RAYS_PER_CHUNK)
    return ClassicModelConfig(eval_num_rays_per_chunk=RAYS_PER_CHUNK)


diffnerf_mlp = MethodSpecification(
    config=trainer(
        "diffnerf-mlp",
        model(),
        RefinedDepthDataManagerConfig(train_num_rays_per_batch=256 if ON_CPU else 4096, depth_required=False),
        DEVICE,
        steps=1000 if ON_CPU else 200000,
        field_optimizer=classic_optimizer(),
        rays_per_chunk=RAYS_PER_CHUNK,
    ),
    description="NeRF as published (8x256 MLPs, coarse and fine samples) to compare with; depth is optional. "
    "Very slow on a CPU.",
)
