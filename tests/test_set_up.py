"""What `scripts/demo` and `scripts/test` do around the commands that they run."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from diffnerf_ns.cli import COMMANDS

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


ALL_OF_THE_ENVIRONMENT = ["environment", "largest-of-requirements.lock", "requirements.lock"]


@pytest.fixture
def run_demo() -> ModuleType:
    return script("run_demo")


@pytest.fixture
def prepare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Of a checkout in `tmp_path`, which installs nothing and notes what it would install."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = script("prepare_environment")
    for name in ("pyproject.toml", "setup.py", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(SCRIPTS.parent / name, tmp_path)
    environment = tmp_path / ".venv"
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", environment)
    monkeypatch.setattr(module, "ENVIRONMENT_PYTHON", environment / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", environment / "installed-from.txt")
    monkeypatch.setattr(module, "installed", [], raising=False)

    def create() -> None:
        shutil.rmtree(environment, ignore_errors=True)
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python").touch()
        module.installed.append("environment")

    monkeypatch.setattr(module, "create_environment", create)
    monkeypatch.setattr(module, "pip", lambda *arguments: module.installed.append(Path(arguments[-1]).name))
    monkeypatch.setattr(module, "link_ffmpeg", lambda: None)
    monkeypatch.setattr(module, "make_every_package_load", lambda: None)
    monkeypatch.setattr(module, "site_packages", lambda: environment)
    return module


def step(run_demo: ModuleType, folder: Path, name: str, text: str):
    command = ["bash", "-c", f"echo {text} >> {folder / name}"]
    return run_demo.Step(name, command, folder / name)


def test_a_demo_that_is_run_again_runs_nothing_again(run_demo: ModuleType, tmp_path: Path) -> None:
    steps = [step(run_demo, tmp_path, "first", "a"), step(run_demo, tmp_path, "second", "b")]
    once = run_demo.run_steps(steps, tmp_path)
    assert run_demo.run_steps(steps, tmp_path) == once
    assert (tmp_path / "second").read_text() == "b\n"


def test_a_demo_step_that_changed_is_run_again_with_all_that_follow(run_demo: ModuleType, tmp_path: Path) -> None:
    steps = [step(run_demo, tmp_path, name, "a") for name in ("first", "second", "third")]
    run_demo.run_steps(steps, tmp_path)
    steps[1] = step(run_demo, tmp_path, "second", "b")
    run_demo.run_steps(steps, tmp_path)
    assert [(tmp_path / name).read_text() for name in ("first", "second", "third")] == ["a\n", "a\nb\n", "a\na\n"]


def test_a_demo_step_that_fails_ends_the_demo_and_is_tried_again(run_demo: ModuleType, tmp_path: Path) -> None:
    broken = run_demo.Step("broken", ["bash", "-c", "echo reason; exit 3"], tmp_path / "never")
    with pytest.raises(SystemExit, match=r"'broken' failed with exit code 3.*logs/broken\.log"):
        run_demo.run_steps([broken], tmp_path)
    assert not (tmp_path / "steps.json").exists()


def test_the_demos_room_is_one_that_make_room_takes(run_demo: ModuleType, tmp_path: Path) -> None:
    _, name, *arguments = run_demo.demo_steps(tmp_path, None)[0].command
    options, _ = COMMANDS[name].load()
    assert tyro.cli(options, args=arguments).out == tmp_path / "room"


def test_a_complete_environment_is_left_alone(prepare_environment: ModuleType, tmp_path: Path) -> None:
    locks = [tmp_path / "requirements.lock"]
    prepare_environment.prepare(locks)
    assert prepare_environment.installed == [*ALL_OF_THE_ENVIRONMENT, tmp_path.name]
    prepare_environment.prepare(locks)
    assert len(prepare_environment.installed) == len(ALL_OF_THE_ENVIRONMENT) + 1


def test_every_python_of_the_environment_lets_waiting_threads_give_way(
    prepare_environment: ModuleType, tmp_path: Path
) -> None:
    prepare_environment.prepare([tmp_path / "requirements.lock"])
    line = (tmp_path / ".venv" / "diffnerf_threads.pth").read_text()
    script = f"{line}print(os.environ['GOMP_SPINCOUNT'])"
    for chosen, expected in ({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"):
        said = subprocess.run([sys.executable, "-c", script], env=chosen, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == expected


def test_a_second_lock_is_added_to_the_environment(prepare_environment: ModuleType, tmp_path: Path) -> None:
    prepare_environment.prepare([tmp_path / "requirements.lock"])
    prepare_environment.installed.clear()
    prepare_environment.prepare([tmp_path / "requirements.lock", tmp_path / "requirements-dev.lock"])
    assert prepare_environment.installed == ["requirements-dev.lock", tmp_path.name]


def test_new_entry_points_reinstall_the_project_alone(prepare_environment: ModuleType, tmp_path: Path) -> None:
    prepare_environment.prepare([tmp_path / "requirements.lock"])
    prepare_environment.installed.clear()
    (tmp_path / "pyproject.toml").write_text("[project]")
    prepare_environment.prepare([tmp_path / "requirements.lock"])
    assert prepare_environment.installed == [tmp_path.name]


def test_an_interrupted_installation_is_made_anew(
    prepare_environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare_environment, "pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_environment.prepare([tmp_path / "requirements.lock"])
    prepare_environment.installed.clear()
    prepare_environment.prepare([tmp_path / "requirements.lock"])
    assert prepare_environment.installed == [*ALL_OF_THE_ENVIRONMENT, tmp_path.name]


def test_the_largest_packages_come_first_and_by_themselves(
    prepare_environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[list[str]] = []
    monkeypatch.setattr(
        prepare_environment, "pip", lambda *words: asked_for.append(Path(words[-1]).read_text().split())
    )
    lock = tmp_path / "some.lock"
    lock.write_text("numpy==1.26.4\nnvidia-cudnn-cu13==9.19.0.56\ntorch==2.11.0\ntorchvision==0.26.0\n")
    prepare_environment.install(lock)
    assert asked_for == [["nvidia-cudnn-cu13==9.19.0.56", "torch==2.11.0"], lock.read_text().split()]
    lock.write_text("ruff==0.14.6\n")
    prepare_environment.install(lock)
    assert asked_for[2:] == [["ruff==0.14.6"]]


@pytest.mark.parametrize(("free_gb", "kept"), [(10, False), (20, True)])
def test_downloads_are_kept_where_there_is_room_for_them(
    monkeypatch: pytest.MonkeyPatch, free_gb: float, kept: bool
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    prepare_environment = script("prepare_environment")
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(prepare_environment, "run", lambda *words: commands.append(words))
    monkeypatch.setattr(prepare_environment, "free_gigabytes", lambda: free_gb)
    prepare_environment.pip("install", "numpy")
    assert ("--no-cache-dir" not in commands[0]) == kept


def test_a_missing_system_library_does_not_cost_another_installation(
    prepare_environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complain() -> None:
        raise prepare_environment.SetUpError("libX11.so.6")

    with monkeypatch.context() as patch:
        patch.setattr(prepare_environment, "make_every_package_load", complain)
        with pytest.raises(prepare_environment.SetUpError):
            prepare_environment.prepare([tmp_path / "requirements.lock"])
    prepare_environment.installed.clear()
    prepare_environment.prepare([tmp_path / "requirements.lock"])
    assert prepare_environment.installed == [tmp_path.name]


def test_a_machine_without_a_suitable_python_is_told_the_remedy(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    for name in ("dirname", "bash"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    outcome = subprocess.run(
        [bash, str(SCRIPTS / "test")], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1
    assert "apt-get install python3.12" in outcome.stderr
    assert "PYTHON=" in outcome.stderr


def test_every_locked_package_has_one_version_for_each_python() -> None:
    from packaging.requirements import Requirement

    locks = [(SCRIPTS.parent / name).read_text() for name in ("requirements.lock", "requirements-dev.lock")]
    requirements = [Requirement(line) for text in locks for line in text.splitlines() if not line.startswith("#")]
    for python in ("3.10", "3.11", "3.12"):
        machine = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
        names = [
            requirement.name
            for requirement in requirements
            if requirement.marker is None or requirement.marker.evaluate(machine)
        ]
        assert len(names) == len(set(names))
        assert {"nerfstudio", "torch", "open3d", "numba", "diffusers"} <= set(names)
        assert "pyliblzfse" not in names
