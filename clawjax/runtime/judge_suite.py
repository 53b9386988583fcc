"""The judge suite: every configured reward module on the labelled turns, one row each.

Asks modules as the judging loop does, with the same time-out; what fails is an abstention and is
counted. Writes `judge.json` and `results.md` into the run's folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clawjax.config import HINT_MODULES, RewardConfig, RunConfig
from clawjax.config.checks import at_least
from clawjax.errors import ConfigError, EvalError
from clawjax.evals.judging.attacks import attacked, padded
from clawjax.evals.judging.quality import Judged, measure
from clawjax.evals.judging.turns import LabelledTurn, labelled_turns
from clawjax.evals.suites import read_options
from clawjax.protocols import Reward
from clawjax.records import Verdict
from clawjax.rewards.calibrated import bare
from clawjax.rewards.composite import time_limit_s
from clawjax.rewards.constitution import position_bias
from clawjax.rewards.endpoint import EndpointReward
from clawjax.rewards.registry import build_rewards
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.scoring import finish, mirrored_scores, unscored

__all__ = [
    "Asked",
    "JudgeOptions",
    "ask_modules",
    "check_judge_suite",
    "judge_modules",
    "render",
    "run_judge_suite",
    "suite_turns",
]

logger = logging.getLogger(__name__)


@dataclass
class JudgeOptions:
    """`suite.options` of this suite."""

    per_persona: int = 12
    """Simulated reactions of each persona."""
    attacks: int = 60
    """Copies with an order to the judge."""
    padded: int = 40
    """Copies with a longer reply."""

    def __post_init__(self) -> None:
        """Numbers of turns are not negative."""
        for field in dataclasses.fields(self):
            at_least(f"suite.options.{field.name}", getattr(self, field.name), 0)


class Asked(NamedTuple):
    """What a module made of the turns."""

    row: dict[str, Any]
    """How good that was."""
    judged: list[Judged]


def run_judge_suite(config: RunConfig) -> list[dict[str, Any]]:
    """Measure the modules of `config.reward` that give scores; one row per module.

    The score is the mean of their kappas, as far as those are known.

    Raises:
        ConfigError: a module cannot be built, or none gives scores.
        EvalError: a module broke down on every turn; the table is written all the same.
    """
    paths = RunPaths(Path(config.run.dir))
    paths.prepare()
    options = read_options(JudgeOptions, config.suite.options)
    turns = suite_turns(options, seed=config.run.seed, limit=config.suite.limit)
    with unscored(paths), mirrored_scores(config, paths):
        rows = asyncio.run(judge_modules(config.reward, turns, env=os.environ))
        (paths.root / "judge.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        (paths.root / "results.md").write_text(render(rows), encoding="utf-8")
        sys.stdout.write(render(rows))
        _require_verdicts(rows)
        finish(paths, [kappa for row in rows if (kappa := row["kappa"]["value"]) is not None])
    return rows


def check_judge_suite(config: RunConfig) -> None:
    """Read the options and build the modules; no model is loaded and nobody is asked.

    Raises:
        ConfigError: as `run_judge_suite`.
    """
    read_options(JudgeOptions, config.suite.options)
    _scoring(build_rewards(config.reward, env=os.environ), config.reward)


def _scoring(rewards: Sequence[Reward], config: RewardConfig) -> list[Reward]:
    """Those that give scores by themselves.

    Raises:
        ConfigError: none does.
    """
    found = [each for each in rewards if each.name not in (*HINT_MODULES, "feedback")]
    if not found:
        msg = f"reward.modules={config.modules} gives no scores: name another module"
        raise ConfigError(msg)
    return found


def _require_verdicts(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        if row["asked"] and row["failed"] == row["asked"]:
            msg = (
                f"{row['module']} gave no verdict on any of {row['asked']} turns, so nothing of it "
                f"was measured: {row['first_failure']}"
            )
            raise EvalError(msg)


def suite_turns(
    options: JudgeOptions, *, seed: int = 0, limit: int | None = None
) -> list[LabelledTurn]:
    """The labelled turns, and manipulated copies of them; of all kinds, where only some."""
    turns = labelled_turns(seed=seed, per_persona=options.per_persona)
    if limit is not None:
        turns = turns[:: max(1, len(turns) // limit)][:limit]
    return [
        *turns,
        *attacked(turns, count=options.attacks, seed=seed),
        *padded(turns, count=options.padded, seed=seed),
    ]


async def judge_modules(
    config: RewardConfig, turns: Sequence[LabelledTurn], *, env: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row for each module that gives scores, in order.

    Raises:
        ConfigError: as `build_rewards`, or no module gives scores.
    """
    return [asked.row for asked in await ask_modules(config, turns, env=env)]


