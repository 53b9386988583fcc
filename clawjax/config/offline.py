"""Settings of training on data sets instead of live turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import at_least, at_least_or_null, require, within

__all__ = ["OfflineConfig"]

_SPLIT_BY = ("user", "prompt")


@dataclass
class OfflineConfig:
    """Which data `experiments/train_offline.py` learns from; `objective` says how."""

    files: list[str] = field(default_factory=list)
    """JSON lines of any shape that docs/offline.md lists."""
    held_out_files: list[str] = field(default_factory=list)
    """To measure on; rows of `files` with the same prompts are not learnt from. Empty: a part of
    `files` is held out."""
    provenance: str = "human"
    """Who judged, in lines that do not say: human, ai, synthetic or live."""
    held_out: float = 0.1
    """Share of the users, or prompts, that is measured on and not learnt from; 0: none."""
    split_by: str = "user"
    """`user`, or `prompt` for the data of one user."""
    similar: float = 0.9
    """Rows of a user that are as much alike count as one; above 1 only equal ones do."""
    min_margin: float = 0.0
    """Rated replies to the same prompt make a pair where their scores differ by so much at least;
    pairs that say by how much one is better are left out below it."""
    weights: dict[str, float] = field(default_factory=dict)
    """Share of the batches by provenance, relative to the others; empty: in proportion to the rows.
    Where some are named, all others are left out."""
    caps: dict[str, int] = field(default_factory=dict)
    """At most so many rows of a provenance are used."""
    batch_rows: int = 16
    """Pairs, examples or questions of a batch, which is one update."""
    batches: int | None = None
    """Of the whole run, which goes through the rows again and again; null: every row once, and the
    last batch has what is left."""
    start_from: str | None = None
    """Folder of a run whose served weights training starts from, e.g. one of objective=sft; null:
    the base model."""
    reward_model: str | None = None
    """Of objectives that draw replies: the folder that `experiments/train_reward_model.py` wrote,
    or the file of an earlier run; null: a small one is fitted to the training pairs."""
    samples: int = 4
    """Replies drawn to each question."""
    temperature: float = 1.0
    """At which they are drawn."""
    max_response_tokens: int = 160
    """Of each."""

    def __post_init__(self) -> None:
        """Reject data that cannot be learnt from."""
        within("offline.held_out", self.held_out, 0.0, 0.9)
        require(
            self.split_by in _SPLIT_BY,
            f"offline.split_by={self.split_by!r} is unknown: use {' or '.join(_SPLIT_BY)}",
        )
        require(
            self.similar > 0,
            f"offline.similar={self.similar} makes all rows one: use a number above 0, e.g. 0.9",
        )
        at_least("offline.min_margin", self.min_margin, 0.0)
        at_least("offline.batch_rows", self.batch_rows, 1)
        at_least_or_null("offline.batches", self.batches, 1)
        at_least("offline.samples", self.samples, 2)
        require(
            0 < self.temperature <= 2,
            f"offline.temperature={self.temperature} draws nothing to compare: above 0, 2 at most",
        )
        at_least("offline.max_response_tokens", self.max_response_tokens, 1)
