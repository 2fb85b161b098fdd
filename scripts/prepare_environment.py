"""Create or refresh the checkout's `.venv` from lock files. Standard library only: it runs before all else.

    python3 scripts/prepare_environment.py requirements.lock [requirements-dev.lock]

An environment that is already as the locks say is left alone; one whose installation was interrupted is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import system_libraries

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENT = PROJECT / ".venv"
ENVIRONMENT_PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "installed-from.txt"
NEEDED_GIGABYTES = 9.5
"""8.6 of the finished environment, and what of its wheels lies beside it while the last ones are installed."""

CACHE_GIGABYTES = 3
"""What pip keeps of its downloads besides, where there is room for it."""

LARGEST_PACKAGES = ("nvidia-", "torch==", "triton==")

# Fetched only where Python came without ensurepip, as Debian's does.
PIP_WHEEL = "pip-25.3-py3-none-any.whl"
PIP_WHEEL_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"

IMPORT_CHECK = "import cv2, h5py, numba, open3d, pymeshlab, torch, torchvision"


class SetUpError(Exception):
    """Something the user has to put right; the message says what."""


def main() -> None:
    locks = [PROJECT / name for name in sys.argv[1:]]
    try:
        with one_at_a_time():
            prepare(locks)
    except SetUpError as problem:
        sys.exit(f"{problem}")


def prepare(locks: list[Path]) -> None:
    wanted = {"project": key_of(PROJECT / "pyproject.toml", PROJECT / "setup.py", Path(__file__))}
    wanted |= {lock.name: key_of(lock) for lock in locks}
    installed = read_stamp()
    stale = [name for name, key in wanted.items() if installed.get(name) != key]
    if not stale:
        return
    if not installed:
        create_environment()
    STAMP.unlink(missing_ok=True)
    for lock in locks:
        if lock.name in stale:
            say(f"Installing {lock.name} into {ENVIRONMENT.name} ...")
            install(lock)
    write_stamp({name: key for name, key in (installed | wanted).items() if name != "project"})
    pip("install", "--no-deps", "--no-build-isolation", "--editable", str(PROJECT))
    link_ffmpeg()
    let_waiting_threads_give_way()
    make_every_package_load()
    write_stamp(installed | wanted)


def install(lock: Path) -> None:
    """Installs what a lock file lists: CUDA's libraries first, so that their wheels are gone when the rest arrives."""
    options = ("--no-deps", "--only-binary", ":all:")
    large = [line for line in lock.read_text().splitlines() if line.startswith(LARGEST_PACKAGES)]
    if large:
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / f"largest-of-{lock.name}"
            part.write_text("\n".join(large))
            pip("install", *options, "--requirement", str(part))
    pip("install", *options, "--requirement", str(lock))


def key_of(*files: Path) -> str:
    """Changes with the content of the files and with the place of the checkout, which an environment cannot outlive."""
    digest = hashlib.sha256(str(PROJECT).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read_stamp() -> dict[str, str]:
    if not STAMP.is_file() or not ENVIRONMENT_PYTHON.exists():
        return {}
    return dict(line.split() for line in STAMP.read_text().splitlines())


def write_stamp(installed: dict[str, str]) -> None:
    unfinished = STAMP.with_suffix(".part")
    unfinished.write_text("".join(f"{name} {key}\n" for name, key in sorted(installed.items())))
    unfinished.replace(STAMP)


def create_environment() -> None:
    if free_gigabytes() < NEEDED_GIGABYTES:
        raise SetUpError(
            f"{PROJECT} has {free_gigabytes():.1f} GB free; the environment needs {NEEDED_GIGABYTES} GB. "
            "Free some, or clone elsewhere."
        )
    say(f"Creating {ENVIRONMENT} with Python {sys.version.split()[0]} (downloads about 3 GB) ...")
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=has_ensurepip).create(ENVIRONMENT)
    if not has_ensurepip and not install_pip_with_this_pythons_pip():
        install_pip_from_its_wheel()