async def ask_modules(
    config: RewardConfig, turns: Sequence[LabelledTurn], *, env: Mapping[str, str]
) -> list[Asked]:
    """What each module that gives scores makes of the turns it applies to, in order.

    Raises:
        ConfigError: as `build_rewards`, or no module gives scores.
    """
    rewards = build_rewards(config, env=env)
    try:
        return [await _asked(each, turns, config) for each in _scoring(rewards, config)]
    finally:
        for reward in rewards:
            await reward.aclose()


async def _asked(reward: Reward, turns: Sequence[LabelledTurn], config: RewardConfig) -> Asked:
    fit = [each for each in turns if reward.applies(each.turn, each.next_state)]
    # What computes here is asked in turn, so that what it remembers of users is the same each time.
    width = config.max_concurrency if isinstance(bare(reward), EndpointReward) else 1
    bound = asyncio.Semaphore(width)

    async def ask(item: LabelledTurn) -> Judged:
        async with bound:
            began = time.monotonic()
            limit_s = time_limit_s(reward, config.judge_timeout_s)
            verdict, has_failed = await _ask(reward, item, limit_s)
            return Judged(item, verdict, time.monotonic() - began, has_failed)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(item)) for item in fit]
    judged = [task.result() for task in tasks]
    row = {
        "module": reward.name,
        "asked": len(judged),
        "failed": sum(each.has_failed for each in judged),
        "first_failure": next((e.verdict.explanation for e in judged if e.has_failed), None),
        **measure(judged),
        "position": position_bias([each.verdict for each in judged])._asdict()
        if reward.name == "constitution"
        else None,
        "cost": _cost(reward, len(judged)),
    }
    return Asked(row, judged)


async def _ask(reward: Reward, item: LabelledTurn, timeout_s: float) -> tuple[Verdict, bool]:
    """The verdict, and whether it is an abstention because the module broke down."""
    try:
        async with asyncio.timeout(timeout_s):
            return await reward.judge(item.turn, item.next_state), False
    except Exception as error:
        logger.warning("%s on %s failed: %r", reward.name, item.turn_id, error)
        why = f"failed: {error!r}"
        return Verdict(item.turn_id, reward.name, None, time.time(), explanation=why), True


def _cost(reward: Reward, count: int) -> dict[str, float] | None:
    """Per turn; None for what asks nobody."""
    asked = bare(reward)
    if not isinstance(asked, EndpointReward) or not count:
        return None
    return {
        name: round(total / count, 2) for name, total in dataclasses.asdict(asked.usage).items()
    }


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown."""
    head = (
        "module", "turns", "accuracy", "abstained", "neutral scored", "kappa", "ECE",
        "follows attacks", "shift by padding", "first place preferred", "s/turn", "requests/turn",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in rows:
        position = row["position"]
        cells = (
            row["module"],
            str(row["turns"]),
            *(_interval(row[name]) for name in ("accuracy", "abstained", "neutral_scored")),
            _interval(row["kappa"]),
            _number(row["ece"]),
            _number(row["injection"]["followed"]),
            _number(row["verbosity"]["shift"]),
            "" if position is None else f"{position['first']} of {position['compared']}",
            _number(row["seconds_p50"], ".3f"),
            "0" if row["cost"] is None else f"{row['cost']['requests']:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _interval(found: Mapping[str, float | None]) -> str:
    if found["value"] is None:
        return "-"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)
