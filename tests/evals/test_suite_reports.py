"""Summaries, pages and comparisons of toy episodes."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from toy_suite import toy_suite, toy_task

from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import ScriptedAgent, following, noop_agent, oracle_agent
from clawjax.evals.compare import compare, render_comparison
from clawjax.evals.harness.failures import AgentFailure
from clawjax.evals.harness.runner import Episode, Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import AgentTurn
from clawjax.evals.metrics.summary import summarise
from clawjax.evals.reporting import write_report
from clawjax.evals.suites import build_suite

EVIL = "</pre><script>alert(1)</script>|<b>"


async def played(tmp_path, agent=None, suite=None, **selection):
    suite = suite or toy_suite()
    agent = agent or oracle_agent(suite)
    return suite, await run(suite, agent, EpisodeStore(tmp_path), Selection(**selection))


async def test_the_oracles_summary(tmp_path):
    suite, episodes = await played(tmp_path, trials=2)
    found = summarise(suite, episodes, prices=(1.0, 2.0))
    assert (found["tasks"], found["episodes"], found["unscored"]) == (4, 8, 0)
    assert found["success"]["value"] == 1.0
    assert found["success"]["ci"] == (1.0, 1.0)
    assert found["pass"]["pass^k"] == {"1": 1.0, "2": 1.0}
    assert found["efficiency"]["steps_over_optimal"] == 1.0
    assert found["efficiency"]["spl"] == 1.0
    assert found["efficiency"]["cost"] is None  # nobody said how many tokens
    assert found["tool_calls"]["calls_exact"] == 1.0
    assert found["validity"] == {"format_valid": 1.0, "action_valid": 1.0, "call_errors": 0.0}
    assert set(found["by"]["split"]) == {"dev", "test"}
    assert found["outcomes"]["completed"] == 8
    assert found["agentbench"]["Completed"] == 1.0


async def test_calls_that_read_and_calls_that_write_are_compared_apart(tmp_path):
    """The agent does one of two reads, and another write beside the right one."""
    suite = build_suite("tau")
    [task] = [each for each in suite.tasks if each.task_id == "1"]
    read, write = Action("get_loan", {"loan_id": "l-7"}), Action("renew_loan", {"loan_id": "l-7"})
    other = Action("get_member", {"member_id": "m-104"})
    suite = replace(
        suite,
        tasks=(replace(task, reference=replace(task.reference, actions=(read, other, write))),),
    )
    fees = Action("pay_fees", {"member_id": "m-104", "cents": 300})
    agent = following(suite, "half", lambda task: [read, write, fees, Action.respond("Done.")])
    found = summarise(*await played(tmp_path, agent, suite))["tool_calls"]
    assert (found["reads_precision"], found["reads_recall"]) == (1.0, 0.5)
    assert (found["writes_precision"], found["writes_recall"]) == (0.5, 1.0)
    toy = summarise(*await played(tmp_path / "toy"))["tool_calls"]
    assert (toy["reads_recall"], toy["writes_precision"]) == (None, None)


async def test_an_error_is_counted_and_in_no_mean(tmp_path):
    class Sometimes:
        name = "sometimes"

        async def act(self, brief, history, *, seed):
            if brief.task_id == "count-1":
                raise AgentFailure("away")
            return await oracle_agent(toy_suite()).act(brief, history, seed=seed)

    suite, episodes = await played(tmp_path, Sometimes())
    found = summarise(suite, episodes)
    assert (found["scored"], found["unscored"], found["error_share"]) == (3, 1, 0.25)
    assert found["success"]["value"] == 1.0
    assert found["agentbench"]["Task Limit Exceeded"] == 0.25


async def test_a_clumsy_agent_is_seen_to_be_one(tmp_path):
    suite = toy_suite(toy_task(1))
    clumsy = following(suite, "clumsy", lambda task: [Action("add", {"n": -1})] * 2)
    _, episodes = await played(tmp_path, clumsy, suite)
    found = summarise(suite, episodes)
    assert found["validity"]["action_valid"] == 0.0
    assert found["validity"]["format_valid"] == pytest.approx(0.5)
    assert found["coherence"]["repeated"] == 0.5
    assert found["success"]["value"] == 0.0


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)


async def test_the_page_is_whole_and_escapes_what_others_wrote(tmp_path):
    suite = toy_suite(toy_task(1))
    evil = ScriptedAgent("evil", lambda brief: [AgentTurn(text=EVIL)] * 3)
    suite, episodes = await played(tmp_path, evil, suite)
    write_report(suite, episodes, EpisodeStore(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "95 % interval not known." in page
    assert "0.000 (not known)" in (tmp_path / "report.md").read_text()
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.seen
    assert "&lt;script&gt;" in page
    assert not {"img", "link", "iframe"} & set(tags.seen)
    assert page.count("<details>") == page.count("</details>") == 1
    assert json.loads((tmp_path / "report.json").read_text())["outcomes"]["invalid_format"] == 1
    assert "invalid_format" in (tmp_path / "report.md").read_text()


async def test_what_is_no_text_for_utf8_is_on_the_page_all_the_same(tmp_path):
    odd = ScriptedAgent("odd", lambda brief: [AgentTurn(text="so \ud800")])
    suite, episodes = await played(tmp_path, odd, toy_suite(toy_task(1)))
    write_report(suite, episodes, EpisodeStore(tmp_path))
    assert "so \\ud800" in (tmp_path / "report.html").read_text()


async def test_two_agents_are_compared(tmp_path):
    _, good = await played(tmp_path / "a")
    suite = toy_suite()
    _, bad = await played(tmp_path / "b", noop_agent(suite))
    found = compare(bad, good)
    assert (found["difference"], found["n"]) == (1.0, 4)
    assert found["mcnemar"] == {"only_a": 0, "only_b": 4, "p_value": 0.125}
    assert "not known: tasks have several trials" not in render_comparison(found)
    assert found["p_value"] == 0.125
    assert "+1.000 (+1.000 to +1.000)" in render_comparison(found)
    alone = render_comparison(compare(bad[:1], good[:1]))
    assert "+1.000 (not known)" in alone
    assert "| p, sign flips | not known |" in alone
    with pytest.raises(ConfigError, match="no episode"):
        compare([], good)
    again = [replace_trial(each, 1) for each in good]
    several = compare([*bad, *(replace_trial(each, 1) for each in bad)], [*good, *again])
    assert (several["difference"], several["n"], several["mcnemar"]) == (1.0, 4, None)
    assert (
        "| p, McNemar exact | not known: tasks have several trials, or variations |"
        in render_comparison(several)
    )


def replace_trial(episode: Episode, trial: int) -> Episode:
    return episode._replace(trajectory=replace(episode.trajectory, trial=trial))
