"""Checkpoints of a training: folders that are either whole or absent."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

BEST = "checkpoint-best"
STATE_FILE = "state.pt"


def save_checkpoint(out: Path, name: str, state: dict[str, Any]) -> Path:
    """Writes OUT/NAME, replacing one of that name; a crash leaves the old one or the new one."""
    folder, partial = out / name, out / f".{name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with open(partial / STATE_FILE, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if folder.exists():
        old = out / f".{name}.old"
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old)
    else:
        os.replace(partial, folder)
    return folder


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given, on the CPU."""
    file = folder / STATE_FILE
    if not file.is_file():
        raise OSError(f"{folder} holds no {STATE_FILE}: name the folder of a checkpoint, or `latest`")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise OSError(f"{file} cannot be read ({error}): delete its folder and resume from an earlier one") from error


def numbered_checkpoints(out: Path) -> list[Path]:
    """The periodic checkpoints, oldest first."""
    found = [path for path in out.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def delete_old_checkpoints(out: Path, limit: int) -> None:
    """Keeps the newest `limit` periodic checkpoints."""
    for path in numbered_checkpoints(out)[:-limit]:
        shutil.rmtree(path)


def find_checkpoint(out: Path, name: str) -> Path | None:
    """The checkpoint that `latest` or a folder stands for; None if there is no latest one yet."""
    if name != "latest":
        given = Path(name)
        return given if given.exists() or not (out / name).exists() else out / name
    found = numbered_checkpoints(out)
    return found[-1] if found else None
