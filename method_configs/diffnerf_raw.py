"""diffnerf-raw: diffnerf on the sensor's own depth, to see what refinement is worth."""

from dataclasses import replace

from nerfstudio.plugins.types import MethodSpecification

from diffnerf_ns.refined_datamanager import RefinerConfig

from ._build import trainer
from .diffnerf import DEVICE, diffnerf

_config = diffnerf.config

diffnerf_raw = MethodSpecification(
    config=trainer(
        "diffnerf-raw",
        replace(_config.pipeline.model),
        replace(_config.pipeline.datamanager, refiner=RefinerConfig(model="none")),
        DEVICE,
        steps=_config.max_num_iterations,
    ),
    description="diffnerf without refinement: trains on the sensor's depth as it is.",
)
