"""`clawjax status`, `doctor` and `export`."""

import json
import socket
import socketserver
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from test_cli import turn

from clawjax.cli import main
from clawjax.cli.checkup import Grade, check_judge
from clawjax.config import (
    CompositeConfig,
    LlmJudgeConfig,
    ModelConfig,
    RewardConfig,
    RunConfig,
    RunSection,
)
from clawjax.keys import KEY_FILE, KeyFile, Role, new_key
from clawjax.records import DropReason, Message, NextState, NextStateKind, Outcome, Verdict
from clawjax.testing import temporary_log
from clawjax.weights import DirectoryWeightStore

HEALTH = {
    "ok": True,
    "engine": {
        "running": 1,
        "waiting": 0,
        "slots": 8,
        "tokens_per_s": 20.5,
        "prefix_hit_rate": 0.5,
    },
    "loops": {"serve": {"state": "running"}, "learn": {"state": "waiting"}},
    "counts": {"logged": 9, "trained": 4, "pending": 3, "dropped": {"side": 2}},
}


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {"/healthz": HEALTH, "/v1/models": {"data": [{"id": "smollm2"}]}}
        body = json.dumps(answers.get(self.path, {})).encode()
        self.send_response(200 if self.path in answers else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture
def another_service() -> Iterator[int]:
    """The port of something that listens and does not speak HTTP."""

    class Banner(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"SSH-2.0-x\r\n")
            self.request.recv(4096)

    with socketserver.TCPServer(("127.0.0.1", 0), Banner) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(30)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    monkeypatch.delenv("CLAWJAX_API_KEY", raising=False)

    def make(port: int, **gateway) -> str:
        config = RunConfig(
            run=RunSection(dir=str(tmp_path)), model=ModelConfig(path="random:llama")
        )
        config.gateway.port = port
        for name, value in gateway.items():
            setattr(config.gateway, name, value)
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
        log = temporary_log(tmp_path)
        log.append(
            turn("good"),
            NextState("good", NextStateKind.USER, 110.0, (Message("user", "thanks"),)),
            Verdict("good", "next_state", 0.8, 111.0),
            Outcome("good", 112.0, trained_version=1),
            turn("bad"),
            Verdict("bad", "next_state", 1.0, 111.0),
            NextState("bad", NextStateKind.FEEDBACK, 115.0, score=-1.0),
            turn("unknown"),
            Outcome("unknown", 112.0, drop_reason=DropReason.ABSTAINED),
        )
        log.close()
        return str(tmp_path)

    return make


def test_the_status_of_a_run_that_serves(make_run, endpoint, tmp_path, capsys):
    KeyFile(tmp_path / KEY_FILE).add(new_key("phone", [Role.CHAT], now=1.0).key)
    assert main(["status", make_run(endpoint)]) == 0
    said = capsys.readouterr().out
    assert f"serving, http://127.0.0.1:{endpoint}" in said
    assert "8 slots, 20.5 tokens/s, 50% of prompt tokens known before" in said
    assert "loops    serve running, learn waiting" in said
    assert "9 logged, 4 trained, 2 dropped, 3 pending" in said
    assert "1 live in keys.json" in said


def test_the_status_says_which_loop_stands_still_and_why(make_run, endpoint, free_port, capsys):
    run = Path(make_run(endpoint))
    stopped = {"state": "stopped", "restarts": 5, "reason": "learn died 6 times: out of memory"}
    HEALTH["loops"]["learn"] = stopped
    try:
        assert main(["status", str(run)]) == 0
    finally:
        HEALTH["loops"]["learn"] = {"state": "waiting"}
    said = capsys.readouterr().out
    assert "loops    serve running, learn stopped\n           learn: learn died 6 times" in said
    waits = {"state": "restarting", "restarts": 0, "reason": "disk is full"}
    (run / "processes.json").write_text(json.dumps({"serve": waits, "learn": {"state": "running"}}))
    make_run(free_port)
    assert main(["status", str(run)]) == 1
    said = capsys.readouterr().out
    assert "not there" in said
    assert "loops    serve restarting\n           serve: disk is full" in said


def test_the_status_says_that_older_weights_are_served_and_why(
    make_run, endpoint, monkeypatch, capsys
):
    run = make_run(endpoint)
    trouble = "http://a serves version 0 and does not take 1: it does not load /x"
    monkeypatch.setitem(HEALTH, "engine", HEALTH["engine"] | {"trouble": trouble})
    monkeypatch.setitem(HEALTH, "version", 7)
    assert main(["status", run]) == 0
    said = capsys.readouterr().out
    assert f"serving, degraded, http://127.0.0.1:{endpoint}" in said
    assert f"\n           {trouble}\n" in said
    assert "version 7 served" in said
    monkeypatch.setitem(HEALTH, "ok", False)
    assert main(["status", run]) == 1
    said = capsys.readouterr().out
    assert "not able to answer" in said
    assert trouble in said


def test_the_status_of_a_run_that_has_stopped(make_run, free_port, capsys):
    assert main(["status", make_run(free_port), "--json"]) == 1
    status = json.loads(capsys.readouterr().out)
    assert status["is_serving"] is False
    assert (status["turns"]["logged"], status["turns"]["trained"]) == (3, 1)
    assert status["weights"] == {"served": 0, "made": 0, "refused": 0}


def test_the_status_counts_versions_that_are_no_longer_held(make_run, free_port, capsys):
    run = make_run(free_port)
    store = DirectoryWeightStore(Path(run) / "weights", keep=1)
    for version, parent, refused in ((1, 0, None), (2, 1, "KL is 0.5"), (3, 1, None), (4, 3, None)):
        store.publish(
            {"x": np.full(8, version, np.float32)},
            version=version, parent=parent, step=version, base_model="m", kind="adapter",
            config={}, refused=refused,
        )  # fmt: skip
    assert [held.version for held in store.versions()] == [4]
    assert main(["status", run, "--json"]) == 1
    status = json.loads(capsys.readouterr().out)
    assert status["weights"] == {"served": 4, "made": 4, "refused": 1}


def test_a_log_that_cannot_be_read_is_named_while_the_endpoint_says_the_balance(
    make_run, endpoint, free_port, capsys
):
    run = make_run(endpoint)
    (Path(run) / "turns.db").write_text("no database at all, but long enough to be looked at" * 9)
    assert main(["status", run]) == 0
    said = capsys.readouterr().out
    assert "9 logged, 4 trained" in said
    assert "file is not a database" in said
    config = Path(run) / "config.yaml"
    config.write_text(config.read_text().replace(f"port: {endpoint}", f"port: {free_port}"))
    assert main(["status", run]) == 2
    assert "file is not a database" in capsys.readouterr().err


def test_another_run_on_the_port_of_a_stopped_one_is_not_taken_for_it(
    make_run, endpoint, monkeypatch, capsys
):
    run = make_run(endpoint)
    monkeypatch.setitem(HEALTH, "run", "serve")
    assert main(["status", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["served_there"] is None
    monkeypatch.setitem(HEALTH, "run", "night")
    assert main(["status", run]) == 1
    said = capsys.readouterr().out
    assert "not there" in said
    assert "the run night answers there" in said
    assert "3 logged, 1 trained" in said
    assert main(["doctor", run]) == 0
    assert f"the run night answers on 127.0.0.1:{endpoint}: stop it" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["run: {name: [", "run: *x", "- serve", "7"])
def test_a_damaged_configuration_is_named(make_run, free_port, text, tmp_path, capsys):
    run = make_run(free_port)
    (tmp_path / "config.yaml").write_text(text)
    for command in ("status", "doctor"):
        assert main([command, run]) == 2
        said = capsys.readouterr().err
        assert str(tmp_path / "config.yaml") in said
        assert "start the run again" in said


def test_what_is_no_endpoint_does_not_serve(make_run, another_service, capsys):
    assert main(["status", make_run(another_service), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["is_serving"] is False
    judge = LlmJudgeConfig(base_url=f"http://127.0.0.1:{another_service}/v1")
    config = RunConfig(
        model=ModelConfig(path="random:llama"),
        reward=RewardConfig(modules=["llm_judge"], llm_judge=judge),
    )
    assert "does not answer (SSH-2.0-x" in check_judge(config).text


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "name the folder of a run" in capsys.readouterr().err


def test_a_machine_that_is_fit(make_run, free_port, capsys):
    assert main(["doctor", make_run(free_port)]) == 0
    said = capsys.readouterr().out
    assert [line.split()[1] for line in said.splitlines()] == [
        *("versions", "devices", "port", "disk", "model", "keys", "judge", "self-test")
    ]
    assert "WRONG" not in said
    assert f"127.0.0.1:{free_port} is free" in said


def test_what_is_wrong_comes_with_the_fix(make_run, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = make_run(taken.getsockname()[1])
        config = OmegaConf.load(tmp_path / "config.yaml")
        config.model.path = "/no/such/model"
        config.reward.modules = ["llm_judge"]
        config.reward.llm_judge.base_url = "http://127.0.0.1:9/v1"
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config))
        (tmp_path / KEY_FILE).write_text("{")
        assert main(["doctor", run]) == 1
    said = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert "stop what listens there" in said["port"]
    assert "/no/such/model" in said["model"]
    assert "not readable as a file of keys" in said["keys"]
    assert "does not answer" in said["judge"]
    for name in ("port", "model", "keys", "judge"):
        assert said[name].startswith("WRONG")


def test_a_judge_that_answers_and_an_open_door(make_run, endpoint, tmp_path, capsys):
    run = make_run(endpoint, host="0.0.0.0")
    config = OmegaConf.load(tmp_path / "config.yaml")
    config.reward.modules = ["llm_judge"]
    config.reward.llm_judge.base_url = f"http://127.0.0.1:{endpoint}/v1"
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config))
    assert main(["doctor", run]) == 1
    said = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert "answers (200)" in said["judge"]
    assert "clawjax answers on" in said["port"]
    assert "clawjax keys create" in said["keys"]


@pytest.mark.parametrize(
    ("modules", "parts"),
    [
        (["constitution"], []),
        (["composite"], ["rules", "hindsight"]),
        (["composite"], ["constitution"]),
    ],
)
def test_whatever_asks_an_endpoint_has_it_looked_at(modules, parts):
    composite = CompositeConfig(parts=parts)
    judge = LlmJudgeConfig(base_url="http://127.0.0.1:9/v1")
    reward = RewardConfig(modules=modules, composite=composite, llm_judge=judge)
    assert "does not answer" in check_judge(RunConfig(reward=reward)).text


@pytest.mark.parametrize(
    ("address", "model", "grade", "words"),
    [
        ("/v1", "policy", Grade.GOOD, "answers (200)"),
        ("/v1", "smollm2", Grade.GOOD, "answers (200)"),
        ("/v1", "gpt-9", Grade.DOUBTFUL, "not reward.llm_judge.model=gpt-9"),
        ("", "policy", Grade.DOUBTFUL, "does its address end with /v1?"),
    ],
)
def test_a_judge_that_will_not_judge_as_it_is_named_is_told(endpoint, address, model, grade, words):
    judge = LlmJudgeConfig(base_url=f"http://127.0.0.1:{endpoint}{address}", model=model)
    found = check_judge(RunConfig(reward=RewardConfig(modules=["llm_judge"], llm_judge=judge)))
    assert found.grade is grade
    assert words in found.text


def test_modules_that_ask_nobody_need_no_endpoint():
    parts = CompositeConfig(parts=["rules", "next_state"])
    reward = RewardConfig(modules=["composite", "feedback"], composite=parts)
    said = check_judge(RunConfig(reward=reward)).text
    assert said == "composite, feedback: no endpoint is needed"


def exported(capsys, *words: str) -> list[dict]:
    assert main(["export", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_turns_are_exported_with_all_that_is_known_but_tokens(make_run, free_port, capsys):
    good, bad, unknown = exported(capsys, "turns", make_run(free_port))
    assert good["messages"][0]["content"] == "a secret"
    assert good["next_states"][0]["messages"][0]["content"] == "thanks"
    assert good["outcome"]["trained_version"] == 1
    assert bad["outcome"] is None
    assert unknown["outcome"]["drop_reason"] == "abstained"
    assert "prompt_ids" not in good


def test_examples_are_what_was_good_and_feedback_counts_before_verdicts(
    make_run, free_port, capsys
):
    run = make_run(free_port)
    (example,) = exported(capsys, "sft", run)
    assert example == {
        "messages": [
            {"role": "user", "content": "a secret"},
            {"role": "assistant", "content": "hello"},
        ]
    }
    assert exported(capsys, "sft", run, "--min-score", "0.8") == []
    for least in ("-2", "-1.5e0", "-10."):
        assert len(exported(capsys, "sft", run, "--min-score", least)) == 2
        assert len(exported(capsys, "sft", "--min-score", least, run)) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["turns"], "3 turns written, of 3 turns."),
        (
            ["sft"],
            "1 lines written. Turns left out: 1 with a score of 0 or less, 1 without a score.",
        ),
        (["sft", "--min-score", "-2"], "2 lines written. Turns left out: 1 without a score."),
        (["preferences"], "Turns left out: 1 without a score. Replies are compared that"),
    ],
)
def test_an_export_says_how_much_it_wrote_and_what_gave_nothing(
    make_run, free_port, tmp_path, capsys, words, told
):
    run, out = make_run(free_port), tmp_path / "out.jsonl"
    assert main(["export", words[0], run, *words[1:], "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


def test_a_file_of_what_people_said_is_for_its_owner(make_run, free_port, tmp_path, capsys):
    run, out = make_run(free_port), tmp_path / "sft.jsonl"
    assert main(["export", "sft", run, "--out", str(out)]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert len(out.read_text().splitlines()) == 1
    assert main(["export", "sft", run, "--out", str(out)]) == 2
    assert "name a new file" in capsys.readouterr().err
