"""MiniWoB++: seeds and reward of AgentLab's protocol, on the real pages where installed."""

import pytest

from clawjax.errors import ConfigError, UnavailableError
from clawjax.evals.agents.scripted import following
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.suites import build_suite
from clawjax.evals.suites.miniwob.pages import LEFT_OUT, find_pages, page_seed, repeat_seeds
from clawjax.evals.suites.miniwob.rules import RULES


@pytest.fixture(scope="module")
def suite():
    try:
        return build_suite("miniwob", {"tasks": "all"})
    except UnavailableError as missing:
        pytest.skip(str(missing))


def test_seeds_are_the_benchmarks():
    seeds = repeat_seeds(["a", "b"], 5)
    assert all(0 <= each < 34 for row in seeds for each in row)  # 2 ^ 32 is 34
    assert seeds == [[28, 14, 7, 20, 18], [22, 10, 10, 23, 23]]
    assert page_seed(0) == 985772


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"core/core\.js"):
        find_pages(str(tmp_path))


def test_all_tasks_of_the_protocol_are_there(suite):
    names = {task.options["page"] for task in suite.tasks}
    assert len(names) == 125
    assert len(suite.tasks) == 625
    assert not names & LEFT_OUT
    assert set(RULES) <= names
    solved = {task.options["page"] for task in suite.tasks if task.reference.actions}
    assert solved == set(RULES)
    assert all(task.limits.turns == 10 for task in suite.tasks)


async def test_only_a_positive_raw_reward_counts(suite, tmp_path):
    wrong = (Action("click_at", {"x": 5, "y": 5}), Action("press", {"keys": "Tab"}))
    plans = {
        "right": lambda task: task.reference.actions,
        "wrong": lambda task: (*wrong, Action("press", {"keys": "Tab"}), *[ENTER] * 2),
    }
    values = {}
    chosen = Selection(task_ids=("click-test-2.0",))
    async with EnvironmentPool.open(suite.launch, 1) as pool:
        for name, plan in plans.items():
            agent, store = following(suite, name, plan), EpisodeStore(tmp_path / name)
            [episode] = await run(suite, agent, store, chosen, concurrency=1, pool=pool)
            values[name] = (episode.score.value, episode.trajectory.after["raw_reward"])
    assert values == {"right": (1.0, 1.0), "wrong": (0.0, -1.0)}


ENTER = Action("press", {"keys": "Enter"})


async def test_points_outside_of_the_window_are_refused_with_its_size(suite, tmp_path):
    corner = {"from_x": 1.0, "from_y": 1.0, "to_x": -1.0, "to_y": 1.0}
    far = (Action("click_at", {"x": 1e308, "y": 5.0}), Action("drag", corner))
    agent = following(suite, "far", lambda task: (*far, *task.reference.actions))
    chosen, store = Selection(task_ids=("click-test-2.0",)), EpisodeStore(tmp_path)
    [episode] = await run(suite, agent, store, chosen, concurrency=1)
    first, second, *_ = (step.executed[0].result.error for step in episode.trajectory.steps)
    assert "(1e+308, 5) is outside of the window, which is 332 by 214" in first
    assert "(-1, 1) is outside of the window" in second
    assert episode.score.value == 1.0


async def test_a_link_within_the_page_does_not_leave_it(suite, tmp_path):
    """The results of a search are links to `#`."""
    agent = following(suite, "right", lambda task: task.reference.actions)
    chosen, store = Selection(task_ids=("search-engine.0",)), EpisodeStore(tmp_path)
    [episode] = await run(suite, agent, store, chosen, concurrency=1)
    assert episode.score.value == 1.0, episode.trajectory.after


FORM = """[2] RootWebArea 'Multi Layouts Task' focused: True
\t[46] StaticText 'Movie Search'
\t[4] textbox '' required: False
\t[47] StaticText 'Director:'
\t[5] textbox '' required: False
\t[48] StaticText 'Released Date'
\t[6] textbox '' required: False
\t[49] StaticText 'Movie Genre'
\t[50] StaticText 'Go!'"""


def test_a_rule_fills_in_a_form_by_its_labels():
    goal = "Search for satire movies directed by Tate from year 1987."
    *typed, end = RULES["multi-layouts"](goal, FORM)
    assert [action.arguments["text"] for action in typed] == ["Tate", "1987", "satire"]
    assert [action.arguments["element"] for action in typed] == [
        f"textbox '' {n}" for n in range(3)
    ]
    assert end == Action("click", {"element": "StaticText 'Go!' 0"})
