"""diffnerf-raw: diffnerf on the sensor's own depth, to see what refinement is worth."""

from nerfstudio.plugins.types import MethodSpecification

from diffnerf_ns.refined_datamanager import RefinerConfig

from ._build import trainer
from .diffnerf import DEVICE, STEPS, datamanager, model

diffnerf_raw = MethodSpecification(
    config=trainer("diffnerf-raw", model(), datamanager(RefinerConfig(model="none")), DEVICE, STEPS),
    description="diffnerf without refinement: trains on the sensor's depth as it is.",
)
