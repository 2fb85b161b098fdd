"""The `diffnerf` command: what goes before and after nerfstudio's own commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.open3d_library import Open3DLoadError
from diffnerf_ns.refinement.refiner_config import RefinerConfig, RefinerSettings

if TYPE_CHECKING:
    from diffnerf_ns.refinement.interface import DepthRefiner


@dataclass(kw_only=True)
class RefineCapture(RefinerConfig):
    """Refine a capture's depth into a new capture that any tool can read: 16-bit depth and sigma beside the images."""

    capture: Annotated[Path, tyro.conf.Positional]
    """Capture to refine: a folder with a transforms.json."""
    out: Path
    """Folder for the new capture."""


@dataclass
class ManageCache:
    """Look after the refined depth that is kept between trainings."""

    action: Annotated[Literal["list", "clear", "verify"], tyro.conf.Positional]
    """`list` what is there, `clear` it, or `verify` it and remove what is damaged."""
    capture: Path | None = None
    """`clear` only what belongs to this capture."""
    cache_dir: Path | None = None
    """Folder of the cache; None for $XDG_CACHE_HOME/diffnerf_ns, or ~/.cache/diffnerf_ns."""


class Command(NamedTuple):
    """A subcommand: its modules are loaded when it is called, not before."""

    summary: str
    load: Callable[[], tuple[type, Callable[[Any], None]]]
    """Gives the class of its options and the function that takes them."""


def entrypoint() -> None:
    """Console script; ends with exit code 1 and one clear line where the input cannot be used."""
    try:
        main(sys.argv[1:])
    except (CaptureError, OSError, Open3DLoadError) as error:
        raise SystemExit(f"Error: {error}") from error


def main(arguments: Sequence[str]) -> None:
    """Runs `diffnerf` with these arguments.

    Args:
        arguments: the command line without the program's name.
    """
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        return
    if name not in COMMANDS:
        raise SystemExit(f"Error: there is no command {name!r}.\n\n{_overview()}")
    options, run = COMMANDS[name].load()
    run(tyro.cli(options, prog=f"diffnerf {name}", args=list(arguments[1:])))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    usage, hint = "usage: diffnerf COMMAND [OPTIONS]", "diffnerf COMMAND --help explains a command."
    return "\n".join((usage, "", *lines, "", hint))


def _load_make_room() -> tuple[type, Callable[[Any], None]]:
    from rich.console import Console
    from rich.progress import Progress

    from diffnerf_ns.captures.room_capture import MakeRoom, write_room_capture

    @dataclass
    class MakeRoomOptions(MakeRoom):
        """Make a capture of a synthetic furnished room: images, noisy sensor depth, exact depth and poses."""

        out: Annotated[Path, tyro.conf.Positional]
        """Folder of the capture; made if needed, reused if it holds a capture of the same settings."""

    def make_room(options: MakeRoom) -> None:
        console = Console()
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("Making the room", total=None)
            try:
                out = write_room_capture(
                    options, lambda done, total: progress.update(task, completed=done, total=total)
                )
            except ValueError as error:
                raise SystemExit(f"Error: {error}") from error
        console.print(f"{out} holds {options.views} views. Train on it: ns-train diffnerf --data {out}", soft_wrap=True)

    return MakeRoomOptions, make_room


def _loaded_refiner(options: RefinerSettings) -> DepthRefiner:
    """The refiner with these settings; exits with one line where there is no such refiner."""
    from diffnerf_ns.refinement.stage import load_refiner

    try:
        return load_refiner(options)
    except ValueError as error:
        raise SystemExit(f"Error: {error}") from error


def _refine(options: RefineCapture) -> None:
    from rich.console import Console

    from diffnerf_ns.refinement.cache import cache_in
    from diffnerf_ns.refinement.refined_capture import write_refined_capture

    refiner = _loaded_refiner(options)
    cache = cache_in(options.cache_dir)
    console = Console()
    out = write_refined_capture(options.capture, options.out, refiner, cache, console)
    console.print(f"Wrote {out}")


def _load_refine_report() -> tuple[type, Callable[[Any], None]]:
    from rich.console import Console

    from diffnerf_ns.evaluation.refinement_report.command import RefineReport, write_report

    def refine_report(options: RefineReport) -> None:
        console = Console()
        out = write_report(options, _loaded_refiner(options), console)
        console.print(f"Wrote {out / 'index.html'}", soft_wrap=True)

    return RefineReport, refine_report


def _manage_cache(options: ManageCache) -> None:
    from diffnerf_ns.refinement.cache import cache_in

    cache = cache_in(options.cache_dir)
    if options.action == "clear":
        capture = str(options.capture.resolve()) if options.capture else None
        print(f"Removed {cache.clear(capture)} frames from {cache.root}.")
    elif options.action == "verify":
        damaged = cache.verify()
        count = sum(1 for _ in cache.frame_files())
        print(f"{count} frames in {cache.root} are intact; removed {len(damaged)} damaged ones.")
    else:
        files = list(cache.frame_files())
        print(f"{len(files)} frames, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB in {cache.root}")
        for manifest in cache.manifests():
            present = [file for key in manifest.keys.values() if (file := cache.file_of(key)).exists()]
            size = sum(file.stat().st_size for file in present) / 1e6
            share = f"{len(present)} of {len(manifest.keys)} frames, {size:.1f} MB"
            print(f"  {manifest.capture}: {share}, {manifest.refiner}")


COMMANDS = {
    "make-room": Command(
        "Write a furnished room as a capture: images, noisy sensor depth, exact depth.", _load_make_room
    ),
    "refine": Command(
        "Refine a capture's depth into a new capture that any tool can read.", lambda: (RefineCapture, _refine)
    ),
    "refine-report": Command(
        "Score a depth refiner against classical methods where the true depth is known.", _load_refine_report
    ),
    "cache": Command(
        "List, clear or verify the refined depth that is kept between trainings.", lambda: (ManageCache, _manage_cache)
    ),
}


if __name__ == "__main__":
    entrypoint()
