"""Training on data sets, on the tiny model: by the learner that learns from people."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from omegaconf import OmegaConf
from turn_records import make_turn

from clawjax.config import (
    Baseline,
    DriftConfig,
    EngineConfig,
    LearnerConfig,
    LogConfig,
    LoraConfig,
    ModelConfig,
    Normalisation,
    ObjectiveConfig,
    OfflineConfig,
    PolicyLoss,
    RunConfig,
    RunSection,
)
from clawjax.data.preferences import Preference, Provenance, Rated
from clawjax.errors import ConfigError, DataError
from clawjax.learner.offline.encoding import encode_reply
from clawjax.learner.offline.trainer import CURSOR
from clawjax.log.owner import owner_of
from clawjax.log.replay import replay
from clawjax.metrics.jsonl import read_jsonl
from clawjax.models.load import LoadedModel, load_model
from clawjax.records import Message
from clawjax.rendering.prompts import Prompts
from clawjax.runtime.build import open_log
from clawjax.runtime.offline import train_offline, train_on
from clawjax.runtime.offline_rows import RowSets
from clawjax.runtime.owning import open_own_log
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.rehearsal import rehearse_data
from clawjax.weights import DirectoryWeightStore

ROOT = Path(__file__).resolve().parents[2]
SFT = ObjectiveConfig(name="sft", policy_loss=PolicyLoss.sft, kl_coef=0.0)
DPO = ObjectiveConfig(
    name="dpo",
    policy_loss=PolicyLoss.reinforce,
    normalisation=Normalisation.turn_sum,
    kl_coef=0.0,
)
RLHF = ObjectiveConfig(baseline=Baseline.rloo, kl_coef=0.0)


def pair(number: int, *, who: Provenance = Provenance.HUMAN) -> Preference:
    """Somebody likes a's and not b's."""
    return Preference(
        (Message("user", f"Number {number}?"),),
        Message("assistant", "aaaa aaaa"),
        Message("assistant", "bbbb bbbb"),
        who,
        user=f"user{number}",
        source=f"row {number}",
    )


PAIRS = [pair(n, who=Provenance.SYNTHETIC if n % 4 == 0 else Provenance.HUMAN) for n in range(8)]
ROWS = RowSets(PAIRS, [pair(99)])


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", path="random:llama", context_length=256))


def config(folder: Path, objective: ObjectiveConfig, **offline: object) -> RunConfig:
    return RunConfig(
        run=RunSection(dir=str(folder)),
        model=ModelConfig(name="tiny", path="random:llama", context_length=256),
        engine=EngineConfig(
            slots=4,
            prefill_chunk=32,
            live_buckets=[128],
            max_response_tokens=8,
            warm_up=False,
            compilation_cache=None,
        ),
        log=LogConfig(url=f"sqlite:///{folder / 'turns.db'}"),
        objective=objective,
        learner=LearnerConfig(
            lora=LoraConfig(rank=4),
            max_tokens=128,
            length_buckets=[128],
            micro_batch_tokens=512,
            learning_rate=1e-2,
        ),
        offline=OfflineConfig(**{"batch_rows": 4, "max_response_tokens": 8} | offline),  # pyright: ignore[reportArgumentType]
    )


def trained(folder: Path, model: LoadedModel, objective: ObjectiveConfig, **more) -> dict:
    stop, reward = more.pop("stop", None), more.pop("reward", None)
    rows, learner = more.pop("rows", ROWS), more.pop("learner", {})
    paths = RunPaths(folder)
    paths.prepare()
    chosen = config(folder, objective, **more)
    chosen = replace(chosen, learner=replace(chosen.learner, **learner))
    return train_on(chosen, paths, model, rows, stop=stop, reward=reward)


class AfterBatches:
    """Says stop when so many batches have been taken."""

    def __init__(self, count: int) -> None:
        self._left = count

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0

    def wait(self, timeout: float) -> bool:
        raise AssertionError(timeout)


def weights(folder: Path) -> dict[str, np.ndarray]:
    store = DirectoryWeightStore(RunPaths(folder).weights)
    latest = store.latest()
    assert latest is not None
    return store.load(latest.version)[1]


def test_a_reply_is_encoded_as_the_model_would_have_written_it(model):
    prompt, reply = (Message("user", "Hi <|im_end|>"),), Message("assistant", "Ho <|im_end|> ho")
    tokenizer = model.tokenizer
    encoded = encode_reply(Prompts(tokenizer), prompt, reply)
    assert encoded.prompt_ids == tokenizer.encode_prompt(tokenizer.render(prompt))
    assert encoded.response_ids[-1] in tokenizer.eos_ids
    assert not set(encoded.response_ids[:-1]) & tokenizer.eos_ids, "typed marks are words"
    assert tokenizer.decode(encoded.response_ids[:-1]) == reply.content


def test_imitation_makes_chosen_replies_likelier_and_resumes_where_it_stopped(tmp_path, model):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    report = trained(whole, model, SFT, batches=4)
    assert report["after"]["offline/nll_per_token"] < report["before"]["offline/nll_per_token"] - 1
    assert (report["is_done"], report["version"], report["turns_trained"]) == (True, 4, 16)
    lines = read_jsonl(whole / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses == sorted(losses, reverse=True)
    shares = [line["data/share/synthetic"] for line in lines if "data/share/synthetic" in line]
    assert shares == [0.25] * 4
    assert not trained(parted, model, SFT, batches=4, stop=AfterBatches(2))["is_done"]
    assert trained(parted, model, SFT, batches=4) == report
    with pytest.raises(ConfigError, match="a run on other rows, or by another objective"):
        trained(parted, model, SFT, batches=4, rows=RowSets([pair(50)], []))
    with pytest.raises(ConfigError, match=r"objective\.name='sft' there, 'dpo' now"):
        trained(parted, model, DPO, batches=4)
    with pytest.raises(ConfigError, match=r"learner\.learning_rate=0\.01 there, 0.001 now"):
        trained(parted, model, SFT, batches=4, learner={"learning_rate": 1e-3})
    assert OmegaConf.load(parted / "config.yaml").learner.learning_rate == 1e-2
    for name, tensor in weights(whole).items():
        np.testing.assert_array_equal(tensor, weights(parted)[name], name)
    trained(whole, model, SFT, batches=5, learner={"poll_s": 0.5})
    now = OmegaConf.load(whole / "config.yaml")
    assert (now.objective.name, now.offline.batches, now.learner.poll_s) == ("sft", 5, 0.5)


def test_so_many_versions_stay_as_are_to_be_kept(tmp_path, model):
    report = trained(tmp_path, model, SFT, batches=3, learner={"keep_versions": 2})
    assert report["version"] == 3
    kept = DirectoryWeightStore(RunPaths(tmp_path).weights).versions()
    assert [version.version for version in kept] == [2, 3]


def test_comparison_prefers_what_was_chosen_and_starts_where_it_is_told_to(tmp_path, model):
    report = trained(tmp_path / "dpo", model, DPO, batches=3)
    assert report["before"]["offline/accuracy"] == 0.5
    assert report["after"]["offline/accuracy"] == 1.0
    assert report["after"]["offline/margin"] > 1
    log = open_log(config(tmp_path / "dpo", DPO).log)
    judged = list(replay(log))
    log.close()
    assert len(judged) == 24
    assert {one.turn.reply.content: one.verdicts[0].score for one in judged} == {
        "aaaa aaaa": 1.0,
        "bbbb bbbb": -1.0,
    }
    further = trained(
        tmp_path / "more", model, DPO, batches=1, start_from=str(tmp_path / "dpo"), batch_rows=2
    )
    assert further["before"]["offline/margin"] == pytest.approx(report["after"]["offline/margin"])
    with pytest.raises(ConfigError, match="serves no trained version"):
        trained(tmp_path / "none", model, DPO, start_from=str(tmp_path / "nowhere"))


def test_adapters_of_other_settings_are_not_what_was_served_and_are_refused(tmp_path, model):
    trained(tmp_path / "dpo", model, DPO, batches=1)
    further = {"batches": 1, "start_from": str(tmp_path / "dpo")}
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Hello?", "chosen": "Hello.", "rejected": "What?"}))
    for name, learner in (
        ("alpha=32.0, this run has 8.0", {"lora": LoraConfig(rank=4, alpha=8.0)}),
        ("rank=4, this run has 2", {"lora": LoraConfig(rank=2)}),
        ("targets=", {"lora": LoraConfig(rank=4, targets=["q_proj"])}),
    ):
        told = rf"offline\.start_from=.*/dpo has adapters of learner\.lora\.{name}"
        with pytest.raises(ConfigError, match=told):
            trained(tmp_path / name[:5], model, DPO, learner=learner, **further)
        rehearsed = config(tmp_path, DPO, files=[str(rows)], held_out=0.0, **further)
        with pytest.raises(ConfigError, match=told):
            rehearse_data(replace(rehearsed, learner=replace(rehearsed.learner, **learner)))
    with pytest.raises(ConfigError, match=r"trained with learner\.method=lora, this run has full"):
        trained(tmp_path / "full", model, DPO, learner={"method": "full"}, **further)


def test_who_gave_most_of_the_rows_is_learnt_from_as_often_as_they_gave(tmp_path, model):
    rows = [replace(pair(n), user="anna" if n else "ben") for n in range(8)]
    report = trained(tmp_path, model, SFT, rows=RowSets(rows, []), batches=4)
    assert (report["version"], report["turns_trained"]) == (4, 16)


def test_every_row_is_learnt_from_once_where_nobody_says_how_many_batches(tmp_path, model):
    report = trained(tmp_path, model, SFT, rows=RowSets(PAIRS[:5], []))
    assert (report["batches"], report["version"], report["turns_trained"]) == (2, 2, 5)


def test_a_refused_version_leads_back_to_where_training_started(tmp_path, model):
    trained(tmp_path / "sft", model, SFT, batches=2)
    drift = DriftConfig(max_kl=1e-6)
    further = {"batches": 1, "start_from": str(tmp_path / "sft"), "learner": {"drift": drift}}
    report = trained(tmp_path / "more", model, SFT, **further)
    assert report["version"] == 1
    assert report["after"] == report["before"]
    assert trained(tmp_path / "more", model, SFT, **further) == report


class LikesPlainLetters:
    """A reward that a policy can earn; about one reply it cannot tell."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, prompt, reply):
        assert prompt[-1].role == "user"
        self.asked += 1
        if self.asked == 3:
            return None
        return 2 * fmean(letter.isascii() for letter in reply) - 1 if reply else -1.0


