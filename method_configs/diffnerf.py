"""diffnerf: refined depth, and a field that trusts it as far as it can be trusted."""

from nerfstudio.plugins.types import MethodSpecification

from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig

from ._build import available_device, trainer

DEVICE = available_device()
SMALL = DEVICE == "cpu"

diffnerf = MethodSpecification(
    config=trainer(
        "diffnerf",
        DiffnerfModelConfig()
        if SMALL
        else DiffnerfModelConfig(num_levels=16, max_resolution=2048, log2_hashmap_size=19),
        RefinedDepthDataManagerConfig(train_num_rays_per_batch=4096 if SMALL else 8192),
        DEVICE,
        steps=1000 if SMALL else 15000,
    ),
    description="Depth-supervised field on refined RGB-D captures. Fast on a CPU, larger on a GPU.",
)
