"""`clawjax status` on whether a run is learning."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from test_cli import link, turn

from clawjax.cli import main
from clawjax.config import ModelConfig, RunConfig, RunSection
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.records import (
    DropReason,
    LinkKind,
    NextState,
    NextStateKind,
    Outcome,
    Verdict,
    VersionRun,
)
from clawjax.testing import temporary_log
from clawjax.weights import DirectoryWeightStore


@pytest.fixture
def folder(tmp_path) -> Path:
    config = RunConfig(run=RunSection(dir=str(tmp_path)), model=ModelConfig(path="random:llama"))
    config.gateway.port = 9
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    return tmp_path


class Talk:
    """Adds judged replies to a run's log, one minute and one conversation of four after another."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.count = 0

    def reply(self, version: int, *scores: float | None, ends: bool = True, placed: bool = True):
        log = temporary_log(self.folder)
        for score in scores:
            name = f"t{self.count}"
            said = turn(name, session=f"s{self.count // 4}", at=60.0 * self.count)
            self.count += 1
            log.append(replace(said, token_versions=(VersionRun(version, 2),)))
            if placed:
                log.append(link(name, LinkKind.NEW))
            log.append(
                NextState(name, NextStateKind.USER, said.arrived_at + 1),
                Verdict(name, "next_state", score, said.arrived_at + 2),
            )
            if ends and score is None:
                log.append(Outcome(name, 0.0, drop_reason=DropReason.ABSTAINED))
            elif ends:
                log.append(Outcome(name, 0.0, trained_version=version + 1))
        log.close()


def status(folder: Path, capsys) -> str:
    assert main(["status", str(folder)]) == 1
    return capsys.readouterr().out


def test_replies_of_later_versions_that_are_liked_better_are_told_as_that(folder, capsys):
    talk = Talk(folder)
    talk.reply(0, *[-1.0, -1.0, 1.0, -1.0] * 4)
    for version in range(1, 5):
        talk.reply(version, *[1.0, 1.0, None, 1.0, 1.0, -1.0] * 2)
    said = status(folder, capsys)
    assert "liked    at first -0.50 in the mean, 4 of 16 praised (version 0)" in said
    assert "now      +0.60 in the mean, 32 of 40 praised (versions 1 to 4)" in said
    assert "that is  +1.10 (95 %: +0." in said
    assert "better than chance explains" in said
    assert "of late" not in said


def test_redacted_replies_take_no_place_from_those_that_count(folder, capsys):
    talk = Talk(folder)
    redacted = replace(turn("gone", at=0.0), token_versions=())
    log = temporary_log(folder)
    for index in range(60):
        name = f"gone{index}"
        log.append(replace(redacted, turn_id=name, response_id=name), link(name, LinkKind.NEW))
        log.append(NextState(name, NextStateKind.USER, 1.0), Verdict(name, "next_state", 1.0, 2.0))
    log.close()
    talk.reply(0, *[-1.0, -1.0, 1.0, -1.0] * 4)
    talk.reply(1, *[1.0, 1.0, 1.0, -1.0] * 4)
    said = status(folder, capsys)
    assert "liked    at first -0.50 in the mean, 4 of 16 praised (version 0)" in said


def test_what_chance_may_do_is_not_told_as_learning(folder, capsys):
    talk = Talk(folder)
    talk.reply(0, -1.0, -1.0, -1.0, 1.0)
    talk.reply(1, 1.0, -1.0, 1.0, 1.0)
    said = status(folder, capsys)
    assert "that is  +1.00 (95 %: -" in said
    assert "which chance may do" in said


def test_what_is_liked_less_is_told_too_and_so_is_how_it_went_of_late(folder, capsys):
    talk = Talk(folder)
    talk.reply(3, *[1.0] * 20)
    talk.reply(4, *[1.0] * 40)
    talk.reply(5, *[-1.0] * 48)
    said = status(folder, capsys)
    assert "at first +1.00 in the mean, 20 of 20 praised (version 3)" in said
    assert "now      -1.00 in the mean, 0 of 48 praised (version 5)" in said
    assert said.count("worse than chance explains") == 2
    assert "of late  -2.00" in said
    assert "against the 40 before" in said


def test_a_long_conversation_is_less_evidence_than_many_short_ones(folder, capsys):
    scores = {0: [-1.0] * 8 + [1.0] * 8, 1: [1.0] * 16 + [-1.0] * 8}
    log = temporary_log(folder)
    count = 0
    for version, given in scores.items():
        for score in given:
            name = f"t{count}"
            said = turn(name, session=f"s{version}", at=60.0 * count)
            log.append(replace(said, token_versions=(VersionRun(version, 2),)), link(name))
            log.append(Verdict(name, "next_state", score, 1.0))
            count += 1
    log.close()
    assert main(["status", str(folder), "--json"]) == 1
    one_each = json.loads(capsys.readouterr().out)["learning"]["replies"]["change"]
    assert one_each["high"] - one_each["low"] > 1.7  # 1.1 if all were independent


def test_how_far_learning_has_come_and_what_it_waits_for(folder, capsys, monkeypatch):
    talk = Talk(folder)
    talk.reply(0, *[1.0] * 5)
    talk.reply(1, 1.0, None, -1.0, ends=False)
    DirectoryWeightStore(folder / "weights", clock=lambda: 1000.0).publish(
        {"w": np.zeros(1, np.float32)},
        version=1,
        parent=0,
        step=1,
        base_model="b",
        kind="adapter",
        config={},
    )
    monitor = JsonlMonitor(folder / "metrics.jsonl")
    monitor.log({"train/kl": 0.031, "train/loss": 1.0}, step=1)
    monitor.log({"engine/running": 1.0})
    monitor.close()
    monkeypatch.setattr("time.time", lambda: 1000.0 + 600)
    said = status(folder, capsys)
    assert "version 1 was made 10 minutes ago, KL to the base 0.031 nats/token" in said
    assert "next     2 of 16 judged turns that a step begins with; 4 are enough after 30 s" in said


def test_before_anything_was_judged_or_trained_that_is_said(folder, capsys):
    assert "liked    not known yet" not in status(folder, capsys)  # there is no log at all
    talk = Talk(folder)
    talk.reply(0, None)
    assert "liked    not known yet: no reply has a score" in status(folder, capsys)
    talk.reply(0, 1.0)
    said = status(folder, capsys)
    assert "at first +1.00 in the mean, 1 of 1 praised (version 0)" in said
    assert "no reply of a later version has a score yet" in said


def test_rows_of_a_data_set_are_nobodys_replies(folder, capsys):
    talk = Talk(folder)
    talk.reply(0, *[-1.0] * 16, placed=False)
    talk.reply(1, *[1.0] * 16, placed=False)
    assert "not known yet" in status(folder, capsys)


def test_a_log_that_is_elsewhere_can_be_named(folder, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Talk(elsewhere).reply(0, 1.0, 1.0)
    assert main(["status", str(folder), "--log", f"sqlite:///{elsewhere}/turns.db"]) == 1
    said = capsys.readouterr().out
    assert "2 logged, 2 trained" in said
    assert "2 of 2 praised (version 0)" in said
