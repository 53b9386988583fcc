"""The personal suite: personas x methods x seeds, each trial measured and kept as JSON.

Owns the folder `trials/`. Invariant: a trial is measured once; a suite that was interrupted goes on
with the trials that are missing, and one that was cut off in the middle is begun anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import jax

from clawjax.config import UNTRAINED, EpisodesConfig, RunConfig
from clawjax.config.additions import drop_unset_additions
from clawjax.config.databases import file_url
from clawjax.envs.persona import Persona, load_persona, shipped_personas
from clawjax.errors import ConfigError
from clawjax.evals.asking import Asker
from clawjax.evals.drift import kl_from_base, logged_exchanges, policy_params
from clawjax.evals.material import closed_questions, fixed_text, neutral_prompts
from clawjax.evals.personal import StyleResult, evaluate_style
from clawjax.evals.retention import closed_form_accuracy, nll_per_token
from clawjax.evals.series import judge_agreement, lost_replies
from clawjax.evals.stability import sessions_to_stable
from clawjax.files import replace_file
from clawjax.learner.describe import describe
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor, read_jsonl
from clawjax.models.load import LoadedModel, load_model
from clawjax.rewards.registry import by_name
from clawjax.runtime.build import api_key, use_compilation_cache
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.provenance import git_sha
from clawjax.runtime.scoring import RunningScore, finish, mirrored_scores, unscored
from clawjax.weights import DirectoryWeightStore

__all__ = ["Trial", "conversation", "measured", "run_suite", "trials"]

_NEUTRAL_TOKENS = 64
_PROMPTED = "You are a helpful assistant. The user {wish}."
_LEARNING = ("learner", "objective", "reward")
_DOORS = (
    "host", "port", "api_key_env", "allowed_hosts", "allowed_origins", "keep_alive_s", "metrics",
    "session_idle_s",
)  # fmt: skip
_DECIDES = ("settings", "persona_file")


class Trial(NamedTuple):
    """One cell of the table."""

    persona: str
    """Of a file of one's own, its path."""
    method: str
    seed: int

    @property
    def label(self) -> str:
        """The persona in tables and names: of a file, its name."""
        return Path(self.persona).stem

    @property
    def name(self) -> str:
        """Of its file and folder."""
        return f"{self.label}-{self.method}-{self.seed}"


def trials(config: RunConfig) -> Iterator[Trial]:
    """In an order that fills the table evenly: seed by seed."""
    suite = config.suite
    for seed in suite.seeds:
        for persona in suite.personas:
            for method in suite.methods:
                yield Trial(persona, method, seed)


def run_suite(configs: Mapping[str, RunConfig]) -> list[dict[str, Any]]:
    """Measure what is missing; all results of the suite, in the order of `trials`.

    Args:
        configs: the configuration of each method; they differ in the objective only.

    Raises:
        ConfigError: an unknown persona, or a folder that cannot be written.
        ClawError: a loop failed.
    """
    config = next(iter(configs.values()))
    for persona in config.suite.personas:
        load_persona(persona)
    paths = RunPaths(Path(config.run.dir))
    paths.prepare()
    use_compilation_cache(config)
    model = load_model(config.model, seed=config.run.seed)
    results = []
    monitor = JsonlMonitor(paths.metrics, source="evaluation")
    with (
        unscored(paths),
        contextlib.closing(monitor),
        mirrored_scores(config, paths) as forward,
    ):
        running = RunningScore(monitor, forward)
        for trial in trials(config):
            chosen = configs[trial.method]
            file = paths.root / "trials" / f"{trial.name}.json"
            decides = {"settings": _digest(chosen, trial)} | _own_file(trial.persona)
            if not file.exists():
                settings = decides | {"objective": _objective(chosen)}
                _write(file, settings | _measure(chosen, paths, trial, model))
            result = json.loads(file.read_text())
            if {key: result[key] for key in _DECIDES if key in result} != decides:
                msg = f"{file} was measured with other settings: use another run.name"
                raise ConfigError(msg)
            sys.stdout.write(f"{trial.name}: style {result['style']['style_score']:.2f}\n")
            sys.stdout.flush()
            results.append(result)
            running.add(result["style"]["style_score"])
        finish(paths, [result["style"]["style_score"] for result in results])
    return results


def _digest(config: RunConfig, trial: Trial) -> str:
    """sha256 of all settings that decide a result; which trials are chosen does not.

    Nor do the endpoint's doors, how long a session may rest, or an LLM that no module asks. What is
    only of use for learning decides nothing where nothing is learnt.
    """
    kept = dataclasses.asdict(config)
    drop_unset_additions(kept)
    if not config.reward.asking_modules:
        del kept["reward"]["llm_judge"]
    idle = _LEARNING if trial.method in UNTRAINED else ()
    for group in ("run", "log", "monitor", "agent", "offline", *idle):
        del kept[group]
    for door in _DOORS:
        del kept["gateway"][door]
    of_tasks = [field.name for field in dataclasses.fields(EpisodesConfig)]
    for choice in ("personas", "methods", "seeds", *of_tasks):
        del kept["suite"][choice]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _own_file(persona: str) -> dict[str, str]:
    """sha256 of what a persona of one's own is; a shipped one is known by its name."""
    if persona in shipped_personas():
        return {}
    held = dataclasses.asdict(load_persona(persona))
    if not held["style"]["own"]:  # trials from before there were such wishes count
        del held["style"]["own"]
    content = json.dumps(held, sort_keys=True)
    return {"persona_file": hashlib.sha256(content.encode()).hexdigest()}


