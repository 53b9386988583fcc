"""WebArena's files of tasks, and the sites and records of its episodes: what needs no browser."""

import json

import pytest
from webarena_entries import LOCAL, task

from clawjax.errors import ConfigError, UnavailableError
from clawjax.evals.suites.webarena import records
from clawjax.evals.suites.webarena.helpers import read_call
from clawjax.evals.suites.webarena.local.store import World, changed_rows
from clawjax.evals.suites.webarena.records import find_tasks, read_tasks
from clawjax.evals.suites.webarena.suite import build
from clawjax.evals.web.grammar import (
    read_action,
)
from clawjax.evals.web.har import keep_har, recording


def test_a_file_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="eval_types has magic"):
        task(eval_types=["magic"])
    with pytest.raises(ConfigError, match="WebArena's format"):
        read_tasks(b'[{"task_id": 1}]')
    odd = {"url": "last", "locator": "", "required_contents": {"regex": "."}}
    with pytest.raises(ConfigError, match="required_contents has regex"):
        task(program_html=[odd])


def test_tasks_and_sites_that_are_not_there_are_said_to_be_missing(monkeypatch):
    with pytest.raises(UnavailableError, match=r"suite\.options\.sites"):
        build({})
    with pytest.raises(ConfigError, match="'shop'"):
        build({"sites": {"shop": "http://s"}})
    monkeypatch.setattr(records, "_FILES", (("no_such_package", "x.json"),))
    with pytest.raises(UnavailableError, match="pip install"):
        find_tasks()


def test_all_published_tasks_are_read():
    try:
        content = find_tasks().read_bytes()
    except UnavailableError as missing:
        pytest.skip(str(missing))
    tasks = read_tasks(content)
    assert len(tasks) == 812
    assert len({each.template for each in tasks}) == 190
    kinds = [each.evaluators for each in tasks]
    assert kinds.count(("string_match",)) == 325
    assert kinds.count(("program_html",)) == 282
    assert kinds.count(("url_match",)) == 66
    assert sum(each.is_judged for each in tasks) == 118
    for each in tasks:
        for target in each.targets:
            for text in (target.url, target.locator):
                if text.startswith("func:"):
                    read_call(text.removeprefix("func:"))


def test_our_tasks_use_every_evaluator_and_leave_the_answer_out_of_what_is_asked():
    assert len(LOCAL) == 22
    assert {each for task in LOCAL for each in task.evaluators} == {
        "string_match",
        "url_match",
        "program_html",
    }
    for each in LOCAL:
        reference = each.reference_answers.get("exact_match")
        assert reference is None or reference not in each.intent, each.task_id
        actions = [read_action(line) for line in each.extra["oracle"]]
        assert None not in actions


def test_a_world_begins_the_same_and_forgets_who_was_signed_in():
    world = World()
    before = world.digests()
    token = world.sign_in("shop", "emma")
    world.change("UPDATE posts SET votes = 99 WHERE id = 11")
    world.change("DELETE FROM wishes")
    assert changed_rows(before, world.digests()) == ["posts[11]", "wishes[1]"]
    assert world.user("shop", token) == "emma"
    assert world.user("forum", token) is None
    world.begin()
    assert world.digests() == before
    assert world.user("shop", token) is None
    assert world.admin_token("admin1234") is None


def test_an_archive_keeps_what_was_sent_and_no_pages(tmp_path):
    def entry(kind, **sent):
        content = {"mimeType": kind, "text": "long", "encoding": "base64"}
        return {"request": sent, "response": {"status": 200, "content": content}}

    page, answer = entry("text/html", postData={"text": "a=1"}), entry("application/json")
    recorded, kept = tmp_path / "recorded.har", tmp_path / "episode" / "network.har"
    recorded.write_text(json.dumps({"log": {"entries": [page, answer]}}))
    keep_har(recorded, kept)
    first, second = json.loads(kept.read_text())["log"]["entries"]
    assert first["response"]["content"] == {"mimeType": "text/html"}
    assert first["request"] == {"postData": {"text": "a=1"}}
    assert second == answer


@pytest.mark.parametrize(
    ("url", "is_recorded"),
    [
        ("http://a.test/", True),
        ("http://a.test/static/logo.PNG", True),  # as the scorer reads it
        ("http://a.test/static/logo.png", False),
        ("http://a.test/static/x.js?version=1", False),
        ("http://a.test/data.json", True),
        ("http://a.test/search?q=x.js", True),
        ("http://a.test/p#x.css", True),
    ],
)
def test_assets_are_not_recorded(tmp_path, url, is_recorded):
    pattern = recording(tmp_path / "x.har")["record_har_url_filter"]
    assert (pattern.search(url) is not None) == is_recorded
