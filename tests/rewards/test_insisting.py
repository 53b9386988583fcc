"""A judge that ends without a verdict is held to one, where that is wanted."""

import json
from contextlib import asynccontextmanager

import pytest
from starlette.responses import Response
from turn_records import make_turn

from clawjax.config import ConstitutionConfig, LlmJudgeConfig
from clawjax.errors import JudgeAwayError
from clawjax.rewards.constitution import ConstitutionReward
from clawjax.rewards.constitution_prompts import critique_choices
from clawjax.rewards.hindsight import HindsightReward
from clawjax.rewards.llm_judge import LlmJudgeReward
from clawjax.rewards.prompts import holds_verdict

from .judge_server import in_turn, judge_server, says
from .reward_records import user_says

RAMBLES = says("The user seems happy with it, I would say.")


def closes(verdict: str):
    return says(json.dumps({"verdict": verdict}))


@asynccontextmanager
async def judging(*answers: Response, make=LlmJudgeReward, **settings):
    async with judge_server(in_turn(*answers)) as server:
        options = {"votes": 1, "max_concurrency": 1, "insists": True} | settings
        config = LlmJudgeConfig(base_url=server.url, model="judge", **options)
        reward = make(config, env={}, backoff_s=0.01)
        try:
            yield reward, server
        finally:
            await reward.aclose()


def constitution(config, **options):
    return ConstitutionReward(ConstitutionConfig(principles=2), config, **options)


async def test_the_verdict_is_asked_for_alone_behind_the_answer():
    async with judging(RAMBLES, closes("+1")) as (reward, server):
        verdict = await reward.judge(make_turn(), user_says("Thanks!"))
    assert (verdict.score, verdict.votes) == (1.0, (1.0,))
    first, second = server.requests
    assert "response_format" not in first
    assert second["messages"][: len(first["messages"])] == first["messages"]
    answer, question = second["messages"][-2:]
    assert answer == {"role": "assistant", "content": "The user seems happy with it, I would say."}
    assert question["role"] == "user"
    schema = second["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"]["enum"] == ["+1", "-1", "0"]


async def test_who_has_decided_is_not_asked_again_and_nobody_is_unless_wanted():
    decided = says(r"Well done. \boxed{1}")
    async with judging(decided) as (reward, server):
        assert (await reward.judge(make_turn(), user_says("Thanks!"))).score == 1.0
    assert len(server.requests) == 1
    async with judging(RAMBLES, closes("+1"), insists=False) as (reward, server):
        assert (await reward.judge(make_turn(), user_says("Thanks!"))).score is None
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (says(r"It was \boxed{+1} but", "length"), [r"It was \boxed{+1} but"]),
        (says("<think>Hm. Is it", "length"), []),
        (says("<think>Hm.</think>So", "length"), ["So"]),
        (says(r"\boxed{good}"), [r"\boxed{good}"]),
    ],
)
async def test_what_was_cut_off_or_is_no_verdict_is_gone_on_from(said, kept):
    async with judging(said, closes("-1")) as (reward, server):
        assert (await reward.judge(make_turn(), user_says("Hm."))).score == -1.0
    shown = [m["content"] for m in server.requests[1]["messages"] if m["role"] == "assistant"]
    assert shown == kept


@pytest.mark.parametrize(
    ("closing", "why"),
    [
        (Response(status_code=400), "HTTP 400"),
        (says('{"verdict": "great"}'), "keeps to no form"),
        (says('{"verdict": ["+1"]}'), "keeps to no form"),
        (says("+1"), "keeps to no form"),
        (says('{"verdict": "+1', "length"), "cut off"),
    ],
)
async def test_who_cannot_be_held_to_a_verdict_abstains_and_the_log_says_why(closing, why, caplog):
    async with judging(RAMBLES, closing) as (reward, _):
        verdict = await reward.judge(make_turn(), user_says("Hm."))
    assert (verdict.score, verdict.votes) == (None, (None,))
    assert "an answer without a verdict" in verdict.explanation
    assert why in caplog.text


async def test_a_judge_that_goes_away_in_between_is_away():
    busy = Response(status_code=503)
    async with judging(RAMBLES, busy, retries=0) as (reward, _):
        with pytest.raises(JudgeAwayError, match="HTTP 503"):
            await reward.judge(make_turn(), user_says("Hm."))


async def test_hints_need_a_verdict_too():
    hint = says("[HINT_START]Answer in two sentences.[HINT_END]")
    async with judging(hint, closes("1"), make=HindsightReward) as (reward, _):
        verdict = await reward.judge(make_turn(), user_says("Too long."))
    assert verdict.hints == ("Answer in two sentences.",)


async def test_critiques_and_comparisons_are_held_to_theirs():
    revision = says("[REVISION_START]Better.[REVISION_END]")
    compared = (RAMBLES, RAMBLES, closes("second"), closes("first"))
    async with judging(RAMBLES, closes("2"), revision, *compared, make=constitution) as (
        reward,
        server,
    ):
        verdict = await reward.judge(make_turn(), user_says("Hm."))
    assert (verdict.score, verdict.revision) == (-1.0, "Better.")
    forms = [r["response_format"] for r in server.requests if "response_format" in r]
    enums = [form["json_schema"]["schema"]["properties"]["verdict"]["enum"] for form in forms]
    assert enums == [["none", "1", "2", "1,2"], ["first", "second"], ["first", "second"]]


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [
        (r"\boxed{None}", True),
        (r"\boxed{1, 3,2}", True),
        (r"\boxed{4}", False),
        (r"\boxed{}", False),
        (r"\boxed{none", False),
        ("", False),
    ],
)
def test_verdicts_are_told_from_other_ends(answer, is_there):
    assert holds_verdict(answer, critique_choices(3)) is is_there


async def test_an_engine_of_ones_own_keeps_to_the_form(tmp_path):
    """A model of random weights ends no answer rightly, and every answer with a verdict."""
    from clawjax.config import EngineConfig, ModelConfig, RunConfig, RunSection
    from clawjax.engine.embedded import EmbeddedEngine
    from clawjax.models.load import load_model
    from clawjax.runtime.build import open_log
    from clawjax.runtime.endpoint import build_app
    from clawjax.runtime.loopback import serving

    config = RunConfig(
        run=RunSection(dir=str(tmp_path)),
        model=ModelConfig(path="random:llama", context_length=4096),
        engine=EngineConfig(
            slots=2,
            prefill_chunk=256,
            live_buckets=[4096],
            warm_up=False,
            compilation_cache=None,
        ),
    )
    config.log.url = f"sqlite:///{tmp_path}/turns.db"
    model = load_model(config.model)
    log = open_log(config.log)
    engine = await EmbeddedEngine.start(model, config.engine, None)
    try:
        app = build_app(config, engine, model.tokenizer, log, on_linked=lambda: None)
        async with serving(app) as url:
            asked = LlmJudgeConfig(url, "policy", votes=4, max_tokens=4, insists=True)
            reward = LlmJudgeReward(asked, env={})
            verdict = await reward.judge(make_turn(), user_says("Thanks!"))
            await reward.aclose()
    finally:
        await engine.aclose()
        log.close()
    assert len(verdict.votes) == 4
    assert None not in verdict.votes, verdict.explanation
