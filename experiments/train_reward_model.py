"""Train a reward model: `python experiments/train_reward_model.py pairs.jsonl --to reward_models`.

A line is a JSON object with `prompt`, `chosen` and `rejected`, each a text or a list of chat
messages, and, where known, `user` and `provenance`. The new version is adopted if it beats the one
that judges now on held-out pairs; either way it is kept, with what was measured in its manifest.
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
        pairs = [pair for file in options.pairs for pair in read_pairs(file)]
        settings = Settings(members=options.members, seed=options.seed)
        trained = train_version(pairs, RewardModelStore(options.to), FeatureReader(), settings)
    except (ClawError, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    said = "adopted" if trained.is_adopted else "kept, not adopted"
    print(f"version {trained.stored.version} in {options.to}: {said}")
    print(json.dumps({"new": trained.quality._asdict(), "old": _or_none(trained.rival)}, indent=2))
    return 0 if trained.is_adopted else 3


def read_pairs(file: Path) -> list[PreferencePair]:
    """The pairs of a file.

    Raises:
        ValueError: a line is not of this form; the message names it.
    """
    from clawjax.rewards.preference_features import PreferencePair

    pairs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            prompt, chosen, rejected = (_text(row[n]) for n in ("prompt", "chosen", "rejected"))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            msg = f"{file}, line {number}: {error!r}: write prompt, chosen and rejected"
            raise ValueError(msg) from error
        about = row.get("user", ""), row.get("provenance", "")
        pairs.append(PreferencePair(prompt, chosen, rejected, *about))
    return pairs


def _text(value: Any) -> str:
    """A text, or the last of a list of chat messages."""
    return value if isinstance(value, str) else value[-1]["content"]


def _or_none(quality: Any) -> Any:
    return None if quality is None else quality._asdict()


if __name__ == "__main__":
    sys.exit(main())
