"""Does a search for settings that is killed go on, with no trial lost and none done twice?

    python benchmarks/sweep.py [--quick]

Runs `experiments/sweep.py sweep=tiny`: two parameters, and real trials that talk, train and are
measured. It is killed (SIGKILL) while its second trial talks to its user, and the same command is
given again. The table goes into `docs/sweeps.md`. `--quick` takes two trials and leaves the docs
alone. Nothing is said about which settings are good: the model's words are random.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _killed_sweep import PAGE, goals, kill_and_go_on, read_trials, trial_table, with_table
from _result import write_result

_TRIALS, _QUICK_TRIALS = 4, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    asked = _QUICK_TRIALS if is_quick else _TRIALS
    with tempfile.TemporaryDirectory(prefix="clawjax-sweep-") as name:
        folder = Path(name)
        outcome = kill_and_go_on(folder, ["sweep=tiny", f"sweep.trials={asked}"])
        rows = read_trials(folder)
    print(trial_table(rows))
    write_result(
        "sweep_quick" if is_quick else "sweep",
        rows,
        goals(rows, asked, outcome),
        command="python benchmarks/sweep.py" + (" --quick" if is_quick else ""),
        notes={
            "score": "of the study, which is what the sweep maximises",
            "evaluation": "mean style score in the trial's own result files",
            "again": "the trial that was cut off, and that this one does with the same values",
            "seconds": f"of a trial; {outcome.seconds:.0f} of both halves together",
        },
    )
    if not is_quick:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main()
