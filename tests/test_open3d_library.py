"""Commands that cannot do without Open3D end with what to install where it does not load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from diffnerf_ns import cli
from scripts import score_mesh

REMEDY = r"Error: Open3D does not load \(libX11\.so\.6: .*\)\. On Debian and Ubuntu .* apt-get install libx11-6"


@pytest.mark.usefixtures("without_libx11")
def test_a_report_says_what_to_install(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--out", str(tmp_path / "report"), "--model", "hole-filter"]
    monkeypatch.setattr(sys, "argv", ["diffnerf", "refine-report", str(capture), *options])
    with pytest.raises(SystemExit, match=REMEDY):
        cli.entrypoint()


@pytest.mark.usefixtures("without_libx11")
def test_a_surface_is_not_rendered_before_it_is_clear_that_it_can_be_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["score_mesh", "--load-config", "no-such-config.yml"])
    with pytest.raises(SystemExit, match=REMEDY):
        score_mesh.main()
