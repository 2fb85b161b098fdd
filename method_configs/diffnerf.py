"""diffnerf: refined depth, and a field that trusts it as far as it can be trusted."""

from nerfstudio.plugins.types import MethodSpecification

from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig, RefinerConfig

from ._build import available_device, trainer

DEVICE = available_device()
ON_CPU = DEVICE == "cpu"
STEPS = 1000 if ON_CPU else 15000


def model() -> DiffnerfModelConfig:
    """A field of a size that fits the device."""
    if ON_CPU:
        return DiffnerfModelConfig()
    return DiffnerfModelConfig(num_levels=16, max_resolution=2048, log2_hashmap_size=19)


def datamanager(refiner: RefinerConfig) -> RefinedDepthDataManagerConfig:
    """Batches of a size that fits the device."""
    return RefinedDepthDataManagerConfig(train_num_rays_per_batch=4096 if ON_CPU else 8192, refiner=refiner)


diffnerf = MethodSpecification(
    config=trainer("diffnerf", model(), datamanager(RefinerConfig()), DEVICE, STEPS),
    description="Depth-supervised field on refined RGB-D captures. Fast on a CPU, larger on a GPU.",
)
