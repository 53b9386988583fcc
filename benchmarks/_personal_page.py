"""`personal.json` as sections of `docs/results.md`: pure functions of its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from _markdown import commit, estimate, interval, number, table
from _stability_page import stability_sections

from clawjax.config import METHODS, UNTRAINED
from clawjax.evals.page import sample_cell
from clawjax.evals.personal_summary import LEAST_SHARED
from clawjax.evals.plot import Curve, Panel

__all__ = ["CURVES", "panels", "personal_sections", "unmet_sections"]

CURVES = "images/learning_curves.png"
"""Relative to the page."""
_SHOWN = "combined"
"""The method whose replies are shown beside the base model's."""

Row = Mapping[str, Any]


def personal_sections(result: Row) -> list[str]:
    """Markdown, section by section."""
    trials, personas, methods = (_kind(result, kind) for kind in ("trial", "persona", "method"))
    sections = [
        "## Personal suite",
        _provenance(result, trials),
        _CAVEATS,
        _gaps(trials),
        "### Personas and methods",
        _summary(personas),
        "### Which method learns more",
        _ordering(methods),
        "### Learning curves",
        f"![Style of the live turns by round, one panel per persona]({CURVES})",
        "Mean style of the live turns of each round: the line is the mean over seeds, the shade "
        "their range.\nDashed: the held-out score of the base model; dotted: of the base model "
        "that is told the wish.",
        *stability_sections(personas, _methods(personas), shown=_SHOWN),
        "### Where it fails",
        _failures(trials),
        "### Replies before and after",
        _samples(trials),
        "### Every persona",
        _details(personas),
        "### What was minimised",
        _objective(methods),
    ]
    return [section for section in sections if section]


def unmet_sections(result: Row) -> list[str]:
    """Markdown on personas whose wishes the base model all but never meets."""
    trials, personas = _kind(result, "trial"), _kind(result, "persona")
    rows = [[row["persona"], *_detail(row)] for row in personas]
    return [
        "### Wishes that the base model never meets",
        "The questions of the personas above are chosen so that the base model meets the wish now "
        "and then. Where\nit all but never does there is no praise to learn from, only complaints. "
        "`pithy` wants at most 25 words that\nend with a question "
        "(`benchmarks/personas/pithy.yaml`).",
        table(["persona", *_COLUMNS], rows),
        f"`{result['command']}`, commit "
        f"{', '.join(commit(sha) for sha in _names(trials, 'git_sha'))}.",
    ]


def panels(result: Row) -> dict[str, Panel]:
    """What `plot_curves` draws; trials that do not know their turns are left out."""
    trials, means = _kind(result, "trial"), _kind(result, "persona")
    drawn: dict[str, Panel] = {}
    for persona in _names(trials, "persona"):
        curves: dict[str, list[Curve]] = {}
        for row in trials:
            talk = row["training"]
            if row["persona"] == persona and talk is not None and talk["turns_by_round"]:
                curve = Curve(talk["turns_by_round"], talk["style_by_round"])
                curves.setdefault(row["method"], []).append(curve)
        levels = {
            row["method"]: row["style_score"]
            for row in means
            if row["persona"] == persona and row["method"] in UNTRAINED
        }
        drawn[persona] = Panel(curves, levels)
    return drawn


def _kind(result: Row, kind: str) -> list[Row]:
    return [row for row in result["rows"] if row["kind"] == kind]


def _names(rows: Sequence[Row], field: str) -> list[Any]:
    return list(dict.fromkeys(row[field] for row in rows))


def _methods(rows: Sequence[Row]) -> list[str]:
    return sorted(_names(rows, "method"), key=METHODS.index)


def _cells(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["persona"], row["method"]): row for row in rows}


# --- how it was measured ------------------------------------------------------------------------

_CAVEATS = """\
What the numbers do not say:

- The user is simulated: questions, moods and wordings are written down, and a program decides
  whether a reply meets the wish. The wishes are about form; whether a reply is *true* is measured
  by the closed questions alone.
- The model has 135 million parameters; its replies are often wrong before as well as after.
- Scores are of sampled replies. A seed decides what is asked and in which order, how the user
  reacts, and the sampling of the held-out replies; the held-out prompts are the same for all. The
  replies that were learnt from were drawn freely in these trials, so that measuring one again gives
  another policy; since then a seed decides them as well, up to the rounding of whoever is answered
  at the same time.
- The machine may have been running other trials at the same time: minutes are at most so many."""


