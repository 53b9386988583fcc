"""Calibrations as a file: what `clawjax review RUN --calibrate FILE` writes and judges read.

Owns the format `clawjax.calibration/1`, one JSON object:

    format   "clawjax.calibration/1"
    turns    "all", or "audit": fitted to the turns of the random audit alone
    modules  by name of a reward module, or of a part of a composite
      slope            at least 0; 1 changes nothing
      bias             in logits; 0 changes nothing
      n                turns it was fitted to
      log_loss_before  in nats, of the scores as they were
      log_loss_after   the same of corrected ones, held out

Reading needs `format`, and of `modules` only `slope` and `bias`; a module that is taken out is left
as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.review.calibration import NEVER_CALIBRATED, Calibration, Fit

__all__ = ["FORMAT", "calibration_text", "read_calibrations"]

FORMAT = "clawjax.calibration/1"


def calibration_text(fits: Mapping[str, Fit], *, is_audit_only: bool) -> str:
    """The file's text; the same fits make the same text."""
    modules = {
        name: {
            **found.calibration._asdict(),
            "n": found.n,
            "log_loss_before": found.log_loss_before,
            "log_loss_after": found.log_loss_after,
        }
        for name, found in sorted(fits.items())
    }
    told = {"format": FORMAT, "turns": "audit" if is_audit_only else "all", "modules": modules}
    return json.dumps(told, indent=2) + "\n"


def read_calibrations(file: Path) -> Mapping[str, Calibration]:
    """The calibrations of a file, by module.

    Raises:
        ConfigError: it cannot be read, is no such file, or has a module whose scores are nobody's
            to correct.
    """
    try:
        return _read(json.loads(file.expanduser().read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        msg = (
            f"reward.calibration_file={file} cannot be read ({error}): name what `clawjax review "
            "RUN --calibrate FILE` wrote, or null"
        )
        raise ConfigError(msg) from error


def _read(told: Mapping[str, Any]) -> dict[str, Calibration]:
    if told["format"] != FORMAT:
        msg = f"its format is {told['format']!r}, not {FORMAT!r}"
        raise ValueError(msg)
    found = {
        name: Calibration(float(module["slope"]), float(module["bias"]))
        for name, module in told["modules"].items()
    }
    for name, calibration in found.items():
        if name in NEVER_CALIBRATED:
            msg = f"scores of {name} are never corrected: take it out"
            raise ValueError(msg)
        if not (all(map(math.isfinite, calibration)) and calibration.slope >= 0):
            msg = f"{name} has slope {calibration.slope} and bias {calibration.bias}: use numbers, "
            raise ValueError(msg + "and a slope of at least 0")
    if not found:
        msg = "it has no modules"
        raise ValueError(msg)
    return found
