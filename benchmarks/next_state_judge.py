"""How well can a model that runs here tell praise from complaint in what a user says next?

    python benchmarks/next_state_judge.py [--quick] [--train]

Compares the candidates on the test set, which nothing was trained, chosen or tuned on: model and
settings were chosen by cross-validation over the authors of the training rows. The goals are about
the test set; the validation set, by another author, is shown beside it, because the abstention
bound was chosen after the judge had been measured on it once. `--quick` measures the shipped judge
and the lexicon only; `--train` trains the shipped judge first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _reaction_candidates import CANDIDATES, Classify
from _result import Goal, write_result
from numpy.typing import NDArray

from clawjax.config import NextStateConfig
from clawjax.rewards.next_state import score_of
from clawjax.rewards.reaction_data import LABELS, Example, read_examples
from clawjax.rewards.reaction_model import Reaction

DATA = Path(__file__).parents[1] / "tests" / "rewards" / "data"
SETS = ("test", "validation")
SHIPPED = "tuned_encoder"
NOTES = {
    "agreement": "share of all reactions that are scored +1 where labelled praise, -1 where "
    "labelled complaint, and not scored where labelled neutral",
    "wrong_sign": "share of the scored reactions that are labelled with the opposite sign",
    "neutral_scored": "share of the neutral messages that are scored at all",
    "not_right": "share of the scored reactions whose label is not that sign",
    "abstained": "share of all messages that are not scored",
    "coverage": "share of the messages with praise or complaint that are scored",
    "ms": "median and 95th percentile of one message, one at a time",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    if options.train:
        subprocess.run([sys.executable, "-m", "clawjax.rewards.train_reaction"], check=True)
    names = ("lexicon", SHIPPED) if options.quick else tuple(CANDIDATES)
    train = read_examples()
    sets = {name: read_examples(DATA / f"reactions_{name}.tsv") for name in SETS}
    rows = []
    for candidate in names:
        classify = CANDIDATES[candidate](train)
        for name, examples in sets.items():
            rows.append({"candidate": candidate, "set": name} | measure(classify, examples))
            print(rows[-1])
    shipped = next(row for row in rows if (row["candidate"], row["set"]) == (SHIPPED, "test"))
    write_result(
        "next_state_judge",
        rows,
        [
            Goal("test reactions", ">=", 200, len(sets["test"]), "reactions"),
            Goal("agreement", ">=", 0.80, shipped["agreement"], "share of all"),
            Goal("wrong signs", "<=", 0.08, shipped["wrong_sign"], "share of scored"),
            Goal("time per reaction", "<=", 50.0, shipped["ms_p50"], "ms"),
        ],
        command="python benchmarks/next_state_judge.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def measure(classify: Classify, test: list[Example]) -> dict[str, float]:
    """One candidate on the whole test set, at the default confidence."""
    classify(test[0].text)  # load and compile
    probabilities, seconds = [], []
    for example in test:
        started = time.perf_counter()
        probabilities.append(classify(example.text))
        seconds.append(time.perf_counter() - started)
    labels = np.asarray([LABELS.index(example.label) for example in test])
    return {
        **{key: round(value, 4) for key, value in rates(np.stack(probabilities), labels).items()},
        "ms_p50": round(1000 * float(np.median(seconds)), 2),
        "ms_p95": round(1000 * float(np.quantile(seconds, 0.95)), 2),
    }


def rates(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """The shares defined in `NOTES`; scores are decided exactly as the judge decides them."""
    confidence = NextStateConfig().confidence
    scores = [score_of(Reaction(*map(float, p)), confidence=confidence) for p in probabilities]
    said = np.asarray([{1.0: 0, -1.0: 1, None: 2}[score] for score in scores])
    is_scored, has_sign = said != 2, labels != 2
    is_flipped = is_scored & has_sign & (said != labels)
    return {
        "agreement": float(np.mean(said == labels)),
        "wrong_sign": float(is_flipped.sum() / max(1, is_scored.sum())),
        "neutral_scored": float(is_scored[~has_sign].mean()),
        "not_right": float((is_scored & (said != labels)).sum() / max(1, is_scored.sum())),
        "abstained": float(1 - is_scored.mean()),
        "coverage": float(is_scored[has_sign].mean()),
    }


if __name__ == "__main__":
    main()