def test_what_is_left_out_is_told_by_reason(tmp_path, model):
    """Questions that leave no room for a reply, also where `learner.max_tokens` allows more."""
    long = replace(PAIRS[0], prompt=(Message("user", "Number " * 60),))
    short = replace(model, context_length=64)
    sizes = {"batches": 1, "samples": 2, "max_response_tokens": 2}
    rows = RowSets([*PAIRS, long], [], held_out_too=3)
    report = trained(tmp_path, short, RLHF, reward=LikesPlainLetters(), rows=rows, **sizes)
    assert report["left_out"].pop("its prompt is held out") == 3
    assert sum(report["left_out"].values()) == 1
    assert report["version"] == 1


def test_replies_are_drawn_scored_and_learnt_from(tmp_path, model):
    reward = LikesPlainLetters()
    sizes = {"batches": 12, "samples": 16, "max_response_tokens": 2}
    report = trained(tmp_path, model, RLHF, reward=reward, **sizes)
    assert (report["version"], reward.asked) == (12, 12 * 4 * 16)
    log = open_log(config(tmp_path, RLHF).log)
    scores: dict[int, list[float]] = {}
    for one in replay(log):
        score, version = one.verdicts[0].score, one.turn.token_versions[0].version
        if score is not None:
            scores.setdefault(version, []).append(score)
    assert log.counts().dropped["abstained"] == 1
    log.close()
    means = [fmean(scores[version]) for version in range(12)]
    assert fmean(means[-2:]) > fmean(means[:2]) + 0.2, means
    lines = read_jsonl(tmp_path / "metrics.jsonl")
    unscored = [line["data/unscored"] for line in lines if "data/unscored" in line]
    assert unscored == [1.0, *[0.0] * 11]
    mismatch = [line["train/mean_abs_logprob_diff"] for line in lines if "train/loss" in line]
    assert max(mismatch) < 1e-3, "what is drawn is what is trained"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, "offline.files is empty"),
        ({"files": ["x"], "provenance": "cat"}, "offline.provenance='cat' is unknown"),
        ({"files": ["x"], "batch_rows": 1000}, "batches of 2000 replies, above 1024"),
        ({"files": ["x"], "batches": 0}, "offline.batches=0 is too small"),
        ({"files": ["/no/such/file"]}, "/no/such/file cannot be read"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_written(tmp_path, changes, fault):
    with pytest.raises((ConfigError, DataError), match=fault):
        train_offline(config(tmp_path, DPO, **changes))


def test_rows_of_another_kind_are_refused(tmp_path, model):
    paths = RunPaths(tmp_path)
    paths.prepare()
    blamed = Rated(PAIRS[0].prompt, PAIRS[0].rejected, -1.0, Provenance.HUMAN)
    with pytest.raises(DataError, match="hold nothing that this objective learns from"):
        train_on(config(tmp_path, SFT), paths, model, RowSets([blamed], []))
    combined = ObjectiveConfig(name="combined", w_opd=1.0)
    with pytest.raises(ConfigError, match="use sft, dpo, rlhf or grpo"):
        train_on(config(tmp_path, combined), paths, model, ROWS)


def test_another_runs_log_is_refused_before_anything_is_learnt(tmp_path, model):
    first, second = RunPaths(tmp_path / "a"), RunPaths(tmp_path / "b")
    for paths in (first, second):
        paths.prepare()
    shared = config(first.root, SFT)
    open_own_log(shared, first).close()
    with pytest.raises(ConfigError, match="two runs that learn from one log"):
        train_on(replace(config(second.root, SFT), log=shared.log), second, model, ROWS)
    assert not second.weights.exists()


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize("holds", ["batches", "turns"])
def test_what_another_run_left_in_a_log_is_not_taken_over(tmp_path, model, holds, is_begun):
    first, second = RunPaths(tmp_path / "a"), RunPaths(tmp_path / "b")
    for paths in (first, second):
        paths.prepare()
    chosen = config(second.root, SFT, batches=4)
    shared = replace(chosen, log=replace(config(first.root, SFT).log, takes_over=True))
    if is_begun:
        (second.root / "offline.json").write_text('{"before": {}}')
    log = open_own_log(shared, first)
    log.move_cursor(CURSOR, 4) if holds == "batches" else log.append(make_turn("t"))
    owner = owner_of(log)
    with pytest.raises(ConfigError, match=r"holds turns of the run in .*/a .*log_owner was lost"):
        train_on(shared, second, model, ROWS)
    assert owner_of(log) == owner, "nothing is owned by that"
    assert (second.root / "offline.json").exists() == is_begun, "nothing is measured"
    log.close()


def test_batches_that_a_folder_has_not_begun_with_are_not_passed_over(tmp_path, model):
    log = open_log(config(tmp_path, SFT).log)
    log.move_cursor(CURSOR, 1)
    log.close()
    with pytest.raises(ConfigError, match=r"holds 1 batches of a data set that run\.dir="):
        trained(tmp_path, model, SFT, batches=2)


def test_a_log_that_holds_nothing_can_be_taken_over(tmp_path, model):
    first, second = RunPaths(tmp_path / "a"), RunPaths(tmp_path / "b")
    for paths in (first, second):
        paths.prepare()
    chosen = config(first.root, SFT, batches=1)
    open_own_log(chosen, first).close()
    shared = replace(chosen, log=replace(chosen.log, takes_over=True))
    assert train_on(shared, second, model, ROWS)["version"] == 1


@pytest.mark.slow
def test_the_program_trains_on_a_file(tmp_path):
    file = tmp_path / "pairs.jsonl"
    lines = [
        {"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No.", "user": f"u{n}"}
        for n in range(12)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments" / "train_offline.py"),
            "objective=dpo",
            "model=tiny",
            "engine=tiny",
            "learner=tiny",
            "monitor=wandb",
            "monitor.wandb=offline",
            f"offline.files=[{file}]",
            "offline.held_out=0.3",
            "offline.batch_rows=4",
            f"run.dir={tmp_path / 'run'}",
            f"hydra.run.dir={tmp_path / 'run'}",
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "run" / "offline.json").read_text())
    assert report["after"]["offline/margin"] > 0
    score = json.loads((tmp_path / "run" / "score.json").read_text())["score"]
    assert score == report["after"]["offline/accuracy"], "a sweep goes by it"
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
