"""The methods that `ns-train` offers: one short file each, numbers only. Installed as `diffnerf_ns.method_configs`."""
