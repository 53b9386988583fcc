"""Does learning while talking beat the classic pipeline on the same amount of feedback?

    python benchmarks/online_offline.py --from DIR [DIR ...] [--personas brief,you] [--seeds 0,1,2]
    python benchmarks/online_offline.py [--quick]
    python benchmarks/online_offline.py --offline-only --seeds 0

Live: `combined`, 96 replies in six rounds, each by the policy of its time, which learns between
rounds (lockstep; nobody trains while somebody talks). Up front: 96 reactions
to the base model's replies (24 training questions, four replies each), read by the same judge, and
from these `sft` on what was praised, `dpo` on replies to the same question of which one was liked
better, and `rlhf`: a reward model fitted to those pairs, then the clipped surrogate with a
leave-one-out baseline on the policy's own replies to the same questions. All are held to the same
learner, drift budget and held-out prompts; base and the base that is told the wish are beside them.
`--from` gathers base, prompted and combined from runs of the personal suite, which takes about 55
minutes; without it they are measured as well, which takes about 140 more. A run goes on where it
stopped. `--measure-only` writes no result, `--offline-only` does not measure live trials either, so
that processes can share the work; the command without them gathers.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _feedback import judged
from _offline_arms import Arms
from _result import Goal, smallest, write_result
from _trials import command_line, parser, seeds_of
from personal import run as run_suite

from clawjax.errors import ConfigError
from clawjax.evals.personal_summary import method_rows, persona_rows, trial_rows
from clawjax.evals.trials import read_trials

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
ONLINE, BESIDE = "combined", ("base", "prompted")
OFFLINE = ("offline_sft", "offline_dpo", "offline_rlhf")
LEAST_SEEDS = 3
LEAST_EQUAL = 0.9
"""As many feedback events as that, or the comparison is of amounts."""
UNANSWERED = ("side", "no_next_state")
"""Reasons for which the log has no reaction to a turn."""
NOTES = {
    "kind": "trial: one persona, method and seed; persona: means over seeds; method: means over "
    "personas of means over seeds",
    "style_score": "mean programmatic score of sampled replies to held-out prompts, in [0, 1]",
    "ci": "95 % bootstrap interval over replies; of a persona nested: its seeds are drawn, then "
    "the replies of each; of one seed over its replies alone",
    "gain": "style score less that of the base of the same persona and seed",
    "gain_ci": "95 % nested bootstrap interval: personas are drawn, then the seeds of each; null "
    "of a single trial",
    "lead": "mean gain of `combined` less that of the method; below 0 live feedback loses",
    "live": "lockstep with staleness 0: each round of talk is by the newest policy, which learns "
    "when the round is over; an asynchronous run is up to learner.max_staleness versions behind, "
    "and what that costs is not in these numbers",
    "events": "reactions that were given: up front to 96 replies of the base; live to 96 replies "
    "as well, less the few that nobody had reacted to when the talk was over; one in four of the "
    "live ones that end a session is a thumb, which no judge has to read",
    "labels": "of the reactions collected up front, those that the judge could read",
    "offline": "what training on them came to; `nothing_to_learn` where it came to nothing, so "
    "that the base was measured",
    "caution": "offline methods may go over their data again and draw replies that cost no "
    "reaction; live replies are seen once, and half of them were the base's or nearly so",
}


def main() -> None:
    """Gather or measure the live trials, train on feedback collected up front, compare."""
    options = parsed()
    live = [] if options.offline_only else live_trials(options)
    offline = measure(options)
    if options.measure_only:
        return
    rows = [*summed_up(live, offline)]
    write_result(
        "online_offline_quick" if options.quick else "online_offline",
        rows,
        goals(rows),
        command=command(options),
        notes=NOTES,
    )


def live_trials(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Those that were chosen, of the runs that were named or of one that is made.

    Raises:
        ConfigError: there is none.
    """
    live = [
        trial
        for trial in read_trials(options.folders or [run_suite(options)])
        if trial["persona"] in options.personas
        and trial["seed"] in options.seeds
        and trial["method"] in (ONLINE, *BESIDE)
    ]
    if not live:
        msg = "no trial of the personal suite is of these personas and seeds: choose others"
        raise ConfigError(msg)
    return live


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    known = parser(__doc__)
    known.add_argument("--personas", type=lambda text: text.split(","), default=None)
    known.add_argument("--from", dest="folders", nargs="+", type=Path, default=[], metavar="DIR")
    known.add_argument(
        "--offline-only",
        action="store_true",
        help="measure what needs no live trial, and write no result",
    )
    options = known.parse_args(arguments)
    options.measure_only |= options.offline_only
    options.personas = options.personas or (["plain"] if options.quick else ["brief", "you"])
    options.seeds = seeds_of(options)
    options.methods = [*BESIDE, ONLINE]
    options.overrides = []
    options.run_name = options.run_name or ("online_tiny" if options.quick else "online")
    return options


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every offline cell, seed by seed."""
    arms = Arms(RUNS / f"{options.run_name}_offline", is_quick=options.quick)
    found = []
    for seed in options.seeds:
        for persona in options.personas:
            events = arms.feedback(persona, seed)
            for method in OFFLINE:
                objective = method.removeprefix("offline_")
                cell = arms.cell(
                    persona, method, seed, objective=objective, rows=judged(events, persona)
                )
                found.append(cell | {"events": len(events)})
    return found


def summed_up(
    live: Sequence[Mapping[str, Any]], offline: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows of all kinds; those of offline trials say what they learnt from."""
    known = {(r["persona"], r["method"], r["seed"]): r for r in offline}
    results = [*live, *offline]
    rows: list[dict[str, Any]] = [{"kind": "trial"} | row for row in trial_rows(results)]
    for row in rows:
        cell = known.get((row["persona"], row["method"], row["seed"]))
        if cell is not None:
            row |= {key: cell[key] for key in ("events", "labels", "offline")}
        elif row["training"] is not None:
            row["events"] = events_of(row["training"])
    rows += [{"kind": "persona"} | row for row in persona_rows(results)]
    return rows + [{"kind": "method"} | row for row in method_rows(results, against=ONLINE)]


