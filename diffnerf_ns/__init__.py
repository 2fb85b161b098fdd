"""diffnerf_ns: radiance fields from RGB-D captures, supervised by refined depth as far as it can be trusted."""

__version__ = "0.1.0"
