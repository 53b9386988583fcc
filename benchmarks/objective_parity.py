"""Are the losses those of TRL 1.16 and tunix 0.1.7?

    python benchmarks/objective_parity.py [--quick]

Recomputes every case of the committed fixtures: differences of losses, of their gradients, and of
group advantages. Takes seconds. `--quick` does the first three of each.
"""

from __future__ import annotations

import argparse
from itertools import islice

import numpy as np
from _loss_parity import (
    TRL_CASES,
    TUNIX_ADVANTAGES,
    TUNIX_CASES,
    advantage_difference,
    trl_difference,
    tunix_difference,
)
from _result import Goal, write_result

TOLERANCE = 1e-5
LIBRARIES = {
    "TRL 1.16": (TRL_CASES, trl_difference),
    "tunix 0.1.7": (TUNIX_CASES, tunix_difference),
}
NOTES = {
    "loss": "largest absolute difference of the scalar loss",
    "gradient": "largest absolute difference of its gradient: with respect to log-probs for TRL, "
    "to logits for tunix",
    "advantage": "largest absolute difference of group advantages, which have no loss of their own",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    most = 3 if options.quick else None
    losses = [
        {"library": library, "case": name} | difference(name)._asdict()
        for library, (cases, difference) in LIBRARIES.items()
        for name in islice(cases, most)
    ]
    advantages = [
        {"library": "tunix 0.1.7", "case": name, "advantage": advantage_difference(name)}
        for name in islice(TUNIX_ADVANTAGES, most)
    ]
    write_result(
        "objective_parity_quick" if options.quick else "objective_parity",
        [*losses, *advantages],
        [
            Goal("cases", ">=", 30, len(losses) + len(advantages), "cases"),
            *(
                Goal(
                    f"largest difference of a {what}",
                    "<=",
                    TOLERANCE,
                    np.max(values).item(),
                    "absolute",
                )
                for what, values in (
                    ("loss", [row["loss"] for row in losses]),
                    ("gradient", [row["gradient"] for row in losses]),
                    ("group advantage", [row["advantage"] for row in advantages]),
                )
            ),
        ],
        command="python benchmarks/objective_parity.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
