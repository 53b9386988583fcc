"""Sessions to a stable effect, beside chance and the reference, for `docs/results.md`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _markdown import number, table

from clawjax.config import UNTRAINED

__all__ = ["stability_sections"]

_REFERENCE = {"student": 36, "teacher": 24}
"""Interactions, by persona, as it reports them."""

Row = Mapping[str, Any]
_Cells = Mapping[tuple[str, str], Row]


def stability_sections(personas: Sequence[Row], methods: Sequence[str], *, shown: str) -> list[str]:
    """Markdown, section by section.

    Args:
        personas: rows, one per persona and method.
        methods: in the order of the columns; untrained ones have none.
        shown: the method beside the reference.
    """
    cells = {(row["persona"], row["method"]): row for row in personas}
    names = list(dict.fromkeys(row["persona"] for row in personas))
    trained = [method for method in methods if method not in UNTRAINED]
    rows = [[name, *(_counts(cells.get((name, method))) for method in trained)] for name in names]
    return [
        "### Sessions to a stable effect",
        _MEANING,
        table(["persona", *trained], rows),
        _REPORTED,
        _beside_reference(cells, shown),
        _COMPARABLE,
    ]


_MEANING = """\
Sessions of the live conversation until the first reply met the wish in three sessions in a row,
seed by seed. `never`: not within the conversation. In brackets what chance alone would take: the
expected number of sessions until three in a row where nothing is learnt and each first reply meets
the wish with the base model's held-out share p of the same persona and seed,
(1 - p³) / ((1 - p) p³) (Feller, *An Introduction to Probability Theory and Its Applications* I,
XIII.7). Counts by chance scatter about as widely as that number is large, so that one which is not
far below it shows nothing. Eight conversations run side by side, and those of the first round are
all held with version 0: the first hits can be the untrained model's."""


def _counts(row: Row | None) -> str:
    if row is None:
        return ""
    return ", ".join(
        f"{number(count, 'd', 'never')} ({number(chance, '.0f', '?')})"
        for count, chance in zip(row["sessions_to_stable"], row["sessions_by_chance"], strict=True)
    )


def _beside_reference(cells: _Cells, shown: str) -> str:
    rows = [
        [persona, str(reported), _counts(cells.get((persona, shown))) or "not measured"]
        for persona, reported in _REFERENCE.items()
    ]
    head = [
        "persona",
        "OpenClaw-RL, interactions",
        f"clawjax `{shown}`, sessions by seed (by chance alone)",
    ]
    return table(head, rows)


_REPORTED = """\
The reference implementation, [OpenClaw-RL](https://github.com/Gen-Verse/OpenClaw-RL)
([arXiv:2603.10165](https://arxiv.org/abs/2603.10165)), reports in its README after how many
interactions a change is visible:"""

_COMPARABLE = """\
Comparable: the kind of wish (a student who does not want to sound like an AI, a teacher who wants
friendly, specific comments), learning from conversation alone, and that conversations are counted.
Three sessions in a row is the rule that its authors have since named as their measure.

Not comparable, so that neither number bounds the other:

- Its policy is of the Qwen3-4B class, thirty times the size of ours.
- Its user and its evaluator are language models; ours is a script, and the score a program's.
- Its interactions are tasks (a homework problem solved, or graded) of up to eight turns, and the
  test scripts it ships compute no metric: "visible" is a judgement. Our sessions are two or three
  questions long, and the count ends by rule.
- Three hits in a row also come by chance, the sooner the more often the untrained model meets the
  wish, and ours run eight side by side, so that the first can be of version 0. What chance takes in
  the reference is not known: a small count of ours is not faster learning.
- It reports one number per persona, without seeds and without a held-out set."""