def _objective(config: RunConfig) -> str:
    return describe(config.objective, config.learner, by_name(config.reward))


def _measure(
    config: RunConfig, paths: RunPaths, trial: Trial, model: LoadedModel
) -> dict[str, Any]:
    """One trial in a folder of its own."""
    folder = paths.root / "runs" / trial.name
    if folder.exists():
        shutil.rmtree(folder)
    own = RunPaths(folder)
    own.prepare()
    config = dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, dir=str(folder), seed=trial.seed),
        log=dataclasses.replace(config.log, url=file_url(folder / "turns.db")),
        user=dataclasses.replace(config.user, persona=trial.persona),
    )
    began = time.monotonic()
    try:
        result = asyncio.run(_live(config, own, trial, model))
    finally:
        jax.clear_caches()  # the programs of a trial are its own; a suite would pile them up
    return {
        **trial._asdict(),
        "persona": trial.label,
        **result,
        "seconds": round(time.monotonic() - began, 1),
        "git_sha": git_sha(),
    }


async def _live(
    config: RunConfig, paths: RunPaths, trial: Trial, model: LoadedModel
) -> dict[str, Any]:
    """Talk and train round by round, then measure the policy that came of it."""
    persona, suite = load_persona(trial.persona), config.suite
    is_trained = trial.method not in UNTRAINED
    async with Lockstep.open(config, paths, model) as lockstep:
        for number in range(suite.updates if is_trained else 0):
            await lockstep.round(persona, (number + 1) * suite.turns_per_update)
        await lockstep.catch_up()
        told = _PROMPTED.format(wish=persona.description) if trial.method == "prompted" else None
        found = await measured(lockstep, model, persona, seed=trial.seed, system=told)
        training = (
            conversation(lockstep.log, paths.root, suite.turns_per_update, config.reward.weights)
            if is_trained
            else None
        )
        return found | {"training": training}


async def measured(
    lockstep: Lockstep,
    model: LoadedModel,
    persona: Persona,
    *,
    seed: int,
    system: str | None = None,
) -> dict[str, Any]:
    """What the policy that is served does for a persona, and what it has kept.

    Args:
        lockstep: serves it; its configuration says how much is asked.
        model: the base.
        persona: whose held-out prompts are asked.
        seed: of sampling.
        system: a system message before each of them.

    Raises:
        EngineError: a prompt got no reply.
    """
    config = lockstep.config
    asker = Asker(
        lockstep.base_url,
        config.model.name,
        api_key=api_key(config.gateway) or "none",
        concurrency=config.engine.slots,
    )
    style = await evaluate_style(
        asker,
        persona,
        n=config.suite.held_out,
        seed=seed,
        temperature=config.user.temperature,
        max_tokens=config.user.max_tokens,
        system=system,
    )
    retention = await _retention(asker, config, lockstep, model, lockstep.paths)
    return {"style": _summary(style), "retention": retention, "version": lockstep.version}


def _summary(style: StyleResult) -> dict[str, Any]:
    kept = dataclasses.asdict(style)
    replies = kept.pop("replies")
    scores = [reply["score"] for reply in replies]
    return {**kept, "scores": scores, "samples": replies[:3]}


async def _retention(
    asker: Asker, config: RunConfig, lockstep: Lockstep, model: LoadedModel, paths: RunPaths
) -> dict[str, Any]:
    """KL to the base on neutral prompts, likelihood of a fixed text, closed questions."""
    prompts = neutral_prompts()[: config.suite.neutral]
    replies = await asker.ask(
        prompts,
        seeds=range(len(prompts)),
        temperature=config.user.temperature,
        max_tokens=_NEUTRAL_TOKENS,
    )
    accuracy = await closed_form_accuracy(asker, closed_questions())
    policy = _policy(model, paths)
    exchanges = logged_exchanges(lockstep.log, [reply.response_id for reply in replies])
    drift = await asyncio.to_thread(
        kl_from_base, model.architecture, policy, model.params, exchanges
    )
    ids = model.tokenizer.encode_text(fixed_text())
    nll = await asyncio.to_thread(nll_per_token, model.architecture, policy, ids)
    return {
        "kl_per_token": None if drift is None else drift.kl_per_token,
        "nll_per_token": nll,
        "accuracy": accuracy._asdict(),
    }


def _policy(model: LoadedModel, paths: RunPaths) -> Any:
    store = DirectoryWeightStore(paths.weights)
    newest = store.latest()
    return model.params if newest is None else policy_params(model, *store.load(newest.version))


def conversation(
    log: SqlTurnLog, folder: Path, turns_per_update: int, weights: Mapping[str, float]
) -> dict[str, Any]:
    """What the conversation in a trial's folder looked like, round by round.

    Args:
        log: of its turns.
        folder: of what the user remembers.
        turns_per_update: of a round.
        weights: per reward module, as the learner combines them.
    """
    counts = log.counts()
    turns = list(replay(log))
    user = read_jsonl(folder / "user.jsonl")
    agreement = judge_agreement(turns, user, weights)
    styles = [entry["style"] for entry in user]
    starts = range(0, len(styles), turns_per_update)
    return {
        "logged": counts.logged,
        "trained": counts.trained,
        "dropped": counts.dropped,
        "pending": counts.pending,
        "lost": lost_replies(turns, user),
        "turns_by_round": [min(start + turns_per_update, len(styles)) for start in starts],
        "style_by_round": [fmean(styles[start : start + turns_per_update]) for start in starts],
        "sessions_to_stable": sessions_to_stable(user),
        "judge": None if agreement is None else agreement._asdict(),
    }


def _write(file: Path, result: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps(result, indent=1) + "\n")
