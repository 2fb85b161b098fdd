"""The settings of a training as its checkpoints hold them, back as what they were; and as a command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from diffnerf_ns.refinement.training.settings import SETTINGS_THAT_MAY_CHANGE, TrainRefiner, plain

Settings = TypeVar("Settings")

GONE = ("passes_per_group",)
"""Settings of earlier versions that this one has nothing like: how many passes samples were shuffled within."""


def stored_settings(stored: Mapping[str, Any], out: Path) -> TrainRefiner:
    """The settings from what `TrainRefiner.fixed` gave.

    Args:
        stored: as a checkpoint or a refiner's training.json holds them.
        out: the folder of the training, which they do not name.
    """
    return _as_dataclass(TrainRefiner, {**stored, "out": str(out)}, "settings")


def training_command(settings: TrainRefiner) -> str:
    """A command line with every setting that is not its default; how long and where to is left to who trains."""
    words = ["python", "-m", "scripts.train_refiner", "--out", "OUT"]
    for name, value in _changed(without_own_folders(settings), TrainRefiner(settings.out)):
        if name not in SETTINGS_THAT_MAY_CHANGE:
            words += _flag(name, value)
    return shlex.join(words)


def without_own_folders(settings: TrainRefiner) -> TrainRefiner:
    """The settings without what is true of one machine alone: where rendered clips and earlier weights lie on it."""
    earlier = settings.initial_weights
    if earlier is not None and Path(earlier).is_absolute():
        earlier = Path(earlier).name
    return replace(settings, initial_weights=earlier, data=replace(settings.data, clip_cache=None))


def _as_dataclass(kind: type[Settings], values: Mapping[str, Any], label: str) -> Settings:
    hints = get_type_hints(kind)
    values = {name: value for name, value in values.items() if name not in GONE}
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(
            f"{label} holds {', '.join(unknown)}, which this version does not know: use the one that wrote it"
        )
    return kind(**{name: _typed(hints[name], value, f"{label}.{name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, label: str) -> Any:
    """A value of JSON as its field has it: paths, tuples and nested settings."""
    if isinstance(hint, type) and is_dataclass(hint):
        return _as_dataclass(hint, value, label)
    holds_paths = "Path" in str(hint)
    if isinstance(value, list):
        return tuple(Path(item) if holds_paths else item for item in value)
    return Path(value) if holds_paths and value is not None else value


def _changed(settings: Any, defaults: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in fields(settings):
        value, default = getattr(settings, field.name), getattr(defaults, field.name)
        if is_dataclass(value):
            yield from _changed(value, default, f"{prefix}{field.name}.")
        elif value != default:
            yield f"{prefix}{field.name}", value


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        head, _, last = flag.rpartition(".")
        return [f"--{head}{'.' if head else ''}{'' if value else 'no-'}{last}"]
    items = plain(value) if isinstance(value, tuple) else [value]
    return [f"--{flag}", *map(str, items)]
