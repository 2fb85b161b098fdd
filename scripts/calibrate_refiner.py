"""Fits a refiner's sigma in rooms that it was not trained on: `python -m scripts.calibrate_refiner REFINER_FOLDER`.

Writes the fit into the folder, prints how true sigma was before and is now, and adds that to the model card.
"""

from __future__ import annotations

import shlex
import sys

import tyro

from diffnerf_ns.refinement.training.calibration import CalibrateRefiner, calibrate
from diffnerf_ns.refinement.training.calibration_card import add_to_card, calibration_text


def main() -> None:
    prog = "python -m scripts.calibrate_refiner"
    options = tyro.cli(CalibrateRefiner, prog=prog, description=__doc__, config=(tyro.conf.PositionalRequiredArgs,))
    try:
        found = calibrate(options, lambda line: print(line, file=sys.stderr))
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from error
    others = [word for word in sys.argv[1:] if word != str(options.refiner)]
    text = calibration_text(options, found, shlex.join([*prog.split(), "REFINER_FOLDER", *others]))
    add_to_card(options.refiner, text)
    print(text)


if __name__ == "__main__":
    main()