def _provenance(result: Row, trials: Sequence[Row]) -> str:
    machine = result["machine"]
    minutes = [row["seconds"] / 60 for row in trials]
    prompts = trials[0]["n"]
    commits = ", ".join(commit(sha) for sha in _names(trials, "git_sha"))
    seeds = ", ".join(map(str, sorted(_names(trials, "seed"))))
    hardware = f"{machine['cores']} cores ({machine['cpu']}, {machine['memory_gib']} GiB)"
    return (
        f"`{result['command']}`: {len(trials)} trials of {len(_names(trials, 'persona'))} "
        f"personas, {len(_names(trials, 'method'))}\nmethods and the seeds {seeds}; {prompts} "
        f"held-out prompts each. {sum(minutes):.0f} minutes in all, {min(minutes):.1f} to "
        f"{max(minutes):.1f} a\ntrial, on {hardware}. "
        f"Measured at commit {commits}; summed up\nat {commit(result['commit'])}. "
        "How a trial goes and what is measured: [Evaluation](evaluation.md)."
    )


def _gaps(trials: Sequence[Row]) -> str:
    measured = {(row["persona"], row["method"], row["seed"]) for row in trials}
    absent = [f"`{method}`" for method in METHODS if method not in _methods(trials)]
    never = f"Not measured at all: {', '.join(absent)}." if absent else ""
    fields = (_names(trials, "persona"), _methods(trials), sorted(_names(trials, "seed")))
    missing = [cell for cell in product(*fields) if cell not in measured]
    if not missing:
        return never
    by_method = [
        f"`{method}` ({', '.join(_by_persona((p, s) for p, m, s in missing if m == method))})"
        for method in dict.fromkeys(method for _, method, _ in missing)
    ]
    parts = f"Not measured, and left out of all means: {'; '.join(by_method)}."
    return f"{parts} {never}".strip()


def _by_persona(cells: Iterator[tuple[str, int]]) -> list[str]:
    seeds: dict[str, list[str]] = {}
    for persona, seed in cells:
        seeds.setdefault(persona, []).append(str(seed))
    return [f"{persona} {'/'.join(found)}" for persona, found in seeds.items()]


# --- what was learnt ----------------------------------------------------------------------------


def _summary(personas: Sequence[Row]) -> str:
    methods, cells = _methods(personas), _cells(personas)

    def cell(row: Row | None) -> str:
        if row is None:
            return ""
        gain = "" if row["method"] == "base" else number(row["gain"], "+.2f")
        mark = " †" if row["degenerate"] else ""
        return f"{row['style_score']:.2f}" + (f" ({gain})" if gain else "") + mark

    rows = [
        [persona, *(cell(cells.get((persona, method))) for method in methods)]
        for persona in _names(personas, "persona")
    ]
    return (
        "Style score on held-out prompts, mean of the seeds; in brackets the gain over the base "
        "model.\n†: at least one seed was degenerate (see below).\n\n"
        + table(["persona", *methods], rows)
    )


def _ordering(methods: Sequence[Row]) -> str:
    against = methods[0]["against"] if methods else _SHOWN
    parts = [_ORDER.format(against=against)]
    for is_placed, words in ((True, ""), (False, _APART.format(against=against))):
        rows = [_place(row) for row in methods if row["is_placed"] == is_placed]
        if rows:
            parts += [words, table([name.format(against=against) for name in _PLACES], rows)]
    return "\n\n".join(part for part in parts if part)


_ORDER = """\
In the order of how far `{against}` is ahead where both were measured, on the same persona and seed;
a mean gain is over the personas that a method was measured on, so that two of them may be of
different users. 95 % of a gain: nested bootstrap, personas are drawn, then the seeds of each; of
one trial it is not known. 95 % of a lead: Student's t over personas, wide enough for all leads of a
column to hold at once (Bonferroni). Where it holds 0 or is not known, the order of the two is not
settled."""

_APART = f"""\
Measured on too little to be placed (fewer than {LEAST_SHARED} personas together with
`{{against}}`), in no order:"""

_PLACES = (
    "method", "`{against}` is ahead by", "95 %", "shared personas", "ahead of the next by", "95 %",
    "mean gain", "95 %", "personas / trials",
)  # fmt: skip


def _place(row: Row) -> list[str]:
    return [
        row["method"],
        *estimate(row["lead"], row["lead_ci"]),
        str(row["shared"]) if row["shared"] else "",
        *estimate(row["over_next"], row["over_next_ci"]),
        *estimate(row["gain"], row["gain_ci"]),
        f"{row['personas']} / {row['trials']}",
    ]


# --- what went wrong ----------------------------------------------------------------------------


