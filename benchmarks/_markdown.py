"""Numbers and tables as Markdown; what is not known is a gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["commit", "interval", "number", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None, form: str, absent: str = "") -> str:
    return absent if value is None else format(value, form)


def interval(bounds: Sequence[float] | None, form: str = ".2f") -> str:
    return "" if bounds is None else f"{bounds[0]:{form}} to {bounds[1]:{form}}"


def commit(sha: str | None) -> str:
    """Its first digits."""
    if sha is None:
        return "unknown"
    return sha[:8] + ("-dirty" if sha.endswith("-dirty") else "")
