"""Our shop and forum in a real browser: what an agent may do, and what is scored."""

import json
import shutil
from dataclasses import replace

import pytest
import pytest_asyncio
from verified_scorers import REAL, fake_interpreter

from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import following, oracle_agent
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.harness.runner import Selection, rescore, run, score
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.suites.webarena.local.server import LocalSites
from clawjax.evals.suites.webarena.local.store import DATA
from clawjax.evals.suites.webarena.records import PLACEHOLDERS
from clawjax.evals.suites.webarena.suite import build, build_local
from clawjax.evals.suites.webarena_verified import suite as verified
from clawjax.evals.web.chromium import browser_problem
from clawjax.evals.web.grammar import read_action

pytestmark = [
    pytest.mark.skipif(browser_problem() is not None, reason=str(browser_problem())),
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all
]

PUT = [
    "goto [__SHOPPING__/product/10]",
    "type [textbox 'Quantity'] [{n}] [0]",
    "click [button 'Add to cart']",
]


@pytest.fixture(scope="module")
def suite():
    return build_local({})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(suite):
    options = {**suite.launch.options, "records_har": True}
    async with EnvironmentPool.open(replace(suite.launch, options=options), 1) as pool:
        yield pool


@pytest.fixture
def play(suite, pool, tmp_path):
    """Plays (task, actions or lines of the grammar) pairs, one after the other."""

    async def play(*plans):
        found = []
        for number, (task_id, given) in enumerate(plans):
            actions = [read_action(each) if isinstance(each, str) else each for each in given]
            agent = following(suite, f"planned-{number}", lambda task, actions=actions: actions)
            chosen, store = Selection(task_ids=(task_id,)), EpisodeStore(tmp_path / str(number))
            found += await run(suite, agent, store, chosen, concurrency=1, pool=pool)
        return found

    return play


async def test_the_state_of_the_shop_is_scored_and_the_rest_is_a_side_effect(suite, play):
    two = [line.format(n=2) for line in PUT]
    episodes = await play(
        ("7", [*two, "stop [Done]"]),
        ("7", [*[line.format(n=1) for line in PUT], "stop [Done]"]),
        ("7", [*two, "goto [__SHOPPING__/product/1]", "click [button 'Add to wish list']"]),
    )
    assert [each.score.value for each in episodes] == [1.0, 0.0, 1.0]
    effects = [suite.side_effects(each.task, each.trajectory) for each in episodes]
    assert effects == [(), (), ("wishes[2]",)]


async def test_pages_of_others_files_and_scripts_are_not_opened(play):
    urls = ("file:///etc/passwd", "javascript:1", "data:text/html,x", "http://127.0.0.1:9/")
    [episode] = await play(("0", [*(f"goto [{url}]" for url in urls), "stop [x]"]))
    results = [each.result for each in episode.trajectory.executed]
    for url, result in zip(urls, results, strict=False):
        assert not result.is_valid
        assert "may not be opened" in result.error, url
        assert "Hearth & Handle" in result.observation
    assert "root:" not in str(results)


async def test_what_a_user_writes_is_shown_and_not_run(play):
    comment = "<script>document.title='owned'</script><b>x</b>"
    [episode] = await play(
        (
            "17",
            [
                "goto [__REDDIT__/f/kitchen/12/]",
                f"type [textbox 'Comment'] [{comment}] [0]",
                "click [button 'Publish comment']",
                "stop [Done]",
            ],
        ),
    )
    last = episode.trajectory.executed[-2].result.observation
    assert "<b>x</b>" in last
    assert "Tab 0 (current): Season a pan" in last


async def test_an_episode_that_repeats_itself_or_runs_out_is_scored_by_its_final_state(play):
    episodes = await play(
        ("4", ["goto [__SHOPPING__/category/teapots?sort=price]", *["scroll [down]"] * 9]),
        ("0", ["click [9999]", "click [link 'nowhere']", "stop [$46.20]"]),
    )
    assert [each.score.value for each in episodes] == [1.0, 1.0]
    assert len(episodes[0].trajectory.executed) == 4
    missing = episodes[1].trajectory.executed[0].result
    assert not missing.is_valid
    assert "no element '9999'" in missing.error


async def test_tabs_come_and_go(play):
    [episode] = await play(
        (
            "21",
            [
                "tab_focus [1]",
                "new_tab",
                "goto [__REDDIT__/f/baking]",
                "close_tab",
                "tab_focus [5]",
                "stop []",
            ],
        ),
    )
    first = episode.trajectory.first_observation
    assert first.startswith("Tab 0 (current): Crumbs | Tab 1: Hearth & Handle")
    results = [each.result for each in episode.trajectory.executed]
    assert results[0].observation.startswith("Tab 0: Crumbs | Tab 1 (current): Hearth & Handle")
    assert results[2].observation.startswith("Tab 0: Crumbs | Tab 1: Hearth & Handle | Tab 2 (c")
    assert results[3].observation.count("Tab ") == 2
    assert not results[4].is_valid


