"""`report.md`: the report as one page for people. A pure function of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clawjax.evals.personal import StyleResult

__all__ = ["render_page", "sample_cell"]

_SAMPLES = 4
_LONGEST_SAMPLE = 500
"""Characters of a sample reply shown."""


def render_page(
    report: Mapping[str, Any], before: StyleResult | None, after: StyleResult | None
) -> str:
    """Markdown: the verdict first, then the numbers, the plot and sample replies."""
    parts = [
        _headline(report),
        _comparison(report),
        "![Style, reward, KL and policy version against turns](report.png)",
        _facts(report),
        _samples(before, after),
        _provenance(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(report: Mapping[str, Any]) -> str:
    says = "The policy learned" if report["learned"] else "This run learned nothing"
    lines = [f"# {says}"]
    if report["wish"]:
        lines.append(f"The user {report['wish']}, and told the policy so only in conversation.")
    lines.append(
        f"On held-out prompts {report['learned_because']}. "
        f'"Learned" means: {report["learned_means"]}.'
        if report["before"] and report["after"]
        else f"Why: {report['learned_because']}."
    )
    return "\n\n".join(lines)


def _comparison(report: Mapping[str, Any]) -> str:
    rows = (
        ("style score", "style_score", ".2f"),
        ("mean words", "mean_words", ".0f"),
        ("KL from the base per token", "kl_per_token", ".3f"),
        ("replies under three words", "short_share", ".0%"),
        ("replies that equal another", "identical_share", ".0%"),
        ("distinct word pairs", "distinct2", ".2f"),
        ("prompts", "n", "d"),
    )
    columns = [report["before"] or {}, report["after"] or {}]
    lines = ["| held out | before | after |", "| --- | ---: | ---: |"]
    for label, key, form in rows:
        cells = [_number(column.get(key), form) for column in columns]
        if key == "style_score":
            cells = [cell + _interval(c) for cell, c in zip(cells, columns, strict=True)]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _facts(report: Mapping[str, Any]) -> str:
    turns, judge, latency = report["turns"], report["judge"], report["feedback_to_served_turns"]
    dropped = ", ".join(f"{reason} {n}" for reason, n in sorted(turns["dropped"].items())) or "none"
    balance = "adds up" if turns["is_balanced"] else "DOES NOT ADD UP"
    rss = report["peak_rss_bytes"]
    lines = [
        f"- Turns: {turns['logged']} logged = {turns['trained']} trained + "
        f"{sum(turns['dropped'].values())} dropped ({dropped}) + {turns['pending']} pending: "
        f"{balance}.",
        f"- Policy version {report['policy_version']}; {_number(report['requests'], 'd')} "
        f"requests for a reply and {_number(report['other_requests'], 'd')} others, "
        f"{_number(report['non_2xx'], 'd')} of them answered with an error.",
        _versions(report["weights"]),
        f"- From feedback to a reply that learned from it: median "
        f"{_number(latency['median'], 'g')} turns, at most {_number(latency['max'], 'd')} "
        f"(n = {latency['n']}; {latency['unserved']} not served yet).",
        f"- Sampler against trainer at the same version: mean difference of "
        f"{_number(report['mean_abs_logprob_diff'], '.2g')} nats per token.",
        f"- Judges: {judge['scored']} turns scored, {judge['abstained']} abstained"
        f"{_agreement(judge['against_mood'])}.",
        f"- {report['seconds']:.0f} s"
        + ("" if rss is None else f", at most {rss / 2**30:.1f} GiB in all processes together."),
    ]
    return "\n".join(lines)


def _versions(weights: Mapping[str, Any]) -> str:
    refused = [f"{one['version']}: {one['reason']}" for one in weights["refused"]]
    rollbacks = [f"{one['was']} to {one['to']}" for one in weights["rollbacks"]]
    return (
        f"- Versions: {weights['made']} made; refused: {_listed(refused)}; "
        f"rollbacks: {_listed(rollbacks)}."
    )


def _listed(found: Sequence[str]) -> str:
    return f"{len(found)} ({'; '.join(found)})" if found else "none"


def _agreement(against: Mapping[str, Any] | None) -> str:
    if against is None or against["agreement"] is None:
        return ""
    return (
        f"; {against['agreement']:.0%} of the scored agree with the user's hidden mood, "
        f"{against['wrong_sign']:.0%} have the opposite sign (n = {against['n']})"
    )


def _samples(before: StyleResult | None, after: StyleResult | None) -> str:
    if before is None or after is None:
        return ""
    later = {reply.prompt: reply for reply in after.replies}
    shared = [(reply, later[reply.prompt]) for reply in before.replies if reply.prompt in later]
    stride = max(1, len(shared) // _SAMPLES)
    lines = ["## Replies, side by side", "| prompt | before | after |", "| --- | --- | --- |"]
    lines += [
        f"| {sample_cell(old.prompt)} | {sample_cell(old.text)} *({old.words} words)* "
        f"| {sample_cell(new.text)} *({new.words} words)* |"
        for old, new in shared[::stride][:_SAMPLES]
    ]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _provenance(report: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"Model {report['model'] or 'unnamed'}, seed {report['seed']}, "
        f"commit {report['git_sha'] or 'unknown'}.",
        f"Objective: {report['objective']}" if report["objective"] else "",
        versions,
    ]
    return "<sub>" + "<br>".join(line for line in lines if line) + "</sub>"


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _interval(column: Mapping[str, Any]) -> str:
    return f" ({column['ci'][0]:.2f} to {column['ci'][1]:.2f})" if "ci" in column else ""


def sample_cell(text: str) -> str:
    """A reply as one cell of a Markdown table, cut where it is long."""
    cut = text if len(text) <= _LONGEST_SAMPLE else text[:_LONGEST_SAMPLE].rstrip() + " …"
    escaped = cut.strip().replace("|", "\\|").replace("<", "&lt;")
    return "<br>".join(line.strip() for line in escaped.splitlines() if line.strip())
