"""What a calibration found, in words and figures, and as a section of the refiner's model card."""

from __future__ import annotations

import re
from pathlib import Path

from diffnerf_ns.captures.atomic_files import write_bytes_atomically
from diffnerf_ns.refinement.training.calibration import Calibrated, CalibrateRefiner
from diffnerf_ns.refinement.training.data_settings import HELD_OUT_SENSOR

HEADING = "## Sigma"


def calibration_text(options: CalibrateRefiner, found: Calibrated, command: str) -> str:
    """Markdown: how sigma was fitted, the fit, and how true it is."""
    on = "the sensors of the training" + (f" and {HELD_OUT_SENSOR}" if options.fit_held_out else " alone")
    return "\n".join(
        [
            f"Fitted on {options.rooms} synthetic rooms (seed {options.seed}) that were not trained on, seen by {on} "
            f"at {options.strength[0]:g} to {options.strength[1]:g} of their published strength;",
            f"{options.refined_views} of {options.views} views of each, {options.width} pixels wide; {options.steps} "
            f"steps, {options.ensemble} samples; half of them alone, half with other views.",
            "",
            f"    {command}",
            "",
            "sigma^2 = (temperature * spread)^2 + (relative * z)^2 + (per_metre * z^2)^2 + (disagreement * d)^2, in "
            "metres; d is the difference of sensor and other views around a pixel, 0 without other views (measured):",
            "",
            *_fit_table(found),
            "",
            "Coverage is the share of the errors within one sigma (68 % if it is true), NLL the mean negative "
            "log-likelihood in nats (metres), AUSE the area between the sparsification curves of sigma and of the "
            "error over the mean error; before -> after, over all pixels together.",
            "",
            *_score_table(found),
        ]
    )


def add_to_card(folder: Path, text: str) -> None:
    """Appends the section to the model card, in the place of an earlier one."""
    file = folder / "README.md"
    card = file.read_text(encoding="utf-8") if file.exists() else ""
    others = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL).rstrip()
    write_bytes_atomically(file, f"{others}\n\n{HEADING}\n\n{text}\n".lstrip().encode())


def _fit_table(found: Calibrated) -> list[str]:
    lines = ["| provenance | temperature | relative | per metre | disagreement |", "| --- " * 5 + "|"]
    for name, model in found.after.to_json().items():
        figures = (f"{model[key]:.3g}" for key in ("temperature", "relative", "per_metre", "disagreement"))
        lines.append(f"| {_words(name)} | " + " | ".join(figures) + " |")
    return lines


def _score_table(found: Calibrated) -> list[str]:
    lines = ["| sensors | views | provenance | pixels | coverage | NLL | AUSE |", "| --- " * 7 + "|"]
    for (sensors, how), pixels in found.pixels.items():
        before, after = pixels.scores(found.before), pixels.scores(found.after)
        for name in before:
            old, new = before[name], after[name]
            cells = [
                f"{sensors}{' (held out)' if sensors == HELD_OUT_SENSOR else ''}",
                how,
                _words(name),
                str(old.count),
                f"{100 * old.coverage_68:.0f} -> {100 * new.coverage_68:.0f} %",
                f"{old.nll:.2f} -> {new.nll:.2f}",
                f"{old.ause:.2f} -> {new.ause:.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")
