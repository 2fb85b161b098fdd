"""How real depth sensors fail: published models as pure, seeded functions on batches, and whole sensors made of them.

All depths are z-depths in metres [N, H, W] on any device; 0 is missing and stays missing.
"""

from diffnerf_ns.captures.sensor_noise.distance import (
    axial_noise,
    khoshelham_sigma_z_m,
    kinect_rounding,
    low_frequency_bias,
    multipath_in_corners,
    nguyen_sigma_z_m,
    quantise_disparity,
    quantise_millimetres,
    redwood_rounding,
    stereo_sigma_z_m,
    time_of_flight_sigma_z_m,
)
from diffnerf_ns.captures.sensor_noise.edges import (
    depth_edges,
    erode_edges,
    far_stairs,
    fatten_edges,
    flying_pixels,
    lateral_jitter,
    low_resolution,
    misregister,
    window_support,
)
from diffnerf_ns.captures.sensor_noise.holes import (
    blobs,
    border_strip,
    dark_dropout_probability,
    drop_pixels,
    grazing_dropout_probability,
    out_of_range,
    shadow_band,
    specular_dropout_probability,
)
from diffnerf_ns.captures.sensor_noise.poses import pose_drift
from diffnerf_ns.captures.sensor_noise.presets import SensorKind, simulate_sensor

__all__ = [
    "SensorKind",
    "axial_noise",
    "blobs",
    "border_strip",
    "dark_dropout_probability",
    "depth_edges",
    "drop_pixels",
    "erode_edges",
    "far_stairs",
    "fatten_edges",
    "flying_pixels",
    "grazing_dropout_probability",
    "khoshelham_sigma_z_m",
    "kinect_rounding",
    "lateral_jitter",
    "low_frequency_bias",
    "low_resolution",
    "misregister",
    "multipath_in_corners",
    "nguyen_sigma_z_m",
    "out_of_range",
    "pose_drift",
    "quantise_disparity",
    "quantise_millimetres",
    "redwood_rounding",
    "shadow_band",
    "simulate_sensor",
    "specular_dropout_probability",
    "stereo_sigma_z_m",
    "time_of_flight_sigma_z_m",
    "window_support",
]
