"""diffnerf-big: more of everything, for a GPU."""

from nerfstudio.plugins.types import MethodSpecification

from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from diffnerf_ns.refined_datamanager import RefinedDepthDataManagerConfig

from ._build import available_device, trainer

diffnerf_big = MethodSpecification(
    config=trainer(
        "diffnerf-big",
        DiffnerfModelConfig(
            num_levels=16,
            max_resolution=4096,
            log2_hashmap_size=21,
            hidden_dim_color=128,
            samples_in_band=24,
            samples_in_free_space=8,
            samples_from_grid=24,
            samples_anywhere=16,
            grid_steps=128,
            eval_grid_samples=64,
            eval_samples=64,
            density_grid_resolution=160,
        ),
        RefinedDepthDataManagerConfig(train_num_rays_per_batch=16384),
        available_device(),
        steps=30000,
    ),
    description="diffnerf with a larger field and more samples: quality, on a GPU.",
)
