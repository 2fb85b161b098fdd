"""Registers the `diffnerf-data` dataparser with nerfstudio."""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig

diffnerf_data = DataParserSpecification(
    config=DiffnerfDataParserConfig(),
    description="Posed RGB-D captures in nerfstudio's transforms.json layout, in metres.",
)
