"""Where results come from."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from diffnerf_ns import origin


@pytest.mark.skipif(not (Path(__file__).parents[1] / ".git").exists(), reason="no checkout")
def test_the_commit_is_named_with_as_many_digits_as_asked_for() -> None:
    long, short = origin.commit(), origin.commit(12)
    assert long is not None
    assert short is not None
    assert len(short.removesuffix("-dirty")) == 12
    assert long.startswith(short.removesuffix("-dirty"))


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin.commit() is None


def test_a_processor_without_a_name_is_called_by_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    monkeypatch.setattr(origin, "CPU_INFO", cpu_info)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert origin.processor_name() == "aarch64"
    cpu_info.write_text("processor\t: 0\nmodel name\t: AMD EPYC: Genoa\nmodel name\t: another\n")
    assert origin.processor_name() == "AMD EPYC: Genoa"