def events_of(training: Mapping[str, Any]) -> int:
    """Reactions in a live conversation: to what was trained on, and to what was not for a reason.

    Not to side turns, nor to replies that were still to be reacted to when the talk was over.
    """
    dropped = training["dropped"].items()
    return training["trained"] + sum(n for why, n in dropped if why not in UNANSWERED)


def least_equal(trials: Sequence[Mapping[str, Any]]) -> float | None:
    """The smallest share that the fewer feedback events are of the more; None: some unknown."""
    counts: dict[tuple[str, int], dict[str, int]] = {}
    for row in trials:
        if row["method"] in (ONLINE, *OFFLINE):
            counts.setdefault((row["persona"], row["seed"]), {})[row["method"]] = row["events"]
    return smallest(
        min(each.values()) / max(each.values()) if len(each) == 1 + len(OFFLINE) else None
        for each in counts.values()
    )


def goals(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Live learning leads each offline method on average, on enough seeds and equal feedback."""
    methods = {row["method"]: row for row in rows if row["kind"] == "method"}
    trials = [row for row in rows if row["kind"] == "trial"]
    seeds = [
        sum(row["method"] == method and row["persona"] == persona for row in trials)
        for persona in {row["persona"] for row in trials}
        for method in (ONLINE, *OFFLINE)
    ]
    return [
        *(
            Goal(
                f"mean gain of {ONLINE} less that of {method}",
                ">=",
                0.0,
                methods.get(method, {}).get("lead"),
                "style score",
            )
            for method in OFFLINE
        ),
        Goal(
            "feedback events, the fewer of live and up front",
            ">=",
            LEAST_EQUAL,
            least_equal(trials),
            "share of the more, smallest",
        ),
        Goal("seeds", ">=", LEAST_SEEDS, smallest(seeds), "fewest of a persona and method"),
    ]  # fmt: skip


def command(options: argparse.Namespace) -> str:
    """How to measure again, in one run."""
    return command_line("online_offline", options, "personas", "seeds")


if __name__ == "__main__":
    main()