def install_pip_with_this_pythons_pip() -> bool:
    command = [sys.executable, "-m", "pip", "--python", str(ENVIRONMENT_PYTHON), "install", "--quiet", "pip"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def install_pip_from_its_wheel() -> None:
    """Pip's wheel can run without being installed; the package index says where it is."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    remedy = "Check the network, or install pip for Python: apt-get install python3-venv"
    try:
        with urllib.request.urlopen(index, timeout=60) as answer:
            page = answer.read().decode()
        link = re.search(rf'href="([^"]*{re.escape(PIP_WHEEL)})[#"]', page)
        if link is None:
            raise SetUpError(f"{index} does not offer {PIP_WHEEL}. {remedy}")
        with urllib.request.urlopen(urllib.parse.urljoin(index, link[1]), timeout=60) as answer:
            wheel = answer.read()
    except OSError as error:
        raise SetUpError(f"pip is not installed and could not be fetched from {index}: {error}. {remedy}") from error
    if hashlib.sha256(wheel).hexdigest() != PIP_WHEEL_SHA256:
        raise SetUpError(f"{PIP_WHEEL} from {index} is not the file this project expects. {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        wheel_path = Path(folder) / PIP_WHEEL
        wheel_path.write_bytes(wheel)
        run(str(ENVIRONMENT_PYTHON), f"{wheel_path}/pip", "install", "--quiet", "--no-index", str(wheel_path))


def link_ffmpeg() -> None:
    """`ns-render` writes videos with the ffmpeg that is on PATH; imageio-ffmpeg carries one."""
    script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
    binary = subprocess.run(
        [ENVIRONMENT_PYTHON, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    link = ENVIRONMENT / "bin" / "ffmpeg"
    link.unlink(missing_ok=True)
    link.symlink_to(binary)


def let_waiting_threads_give_way() -> None:
    """OpenMP's threads spin while they wait for each other: training is several times slower on a busy machine.

    How long is read when the library is loaded, before any of our code; hence a line that Python runs at its start.
    """
    line = 'import os; os.environ.setdefault("GOMP_SPINCOUNT", "3000")\n'
    (site_packages() / "diffnerf_threads.pth").write_text(line)


def make_every_package_load() -> None:
    """A wheel can be installed and still not load, for want of libraries of the system."""
    complaint = import_complaint()
    if "cannot open shared object file" in complaint and system_libraries.can_be_lent():
        say("Open3D and PyMeshLab need system libraries that are not installed; fetching copies into .venv ...")
        try:
            system_libraries.lend(ENVIRONMENT, site_packages())
        except subprocess.CalledProcessError as error:
            say(str(error))
        complaint = import_complaint()
    if complaint:
        raise SetUpError(
            f"The environment is installed, but not every package loads:\n{complaint}\n"
            f"On Debian and Ubuntu this helps: {system_libraries.REMEDY}\nThen run the same script again."
        )


def import_complaint() -> str:
    outcome = subprocess.run([ENVIRONMENT_PYTHON, "-c", IMPORT_CHECK], capture_output=True, text=True, check=False)
    return "" if outcome.returncode == 0 else outcome.stderr


def site_packages() -> Path:
    return ENVIRONMENT / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def pip(*arguments: str) -> None:
    options = ["--disable-pip-version-check"]
    if not sys.stdout.isatty():
        options.append("--quiet")
    if free_gigabytes() < NEEDED_GIGABYTES + CACHE_GIGABYTES:
        options.append("--no-cache-dir")
    run(str(ENVIRONMENT_PYTHON), "-m", "pip", *arguments, *options)


def free_gigabytes() -> float:
    return shutil.disk_usage(PROJECT).free / 1e9


def run(*command: str) -> None:
    outcome = subprocess.run(command, check=False)
    if outcome.returncode != 0:
        raise SetUpError(f"This failed, see above: {' '.join(command)}\nRun the same script again to go on.")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    with open(PROJECT / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    main()
