"""Train a reward model: `python experiments/train_reward_model.py pairs.jsonl --to reward_models`.

Lines are in any shape that data sets have (docs/offline.md). The new version is adopted if
it beats the one that judges now on held-out pairs; either way it is kept, with what was measured
in its manifest.
Exit codes: 0 adopted, 3 kept and not adopted, 2 the pairs do not allow it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clawjax.rewards.preference_features import PreferencePair


def main(argv: list[str] | None = None) -> int:
    """Train, say how good it is, adopt or not."""
    # Read when numpy is imported: on matrices so small, further threads only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from clawjax.errors import ClawError
    from clawjax.rewards.preference_features import FeatureReader
    from clawjax.rewards.reward_store import RewardModelStore
    from clawjax.rewards.train_reward_model import Settings, train_version

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+", help="JSON Lines")
    parser.add_argument("--to", type=Path, default=Path("reward_models"), help="folder of versions")
    parser.add_argument("--members", type=int, default=Settings().members)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        pairs = read_pairs(options.pairs)
        settings = Settings(members=options.members, seed=options.seed)
        trained = train_version(pairs, RewardModelStore(options.to), FeatureReader(), settings)
    except (ClawError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    said = "adopted" if trained.is_adopted else "kept, not adopted"
    print(f"version {trained.stored.version} in {options.to}: {said}")
    print(json.dumps({"new": trained.quality._asdict(), "old": _or_none(trained.rival)}, indent=2))
    return 0 if trained.is_adopted else 3


def read_pairs(files: list[Path]) -> list[PreferencePair]:
    """The pairs of files; of replies with a score, every two to the same prompt that differ.

    Raises:
        DataError: a file cannot be read, or a line is of no known shape; it is named.
    """
    from clawjax.data.files import read_rows
    from clawjax.data.preferences import Preference, Rated, preferences_of
    from clawjax.rewards.preference_features import to_pairs

    rows = read_rows(files).rows
    rated = [row for row in rows if isinstance(row, Rated)]
    pairs = [row for row in rows if isinstance(row, Preference)]
    return to_pairs([*pairs, *preferences_of(rated)])


def _or_none(quality: Any) -> Any:
    return None if quality is None else quality._asdict()


if __name__ == "__main__":
    sys.exit(main())