def _failures(trials: Sequence[Row]) -> str:
    learnt = [row for row in trials if row["training"] is not None]
    degenerate = [row for row in trials if row["is_degenerate"]]
    worse = [row for row in trials if row["gain"] is not None and row["gain"] < 0]
    unstable = [row for row in learnt if row["training"]["sessions_to_stable"] is None]
    return "\n".join(
        [
            _listed("Degenerate: nothing said, or the same to everybody", degenerate, _poverty),
            _listed("Worse than the base model", worse, lambda row: f" {row['gain']:+.2f}"),
            _listed("Never stable", unstable, lambda row: ""),
        ]
    )


def _listed(what: str, rows: Sequence[Row], detail: Callable[[Row], str]) -> str:
    if not rows:
        return f"- **{what}**: no trial."
    lines = [f"- **{what}**, {len(rows)} trials (persona and seed):"]
    for method in _methods(rows):
        found = [
            f"{row['persona']} {row['seed']}{detail(row)}"
            for row in rows
            if row["method"] == method
        ]
        lines.append(f"  - `{method}`: {'; '.join(found)}")
    return "\n".join(lines)


def _poverty(row: Row) -> str:
    ratio = number(row["distinct2_over_base"], ".2f", "unknown")
    return (
        f" (short {row['short_share']:.0%}, identical {row['identical_share']:.0%}, "
        f"distinct pairs {ratio} of the base's)"
    )


def _samples(trials: Sequence[Row]) -> str:
    by_trial = {(row["persona"], row["method"], row["seed"]): row for row in trials}
    rows = []
    for persona in _names(trials, "persona"):
        shared = [
            seed
            for seed in sorted(_names(trials, "seed"))
            if {(persona, "base", seed), (persona, _SHOWN, seed)} <= by_trial.keys()
        ]
        for seed in shared[:1]:
            pairs = zip(
                by_trial[persona, "base", seed]["samples"],
                by_trial[persona, _SHOWN, seed]["samples"],
                strict=True,
            )
            rows += [
                [persona, sample_cell(old["prompt"]), _reply(old), _reply(new)]
                for old, new in pairs
            ]
    if not rows:
        return f"No persona was measured with both `base` and `{_SHOWN}`."
    return (
        "The first held-out prompts of each persona at its first seed, not chosen; after training "
        f"with\n`{_SHOWN}`. In brackets the words and the score.\n\n"
        + table(["persona", "prompt", "before", "after"], rows)
    )


def _reply(sample: Row) -> str:
    return f"{sample_cell(sample['text'])} *({sample['words']}; {sample['score']:.2f})*"


# --- everything ---------------------------------------------------------------------------------

_COLUMNS = (
    "method", "seeds", "style", "95 %", "gain by seed", "words", "KL", "NLL", "accuracy",
    "distinct pairs", "judge", "trained", "minutes",
)  # fmt: skip


def _details(personas: Sequence[Row]) -> str:
    parts = [
        "KL to the base on neutral prompts and NLL of a fixed text (in brackets its increase) in "
        "nats per\ntoken; accuracy on closed questions (in brackets its change); distinct word "
        "pairs relative to the\nbase's; judge: scored reactions judged as the user meant them, "
        "thumbs, which no judge has to read,\namong them. 95 %: bootstrap, seeds are drawn, and "
        "prompts, which all seeds answer, and an interval over\nthree seeds is a hint; ‡: one "
        "seed, of its replies alone."
    ]
    for persona in _names(personas, "persona"):
        rows = [_detail(row) for row in personas if row["persona"] == persona]
        parts.append(f"**{persona}**\n\n" + table(_COLUMNS, rows))
    return "\n\n".join(parts)


def _detail(row: Row) -> list[str]:
    is_base = row["method"] == "base"

    def changed(value: str, change: str, form: str) -> str:
        delta = "" if is_base else number(row[change], "+" + form)
        return number(row[value], form) + (f" ({delta})" if delta else "")

    return [
        row["method"],
        ", ".join(map(str, row["seeds"])),
        number(row["style_score"], ".2f"),
        interval(row["ci"], absent="not known") + (" ‡" if len(row["seeds"]) == 1 else ""),
        "" if is_base else ", ".join(number(gain, "+.2f", "?") for gain in row["gains"]),
        number(row["mean_words"], ".0f"),
        number(row["kl_per_token"], ".3f"),
        changed("nll_per_token", "nll_increase", ".2f"),
        changed("accuracy", "accuracy_change", ".2f"),
        number(row["distinct2_over_base"], ".2f"),
        number(row["judge_agreement"], ".0%"),
        number(row["trained"], ".0f"),
        number(row["seconds"] / 60, ".1f"),
    ]


def _objective(methods: Sequence[Row]) -> str:
    shown = [row for row in methods if row["method"] == _SHOWN]
    return f"By `{_SHOWN}`:\n\n```\n{shown[0]['objective']}\n```" if shown else ""
