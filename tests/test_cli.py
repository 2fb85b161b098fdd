"""The `diffnerf` command, as its users meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffnerf_ns import cli
from diffnerf_ns.captures.depth_files import read_depth_z_m
from diffnerf_ns.depth_units import sensor_sigma_z_m

PROJECT = Path(__file__).resolve().parent.parent


NO_NETWORK = ("--model", "hole-filter")


def run_as_script(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["diffnerf", *arguments])
    cli.entrypoint()


def test_without_arguments_it_lists_its_commands(capsys: pytest.CaptureFixture) -> None:
    cli.main([])
    shown = capsys.readouterr().out
    for name in ("make-room", "refine", "refine-report", "cache"):
        assert name in shown


def test_an_unknown_command_fails_and_lists_what_there_is() -> None:
    with pytest.raises(SystemExit, match="no command 'paint'") as exit_info:
        cli.main(["paint"])
    assert "make-room" in str(exit_info.value.code)


@pytest.mark.parametrize("command", ["make-room", "refine", "refine-report", "cache"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([command, "--help"])
    assert exit_info.value.code == 0
    assert f"diffnerf {command}" in capsys.readouterr().out


def test_listing_the_commands_loads_nothing_heavy() -> None:
    code = "import sys; from diffnerf_ns import cli; cli.main([]); print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    for module in ("'torch'", "'nerfstudio'", "'cv2'", "'open3d'"):
        assert module not in result.stdout


def test_refine_writes_a_capture_that_any_tool_can_read(capture: Path, tmp_path: Path, cache_dir: Path) -> None:
    out = tmp_path / "refined"
    cli.main(["refine", str(capture), "--out", str(out), "--cache-dir", str(cache_dir), *NO_NETWORK])
    meta, old = (json.loads((folder / "transforms.json").read_text()) for folder in (out, capture))
    assert meta["train_filenames"] == old["train_filenames"]
    assert meta["depth_refiner"].startswith("hole-filter")
    for index, frame in enumerate(meta["frames"]):
        assert frame["transform_matrix"] == old["frames"][index]["transform_matrix"]
        assert (out / frame["file_path"]).read_bytes() == (capture / old["frames"][index]["file_path"]).read_bytes()
        assert (out / frame["depth_truth_file_path"]).is_file()
    first, held_out = meta["frames"][0], meta["frames"][5]
    sensor = read_depth_z_m(capture / old["frames"][0]["depth_file_path"], 0.001)
    refined = read_depth_z_m(out / first["depth_file_path"], meta["depth_unit_scale_factor"])
    sigma = read_depth_z_m(out / first["depth_sigma_file_path"], meta["depth_sigma_unit_scale_factor"])
    assert not np.array_equal(refined, sensor)
    assert np.median(sigma[refined > 0] / sensor_sigma_z_m(refined)[refined > 0]) == pytest.approx(1, abs=0.3)
    assert "depth_sigma_file_path" not in held_out
    np.testing.assert_array_equal(
        read_depth_z_m(out / held_out["depth_file_path"], 0.001),
        read_depth_z_m(capture / old["frames"][5]["depth_file_path"], 0.001),
    )


def test_a_refined_capture_is_in_millimetres_whatever_the_capture_was(
    capture: Path, tmp_path: Path, cache_dir: Path, edit_transforms: Callable
) -> None:
    edit_transforms(capture, lambda meta: meta.update(depth_unit_scale_factor=0.0005))
    out = tmp_path / "refined"
    cli.main(["refine", str(capture), "--out", str(out), "--cache-dir", str(cache_dir), *NO_NETWORK])
    meta = json.loads((out / "transforms.json").read_text())
    assert meta["depth_unit_scale_factor"] == 0.001
    for key in ("depth_file_path", "depth_truth_file_path"):
        assert np.median(read_depth_z_m(out / meta["frames"][5][key], 0.001)) == pytest.approx(1.0, abs=0.01)


def test_refine_never_overwrites_a_capture(capture: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (capture / "transforms.json").read_bytes()
    with pytest.raises(SystemExit, match="there is a capture already"):
        run_as_script(
            monkeypatch, "refine", str(capture), "--out", str(capture), "--cache-dir", str(cache_dir), *NO_NETWORK
        )
    assert (capture / "transforms.json").read_bytes() == before


def test_a_bad_capture_ends_with_one_line_and_writes_nothing(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run_as_script(monkeypatch, "refine", str(tmp_path / "no"), "--out", str(tmp_path / "out"))
    assert str(exit_info.value.code).startswith("Error: ")
    assert "\n" not in str(exit_info.value.code)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_refiner_ends_with_one_line(capture: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Error: refiner model 'magic' cannot be loaded"):
        cli.main(["refine", str(capture), "--out", str(tmp_path / "out"), "--model", "magic"])


@pytest.mark.parametrize("command", ["refine", "refine-report"])
@pytest.mark.parametrize(("setting", "value"), [("steps", "0"), ("ensemble", "0"), ("batch", "-1"), ("device", "gpu")])
def test_a_setting_that_the_refiner_cannot_have_ends_with_one_line(
    command: str, setting: str, value: str, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as exit_info:
        run_as_script(monkeypatch, command, str(capture), "--out", str(out), f"--{setting}", value)
    assert str(exit_info.value.code).startswith(f"Error: refiner.{setting} is ")
    assert "\n" not in str(exit_info.value.code)
    assert not out.exists()


def test_the_cache_is_listed_verified_and_cleared(
    capture: Path, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture
) -> None:
    cli.main(["refine", str(capture), "--out", str(tmp_path / "refined"), "--cache-dir", str(cache_dir), *NO_NETWORK])
    capsys.readouterr()
    cli.main(["cache", "list", "--cache-dir", str(cache_dir)])
    listed = capsys.readouterr().out
    assert "4 frames" in listed
    assert f"{capture}: 4 of 4 frames" in listed
    next(cache_dir.rglob("*.depth")).write_bytes(b"cut")
    cli.main(["cache", "verify", "--cache-dir", str(cache_dir)])
    assert "3 frames" in (shown := capsys.readouterr().out)
    assert "removed 1 damaged" in shown
    cli.main(["cache", "clear", "--capture", str(tmp_path / "another"), "--cache-dir", str(cache_dir)])
    assert "Removed 0 frames" in capsys.readouterr().out
    cli.main(["cache", "clear", "--capture", str(capture), "--cache-dir", str(cache_dir)])
    assert "Removed 3 frames" in capsys.readouterr().out


def test_make_room_writes_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "room"
    cli.main(["make-room", str(out), "--views", "4", "--resolution", "24", "18", "--furniture", "0"])
    assert len(json.loads((out / "transforms.json").read_text())["frames"]) == 4
    assert f"ns-train diffnerf --data {out}" in capsys.readouterr().out


def test_settings_that_make_no_room_end_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Error: "):
        cli.main(["make-room", str(tmp_path / "room"), "--views", "0"])
