"""nerfstudio's trainer configuration, except that a capture which cannot be trained on leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nerfstudio.engine.trainer import TrainerConfig

from diffnerf_ns.captures.capture_errors import CaptureError


@runtime_checkable
class ChecksCapture(Protocol):
    """A data manager's settings that can tell whether their capture is fit for training."""

    def check_capture(self) -> None:
        """Raises CaptureError if it is not. Writes nothing."""
        ...


@dataclass
class CheckedTrainerConfig(TrainerConfig):
    """Checks the capture before `ns-train` writes its first file."""

    def save_config(self) -> None:
        """Checks the capture, then writes config.yml; ends the command with one clear line if the check fails."""
        datamanager = self.pipeline.datamanager
        try:
            if isinstance(datamanager, ChecksCapture):
                datamanager.check_capture()
        except CaptureError as error:
            raise SystemExit(f"Error: {error}") from error
        super().save_config()
