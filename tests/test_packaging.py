"""What is built is what is checked out: the wheel, made from the source archive, works without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
METHODS = sorted(file.stem.replace("_", "-") for file in (PROJECT / "method_configs").glob("diffnerf*.py"))

ENTRY_POINTS = """
from importlib.metadata import distribution
import diffnerf_ns, diffnerf_ns.method_configs
print(diffnerf_ns.__file__)
for point in distribution("diffnerf_ns").entry_points:
    point.load()
    print(point.group, point.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout, which stays as it was."""
    source = tmp_path_factory.mktemp("source") / "project"
    not_source = (".git", ".venv*", "*.egg-info", "build", "dist", "demo", "outputs", "__pycache__", ".*_cache")
    shutil.copytree(PROJECT, source, ignore=shutil.ignore_patterns(*not_source))
    output = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source))
    (built,) = output.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the wheel, and borrows the libraries of the environment that runs this, but not the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    run(
        *(sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"),
        *("--quiet", "--no-deps", "--no-index", str(wheel)),
    )
    site_packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(*command: str, cwd: Path | None = None) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=variables)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_the_wheel_holds_every_module_and_no_global_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if name.endswith(".py")}
    expected = {str(file.relative_to(PROJECT)) for file in (PROJECT / "diffnerf_ns").rglob("*.py")}
    expected |= {f"diffnerf_ns/{file.relative_to(PROJECT)}" for file in (PROJECT / "method_configs").rglob("*.py")}
    assert modules == expected
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"diffnerf_ns"}


def test_the_wheel_holds_every_data_file(wheel: Path) -> None:
    data = {
        str(file.relative_to(PROJECT))
        for file in (PROJECT / "diffnerf_ns").rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    assert data <= set(zipfile.ZipFile(wheel).namelist()), "add the suffix to [tool.setuptools.package-data]"


def test_the_installed_entry_points_load_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    location, *entry_points = run(str(environment / "bin" / "python"), "-c", ENTRY_POINTS, cwd=tmp_path).splitlines()
    assert str(environment) in location
    assert {point.split()[1] for point in entry_points if "method_configs" in point} == set(METHODS)
    assert "nerfstudio.dataparser_configs diffnerf-data" in entry_points
    assert "console_scripts diffnerf" in entry_points


def test_ns_train_explains_the_installed_method(environment: Path, tmp_path: Path) -> None:
    train = "from nerfstudio.scripts.train import entrypoint; entrypoint()"
    text = run(str(environment / "bin" / "python"), "-c", train, "diffnerf", "--help", cwd=tmp_path)
    assert "--pipeline.datamanager.refiner.model" in text
    assert "--pipeline.model.depth-loss" in text


def test_the_console_script_runs(environment: Path, tmp_path: Path) -> None:
    assert "make-room" in run(str(environment / "bin" / "diffnerf"), "--help", cwd=tmp_path)