async def test_every_action_of_the_tools_is_carried_out(play):
    actions = [
        Action("hover", {"element": "link 'Cart'"}),
        Action("click", {"element": "link 'pans'"}),
        Action("go_back"),
        Action("go_forward"),
        Action("press", {"keys": "Control+a"}),
        Action("scroll", {"direction": "up"}),
        Action("press", {"keys": "NoSuchKey"}),
        Action.answer(""),
    ]
    [episode] = await play(("5", actions))
    results = [each.result for each in episode.trajectory.executed]
    assert [each.is_valid for each in results] == [*[True] * 6, False, True]
    assert "Hearth & Handle" in results[2].observation.splitlines()[0]
    assert "Pans" in results[3].observation.splitlines()[0]


async def test_sites_are_found_by_address_and_logged_in_by_stored_state(tmp_path):
    sites = LocalSites()
    try:
        for name, chosen in (("shopping", ["shopping"]), ("reddit", ["reddit"])):
            state = json.dumps(sites.storage_state(chosen))
            (tmp_path / f"{name}_state.json").write_text(state)
        addresses = {name: sites.sites[PLACEHOLDERS[name]] for name in ("shopping", "reddit")}
        suite = build(
            {
                "path": str(DATA / "tasks.json"),
                "sites": addresses,
                "states": str(tmp_path),
                "shopping_admin": sites.shopping_admin,
                "hosts": [],
                "settle_s": 0.05,
            }
        )
        chosen = Selection(task_ids=("6", "10", "16"))
        store = EpisodeStore(tmp_path / "episodes")
        episodes = await run(suite, oracle_agent(suite), store, chosen, concurrency=1)
    finally:
        sites.close()
    assert [each.score.value for each in episodes] == [1.0, 1.0, 1.0]
    assert {each.trajectory.after["sites"]["__REDDIT__"] for each in episodes} == {
        addresses["reddit"]
    }


async def test_tasks_whose_site_or_judge_is_not_there_are_left_out():
    path = str(DATA / "tasks.json")
    shop_only = build({"path": path, "sites": {"shopping": "http://127.0.0.1:1"}})
    assert len(shop_only.tasks) == 13
    with pytest.raises(ConfigError, match="no task can be played"):
        build({"path": path, "sites": {"map": "http://127.0.0.1:1"}})


def verified_task(task_id, task_type, **event):
    """In WebArena-Verified's format, with a request for evidence."""
    response = {"task_type": task_type, "status": "SUCCESS", "retrieved_data": None}
    schema = {"results_schema": {"type": "null"}}
    return {
        "sites": ["shopping"],
        "task_id": task_id,
        "intent_template_id": 1,
        "start_urls": ["__SHOPPING__"],
        "intent": "Put three enamel kettles in the cart.",
        "intent_template": "Put three enamel kettles in the cart.",
        "instantiation_dict": {},
        "eval": [
            {"evaluator": "AgentResponseEvaluator", **schema, "expected": response},
            {"evaluator": "NetworkEventEvaluator", "expected": event},
        ],
        "revision": 1,
    }


def archive(path):
    return json.loads(path.read_text())["log"]["entries"]


@pytest.mark.parametrize("scorer", ["fake", "real"])
async def test_requests_are_kept_and_scored_with_the_final_response(pool, tmp_path, scorer):
    if scorer == "real" and REAL is None:
        pytest.skip("CLAWJAX_VERIFIED_PYTHON names no interpreter")
    sent = {"http_method": "POST", "post_data": {"quantity": "3"}, "response_status": 303}
    tasks = [
        verified_task(1, "mutate", url="__SHOPPING__/product/10/cart", **sent),
        verified_task(2, "navigate", url="__SHOPPING__/cart"),
    ]
    data = tmp_path / "tasks.json"
    data.write_text(json.dumps(tasks))
    suite = verified.build(
        {
            "path": str(data),
            "scorer_python": REAL if scorer == "real" else fake_interpreter(tmp_path, data),
            "sites": {"shopping": "http://127.0.0.1:1"},  # the pool knows the address
            "states": str(tmp_path),
        }
    )
    done = json.dumps({"task_type": "MUTATE", "status": "SUCCESS", "retrieved_data": None})
    plans = {
        "orders": ("1", [*[read_action(line.format(n=3)) for line in PUT], Action.answer(done)]),
        "claims": ("1", [Action.answer(done)]),
        "looks": ("2", suite.oracle(suite.tasks[1])),
    }
    found = {}
    for name, (task_id, actions) in plans.items():
        agent = following(suite, name, lambda task, actions=actions: actions)
        chosen, store = Selection(task_ids=(task_id,)), EpisodeStore(tmp_path / name)
        [found[name]] = await run(suite, agent, store, chosen, concurrency=1, pool=pool)
    assert [each.score.value for each in found.values()] == [1.0, 0.0, 1.0]

    trajectory = found["orders"].trajectory
    assert trajectory.answer == done
    har = tmp_path.resolve() / "orders" / "episodes" / "1.0.0" / "network.har"
    assert trajectory.evidence == {"har": str(har)}
    entries = archive(har)
    [post] = [each for each in entries if each["request"]["method"] == "POST"]
    assert post["request"]["postData"]["text"] == "quantity=3"
    assert not any("text" in each["response"]["content"] for each in entries)

    shutil.rmtree(har.parent)
    [kept] = await rescore(suite, EpisodeStore(tmp_path / "orders"))
    assert kept.score.value == 1.0
    lost = await score(suite, kept.task, trajectory)
    assert lost.value is None
    assert "requests are gone" in str(lost.error)
