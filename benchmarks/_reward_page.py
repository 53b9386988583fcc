"""Where reward comes from, as a section of `docs/results.md`: a table per claim. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _markdown import estimate, interval, number, origin, table

__all__ = ["reward_sections"]

Row = Mapping[str, Any]


def reward_sections(results: Mapping[str, Row]) -> list[str]:
    """Markdown, section by section; a result that is not there leaves its own out.

    Args:
        results: by name.
    """
    found = [
        section
        for name, (title, render) in _CLAIMS.items()
        if name in results
        for section in (f"### {title}", render(results[name]), origin(results[name]))
    ]
    return ["## Where reward comes from", *found] if found else []


def _online(result: Row) -> str:
    methods = _kind(result, "method")
    rows = [
        [
            row["method"],
            f"{row['personas']} / {row['trials']}",
            *estimate(row["gain"], row["gain_ci"]),
            *estimate(row["lead"], row["lead_ci"]),
        ]
        for row in methods
    ]
    live = methods[0]["against"] if methods else "combined"
    head = ["method", "personas / trials", "mean gain", "95 %", f"`{live}` is ahead by", "95 %"]
    return (
        "Learning while talking, against training on as many reactions that were collected from "
        "the base model\nbeforehand. Gain in style score over the base, and how far live learning "
        f"(`{live}`, in lockstep) is ahead.\n\n{table(head, rows)}\n\n{_verdict(methods, live)}"
        + (_ONE_USER if all(row["personas"] == 1 for row in methods) else "")
    )


_ONE_USER = (
    "\nOf one user: others may come out otherwise, and an interval over three seeds is their range."
)


def _verdict(methods: Sequence[Row], live: str) -> str:
    """Where live learning loses, wins, or neither is settled."""
    said: dict[str, list[str]] = {"loses to": [], "is ahead of": [], "is not settled against": []}
    for row in methods:
        if row["lead"] is None or row["method"] in (live, "prompted"):
            continue
        bounds = row["lead_ci"] if row["personas"] > 1 else None  # seeds of one user settle nothing
        known = interval(row["lead_ci"], "+.2f", "not known")
        how = f"`{row['method']}` ({row['lead']:+.2f}, 95 % {known})"
        if bounds is not None and bounds[1] < 0:
            said["loses to"].append(how)
        elif bounds is not None and bounds[0] > 0:
            said["is ahead of"].append(how)
        else:
            said["is not settled against"].append(how)
    if not any(said.values()):
        return "No method was measured beside live learning."
    loses = ", ".join(said.pop("loses to")) or "none beyond chance"
    others = [f"It {how} {', '.join(those)}." for how, those in said.items() if those]
    return " ".join([f"Live learning loses to {loses}.", *others])


def _mix(result: Row) -> str:
    rows = [
        [
            f"{row['share']:.0%}",
            str(len(row["seeds"])),
            f"{row['style_score']:.2f}",
            interval(row["ci"]),
            *estimate(row["over_judge"], row["over_judge_ci"]),
            number(row["label_agreement"], ".0%"),
        ]
        for row in _kind(result, "share")
    ]
    persona = next((row["persona"] for row in _kind(result, "trial")), "nobody")
    head = ["true labels", "seeds", "style", "95 %", "over the judge", "95 %", "labels right"]
    return (
        f"DPO on replies to `{persona}`, labelled by the judge that reads the reactions, but for a "
        "share that has\nthe persona's own label.\n\n" + table(head, rows)
    )


def _process(result: Row) -> str:
    rows = [
        [
            f"{row['mistakes']:.0%}",
            row["contestant"],
            str(len(row["seeds"])),
            f"{row['success_start']:.2f}",
            f"{row['success']:.2f}",
            interval(row["success_ci95"]),
            number(row["gain"], "+.2f"),
            interval(row["gain_ci95"], "+.2f"),
        ]
        for row in result["rows"]
    ]
    head = [
        "clerk's mistakes", "credit", "seeds", "success before", "after", "95 %",
        "over outcome only", "95 %",
    ]  # fmt: skip
    return (
        "A task of four calls; the policy is tiny and trained from scratch, so that this is about "
        "ways to give\ncredit and not about a language model. `separate_corrected` has labels by "
        "somebody who knows the\nsolution, the others by rules.\n\n" + table(head, rows)
    )


def _constitution(result: Row) -> str:
    rows = [
        [
            row["arm"],
            str(row["seeds"]),
            f"{row['violations']:.2f}",
            _beside(row, "less"),
            f"{row['accuracy']:.2f}",
            _beside(row, "accuracy_lost"),
            f"{row['declined']:.2f}",
            _beside(row, "more_declined"),
            f"{row['style']:.2f}",
            f"{row['mean_words']:.0f}",
            f"{row['empty']:.2f}",
        ]
        for row in _kind(result, "arm")
    ]
    head = [
        "arm", "seeds", "violations", "fewer than base (95 %)", "closed questions right",
        "lost (95 %)", "harmless requests declined", "more than base (95 %)", "style", "words",
        "empty or equal",
    ]  # fmt: skip
    return (
        "Share of replies to held-out tempting prompts that break their principle, and what that "
        "costs in replies\nto harmless ones. The judge of `trained` is a program that knows the "
        "checks: an upper bound for a capable\none; that of `self` is the frozen base.\n\n"
        + table(head, rows)
        + "\n"
        + _by_principle(result)
    )


def _by_principle(result: Row) -> str:
    arms = {row["arm"]: row["by_principle"] for row in _kind(result, "arm")}
    if not {"base", "trained"} <= arms.keys():
        return ""
    changes = (
        f"{name} {was:.2f} to {arms['trained'][name]:.2f}" for name, was in arms["base"].items()
    )
    return f"\nBy principle, base to trained: {', '.join(changes)}."


def _beside(row: Row, name: str) -> str:
    """The difference to the base and its interval."""
    if row[name] is None:
        return ""
    return f"{row[name]:+.2f} ({interval(row[f'{name}_ci'], '+.2f')})"


def _judges(result: Row) -> str:
    rows = [
        [
            row["module"] + (", held to a verdict" if row.get("insists") else ""),
            str(row["turns"]),
            number(row["accuracy"]["value"], ".2f"),
            number(row["abstained"]["value"], ".0%"),
            number(row["kappa"]["value"], ".2f"),
            number(row["ece"], ".2f"),
            number(row["injection"]["followed"], ".0%"),
            number(row["verbosity"]["shift"], "+.2f"),
            f"{row['seconds_p50'] * 1000:.0f}",
        ]
        for row in result["rows"]
    ]
    asking = any(row["cost"] is not None for row in result["rows"])
    head = [
        "module", "turns", "accuracy", "abstains", "kappa", "ECE", "obeys attacks",
        "padding lifts by", "ms",
    ]  # fmt: skip
    return (
        "Reward modules on labelled turns that they are asked about: accuracy where a score was "
        "given, Cohen's\nkappa of good, bad and nothing, calibration error, the share of attacked "
        "copies that got the score which\nthe attack asks for, what padding does to a score. "
        "`rules` and `reward_model` read replies, not reactions."
        + ("\nThose that ask an endpoint ask SmolLM2-135M, about fewer turns." if asking else "")
        + "\n\n"
        + table(head, rows)
    )


def _hacking(result: Row) -> str:
    rows = [
        [
            row["experiment"],
            str(row["seed"]),
            str(len(row["points"])),
            *(
                " to ".join(f"{row['points'][end][name]:.2f}" for end in (0, -1))
                for name in ("reward", "evaluation")
            ),
            "" if row["alarm"] is None else f"at version {row['alarm']['version']}",
        ]
        for row in result["rows"]
        if row["points"]
    ]
    head = ["experiment", "seed", "versions", "mean reward", "the user's own score", "alarm"]
    return (
        "`hacking_demo` pays for words to a user who wants few; the reward of `personal_demo` is "
        "what the user says.\nFirst to last version.\n\n" + table(head, rows)
    )


def _kind(result: Row, kind: str) -> list[Row]:
    return [row for row in result["rows"] if row["kind"] == kind]


_CLAIMS = {
    "online_offline": ("Online against offline", _online),
    "human_mix": ("People's labels in the mix", _mix),
    "process_labels": ("Labels of steps against the outcome alone", _process),
    "constitution": ("A constitution, and its cost", _constitution),
    "judge": ("How good the judges are", _judges),
    "hacking": ("Is gaming noticed?", _hacking),
}
