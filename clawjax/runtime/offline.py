"""Training on a data set: files to rows, rows to a source, a source to the learner.

Owns the order of things, and what is said at the end. Invariants: what is held out is never learnt
from; the folder is a run's like any other, which can be served, evaluated and trained on.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.data.mixing import Mixture
from clawjax.data.preferences import Provenance, Row
from clawjax.data.scoring import ReplyScorer
from clawjax.errors import ConfigError, DataError, LearnerError
from clawjax.evals.material import fixed_text
from clawjax.files import replace_file
from clawjax.learner.build import build_learner
from clawjax.learner.credit import build_credit
from clawjax.learner.loop import Learner
from clawjax.learner.offline.drafts import Source
from clawjax.learner.offline.held_out import held_out_metrics
from clawjax.learner.offline.material import (
    Material,
    examples_of,
    pairs_of,
    questions_of,
    read_material,
)
from clawjax.learner.offline.rollouts import Rollouts
from clawjax.learner.offline.trainer import MOST_REPLIES, OfflineTrainer
from clawjax.learner.offline.written import WrittenReplies
from clawjax.learner.protocols import Stop
from clawjax.learner.publish import Publisher
from clawjax.learner.sampler import Sampler
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.transformer import Params
from clawjax.records import SamplingParams
from clawjax.rendering.prompts import prompts_of
from clawjax.rewards.pair_model import PairModel, packaged_features
from clawjax.rewards.stored_scorer import StoredScorer
from clawjax.runtime.build import use_compilation_cache
from clawjax.runtime.offline_digest import is_learnt_from, learnt_from
from clawjax.runtime.offline_log import open_offline_log
from clawjax.runtime.offline_rows import RowSets, load_rows
from clawjax.runtime.offline_start import start_of
from clawjax.runtime.paths import RunPaths, read_json, write_json
from clawjax.runtime.provenance import config_yaml
from clawjax.runtime.rehearsal import rehearse_data, rehearsed_objective
from clawjax.runtime.scoring import finish, mirrored_scores, unscored
from clawjax.runtime.settings import hold_offline_settings
from clawjax.stopping import stop_signals
from clawjax.weights import DirectoryWeightStore

__all__ = ["Trained", "train_offline", "train_on"]

_MOST_AT_ONCE = 32
"""Replies that are written side by side; each has a row of the cache."""


class Trained(NamedTuple):
    """What came of training on a data set."""

    accuracy: float | None
    """Held out, afterwards; None where there are no pairs."""
    is_stopped: bool
    """Whether somebody asked it to stop."""


def train_offline(config: RunConfig) -> Trained:
    """Train as configured, until done or asked to stop.

    Raises:
        ConfigError: the configuration or the folder does not allow it.
        DataError: the files cannot be read or hold nothing to learn from.
        LearnerError: a step is not to be trusted.
    """
    config = _checked(config)
    sys.stdout.write(rehearsed_objective(config) + "\n\n")
    if config.run.dry:
        rehearse_data(config)
        return Trained(None, is_stopped=False)
    paths = RunPaths(Path(config.run.dir))
    paths.prepare()
    rows = load_rows(config)
    use_compilation_cache(config)
    model = load_model(config.model, seed=config.run.seed)
    with stop_signals() as stop, unscored(paths), mirrored_scores(config, paths):
        report = train_on(config, paths, model, rows, stop=stop)
        if report["is_done"]:
            finish(paths, [report["after"].get("offline/accuracy")])
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return Trained(report["after"].get("offline/accuracy"), stop.is_set())


def train_on(
    config: RunConfig,
    paths: RunPaths,
    model: LoadedModel,
    rows: RowSets,
    *,
    stop: Stop | None = None,
    reward: ReplyScorer | None = None,
) -> dict[str, Any]:
    """Train in a run's folder, or go on there; what was measured before the run and after it.

    Args:
        config: `objective` says how, `offline` how much.
        paths: the folder.
        model: the base.
        rows: what is learnt from, and measured on.
        stop: ends it after the batch under way.
        reward: of objectives that draw replies; None: as `offline.reward_model` says.

    Raises:
        ConfigError, DataError, LearnerError: as `train_offline`.
    """
    config = _without_waits(_checked(config, is_given=True))
    report_file, what = paths.root / "offline.json", learnt_from(config, rows.train)
    held = read_json(report_file)
    hold_offline_settings(config, paths, is_begun="before" in held)
    require(
        is_learnt_from(held.get("learnt_from", what), config, rows.train),
        f"run.dir={paths.root} holds a run on other rows, or by another objective: set run.name",
    )
    replace_file(paths.config, config_yaml(config))  # for tools that look after runs
    with ExitStack() as stack:
        log = open_offline_log(config, paths, is_begun="before" in held)
        stack.callback(log.close)
        limit = config.monitor.max_file_bytes
        monitor = JsonlMonitor(paths.metrics, source="learner", max_bytes=limit)
        stack.callback(monitor.close)
        learner = _learner(config, paths, model, log, monitor)
        stack.callback(learner.versions.checkpoints.close)
        prepared = _prepare(config, paths, model, rows, learner, reward)
        trainer = OfflineTrainer(
            learner=learner,
            log=log,
            source=prepared.source,
            monitor=monitor,
            model_name=config.model.name,
            batches=prepared.batches,
        )
        before = held.get("before")
        if before is None:
            before = _measure(prepared.held_out, learner, monitor)
            write_json(report_file, {"learnt_from": what, "before": before})
        is_done = trainer.run(stop or threading.Event())
        learner.versions.follow()  # what is served is what is measured
        after = _measure(prepared.held_out, learner, monitor)
        report = {
            "objective": config.objective.name,
            "learnt_from": what,
            "is_done": is_done,
            "version": learner.version,
            "rows": len(prepared.material.rows),
            "left_out": _left_out(prepared.material, rows),
            "batches": prepared.batches,
            "turns_trained": learner.versions.progress.turns,
            **prepared.notes,
            "before": before,
            "after": after,
        }
    write_json(report_file, report)
    return report


def _left_out(material: Material, rows: RowSets) -> dict[str, int]:
    """Rows that are not learnt from, by reason."""
    held_out_too = {"its prompt is held out": rows.held_out_too} if rows.held_out_too else {}
    return {**material.skipped, **held_out_too}


class _Prepared(NamedTuple):
    source: Source
    material: Material
    held_out: Material
    batches: int
    notes: dict[str, Any]


def _prepare(
    config: RunConfig,
    paths: RunPaths,
    model: LoadedModel,
    rows: RowSets,
    learner: Learner,
    reward: ReplyScorer | None,
) -> _Prepared:
    """The source that the objective asks for."""
    offline, objective = config.offline, config.objective
    draws = not (objective.is_dpo or objective.name == "sft")
    paired = partial(pairs_of, min_margin=offline.min_margin)
    chosen = questions_of if draws else paired if objective.is_dpo else examples_of
    prompts, longest = prompts_of(model.tokenizer, config.gateway), config.learner.max_tokens
    material = read_material(
        prompts,
        chosen(rows.train),
        max_tokens=min(longest, model.context_length) if draws else longest,
        answer_tokens=offline.max_response_tokens if draws else 0,
    )
    usable, seed = _some(material, rows.train), config.run.seed
    mixture = Mixture(
        usable,
        weights=offline.weights,
        caps=offline.caps,
        is_once=offline.batches is None,
        seed=seed,
    )
    held_out = read_material(
        prompts, paired(rows.held_out) or examples_of(rows.held_out), max_tokens=longest
    )
    batches = offline.batches or -(-mixture.size // offline.batch_rows)
    if not draws:
        source = WrittenReplies(material, mixture, learner.scorer, size=offline.batch_rows)
        return _Prepared(source, material, held_out, batches, {})
    notes: dict[str, Any] = {}
    if reward is None:
        reward, notes = _reward_model(config, paths, rows)
    engine = dataclasses.replace(
        config.engine,
        slots=min(offline.batch_rows * offline.samples, _MOST_AT_ONCE),
        kept_prefixes=0,
    )
    lora = config.learner.lora if learner.versions.train_step.is_lora else None
    source = Rollouts(
        material,
        mixture,
        Sampler(model, engine, lora),
        reward,
        model.tokenizer,
        size=offline.batch_rows,
        samples=offline.samples,
        sampling=SamplingParams(offline.max_response_tokens, temperature=offline.temperature),
        seed=config.run.seed,
    )
    return _Prepared(source, material, held_out, batches, notes)


def _some(material: Material, train: Sequence[Row]) -> Sequence[Row]:
    if not material.rows:
        msg = (
            f"{len(train)} rows hold nothing that this objective learns from; left out: "
            f"{dict(material.skipped)}: dpo needs pairs, sft chosen or liked replies"
        )
        raise DataError(msg)
    return material.rows


def _reward_model(
    config: RunConfig, paths: RunPaths, rows: RowSets
) -> tuple[ReplyScorer, dict[str, Any]]:
    """The one that is named, or else the run's own, fitted once to the training pairs."""
    own = paths.root / "reward_model.safetensors"
    named = config.offline.reward_model
    if named is not None and Path(named).is_dir():
        limit = config.reward.reward_model.max_disagreement
        stored = StoredScorer(Path(named), max_disagreement=limit)
        return stored, {"reward_model": {"folder": named, "version": stored.version}}
    features = packaged_features()
    file = own if named is None else Path(named)
    train, held_out = (
        pairs_of(side, min_margin=config.offline.min_margin) for side in (rows.train, rows.held_out)
    )
    if named is None and not own.exists():
        PairModel.fit(train, features).save(own)
    found = PairModel.load(file, features)
    accuracy = {"train": found.accuracy(train), "held_out": found.accuracy(held_out)}
    return found, {"reward_model": {"file": str(file), "accuracy": accuracy}}


