"""nerfstudio's trainer configuration, except that a capture which cannot be trained on leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio.engine.trainer import TrainerConfig

from diffnerf_ns.captures.capture_errors import CaptureError


@dataclass
class CheckedTrainerConfig(TrainerConfig):
    """Checks the capture before `ns-train` writes its first file."""

    def save_config(self) -> None:
        """Checks the capture, then writes config.yml; ends the command with one clear line if the check fails."""
        try:
            self.pipeline.datamanager.check_capture()
        except CaptureError as error:
            raise SystemExit(f"Error: {error}") from error
        super().save_config()
