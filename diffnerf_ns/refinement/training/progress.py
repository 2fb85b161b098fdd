"""Shows and records how a training goes. TensorBoard and rich are used where they are installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor

METRICS_FILE = "metrics.jsonl"


class Progress(AbstractContextManager):
    """A progress bar on a terminal, lines elsewhere; scalars go to OUT/metrics.jsonl and to TensorBoard."""

    def __init__(self, out: Path | None, total: int, first: int, shown: bool, tensorboard: bool) -> None:
        """
        Args:
            out: folder for records; None for none.
            total: steps of the whole training.
            first: steps that were done before.
            shown: whether anything is shown.
            tensorboard: whether to write for TensorBoard if it is installed.
        """
        self.out, self.total, self.first, self.shown = out, total, first, shown
        self.started = time.monotonic()
        self.bar: Any = None
        self.writer: Any = None
        if shown and sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
            self.bar, self.task = _rich_bar(total, first)
        if out is not None:
            _forget_later_records(out / METRICS_FILE, first)
        if out is not None and tensorboard:
            if importlib.util.find_spec("tensorboard") is None:
                self.say("tensorboard is not installed: curves are in " + METRICS_FILE + " only")
            else:
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=first)

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.writer is not None:
            self.writer.close()

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.console.print(text, highlight=False)
        elif self.shown:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def step_done(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step, speed=f"{self.steps_per_second(step):.2f} steps/s")

    def steps_per_second(self, step: int) -> float:
        return (step - self.first) / max(time.monotonic() - self.started, 1e-6)

    def record(self, step: int, values: dict[str, float], shown: bool = False) -> None:
        """Keeps named numbers; `shown` also prints them."""
        if self.out is not None:
            with open(self.out / METRICS_FILE, "a") as file:
                file.write(
                    json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in values.items()}})
                )
                file.write("\n")
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
        if shown or self.bar is None:
            named = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            left = (self.total - step) / max(self.steps_per_second(step), 1e-9) / 60
            self.say(
                f"step {step}/{self.total} ({self.steps_per_second(step):.2f} steps/s, {left:.0f} min left): {named}"
            )

    def pictures(self, step: int, pictures: dict[str, Tensor]) -> None:
        if self.writer is not None:
            for name, picture in pictures.items():
                self.writer.add_image(name, picture, step)


def _forget_later_records(file: Path, step: int) -> None:
    """Drops what a resumed training is going to record again."""
    if file.exists():
        lines = [line for line in file.read_text().splitlines() if json.loads(line)["step"] <= step]
        file.write_text("".join(f"{line}\n" for line in lines))


def _rich_bar(total: int, first: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
    bar = Bar(TextColumn("Training"), *columns, console=Console(stderr=True))
    return bar, bar.add_task("Training", total=total, completed=first, speed="")