def _measure(held_out: Material, learner: Learner, monitor: JsonlMonitor) -> dict[str, float]:
    found = held_out_metrics(
        held_out,
        learner.scorer,
        policy=learner.versions.policy,
        base=learner.versions.train_step.base,
    )
    if found:
        monitor.log(found, step=learner.version)
    return found


def _learner(
    config: RunConfig,
    paths: RunPaths,
    model: LoadedModel,
    log: SqlTurnLog,
    monitor: JsonlMonitor,
) -> Learner:
    try:
        return build_learner(
            model=model,
            objective=config.objective,
            learner=config.learner,
            reward=config.reward,
            log=log,
            store=DirectoryWeightStore(paths.weights, keep=config.learner.keep_versions),
            monitor=monitor,
            run_dir=paths.root,
            seed=config.run.seed,
            fixed_text=fixed_text(),
            engine=config.engine,
            gateway=config.gateway,
            origin=partial(_origin, config, model),
            profile_steps=config.run.profile_steps,
        )
    except LearnerError as error:
        raise ConfigError(str(error)) from error


def _origin(config: RunConfig, model: LoadedModel) -> Params | None:
    """The weights that another run serves, where training is to start from them."""
    start = start_of(config)
    if start is None:
        return None
    return Publisher(start.store, model, config.learner).load(start.version.version)


