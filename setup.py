"""Only what pyproject.toml cannot say: all packages of diffnerf_ns, plus method_configs under its installed name."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["diffnerf_ns", "diffnerf_ns.*"]), "diffnerf_ns.method_configs"])
