"""Lend an environment the system libraries that Open3D and PyMeshLab look for and a bare Debian or Ubuntu lacks.

Their wheels are linked against libX11, libGL and libgomp, even where nothing is ever drawn. Without root, the packages
of the system's own archive are downloaded (1 MB), unpacked inside the environment, and loaded when its Python starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

# In the order in which they have to be loaded: each one needs those before it.
LIBRARIES = {
    "libmd.so.0": "libmd0",
    "libbsd.so.0": "libbsd0",
    "libXau.so.6": "libxau6",
    "libXdmcp.so.6": "libxdmcp6",
    "libxcb.so.1": "libxcb1",
    "libX11.so.6": "libx11-6",
    "libGLdispatch.so.0": "libglvnd0",
    "libGLX.so.0": "libglx0",
    "libGL.so.1": "libgl1",
    "libgomp.so.1": "libgomp1",
}
REMEDY = "apt-get install libx11-6 libgl1 libgomp1"


def can_be_lent() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def lend(environment: Path, site_packages: Path) -> None:
    """Raises subprocess.CalledProcessError where the archive cannot be reached."""
    folder = environment / "system-libraries"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = _download_and_unpack(Path(scratch))
        for name in LIBRARIES:
            for found in unpacked.rglob(name):
                shutil.copy(found, folder / name)
    lent = [str(folder / name) for name in LIBRARIES if (folder / name).exists()]
    (site_packages / "system-libraries.pth").write_text(f"import ctypes; list(map(ctypes.CDLL, {lent}))\n")


def _download_and_unpack(scratch: Path) -> Path:
    apt_get = ["apt-get", "-qq"]
    for option, folder in (("State::Lists", "lists"), ("Cache", "cache")):
        (scratch / folder / "partial").mkdir(parents=True)
        apt_get += ["-o", f"Dir::{option}={scratch / folder}"]
    apt_get += ["-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1"]
    (scratch / "packages").mkdir()
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run([*apt_get, "update"], check=True, env=environment)
    subprocess.run([*apt_get, "download", *LIBRARIES.values()], check=True, env=environment, cwd=scratch / "packages")
    for package in (scratch / "packages").glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(scratch / "unpacked")], check=True)
    return scratch / "unpacked"