def _checked(config: RunConfig, *, is_given: bool = False) -> RunConfig:
    """What no group can check alone.

    Raises:
        ConfigError: no files, an objective that needs a user, credit of one's own that cannot be
            had, or batches that are too large.
    """
    build_credit(config.objective)
    offline, objective = config.offline, config.objective
    require(
        is_given or bool(offline.files),
        "offline.files is empty: name files of JSON lines, e.g. offline.files=[preferences.jsonl]",
    )
    require(
        offline.provenance in tuple(Provenance),
        f"offline.provenance={offline.provenance!r} is unknown: use {', '.join(Provenance)}",
    )
    require(
        not objective.uses_teacher
        and objective.replay_praised == 0
        and objective.practice.rounds == 0,
        f"objective={objective.name} learns from what a user says next, which a data set does not "
        "have: use sft, dpo, rlhf or grpo",
    )
    replies = offline.batch_rows * (2 if objective.is_dpo else offline.samples)
    require(
        replies <= MOST_REPLIES,
        f"offline.batch_rows={offline.batch_rows} makes batches of {replies} replies, above "
        f"{MOST_REPLIES}: lower it",
    )
    require(
        config.learner.mesh.is_one_device and not config.learner.distributed.enabled,
        "training on data sets runs on one device of one process: set learner.mesh to 1 x 1 x 1",
    )
    return config


def _without_waits(config: RunConfig) -> RunConfig:
    """A step is due as soon as a batch is there, takes all of it, and never rests."""
    learner = dataclasses.replace(
        config.learner,
        batch_turns=MOST_REPLIES,
        min_turns=1,
        max_wait_s=0.0,
        rest_above=None,
        max_key_share=None,
        max_session_share=None,
    )
    return dataclasses.replace(config, learner=learner)
