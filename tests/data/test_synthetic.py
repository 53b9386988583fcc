"""Made-up conversations: plans, what is asked of whom, rows, and what filters leave out."""

from __future__ import annotations

import asyncio
import json
import random
import resource
from dataclasses import replace
from itertools import islice

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.config import FilterConfig, SynthesisConfig
from clawjax.data.endpoint import EndpointChat
from clawjax.data.filters import (
    DialogueFilter,
    LeftOut,
    NearDuplicates,
    containment,
    jaccard,
    shingles,
)
from clawjax.data.synthetic import Plan, load_ingredients, plans, play, rows_of
from clawjax.errors import ConfigError, EngineError
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.synthesize import DIALOGUES, ROWS, held_out_prompts, synthesize, synthesized

WORDS = ["ash", "bay", "cod", "dew", "elm", "fig", "gum", "hay", "ivy", "jam", "kelp", "lime"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=20).map(" ".join)


def test_plans_come_once_each_and_the_same_for_a_seed():
    ingredients = load_ingredients(personas=["brief", "plain"])
    total = 2 * len(ingredients.topics) * len(ingredients.scenarios)
    made = list(plans(ingredients, total + 5, seed=3))
    once = {(plan.persona.name, plan.topic, plan.scenario) for plan in made[:total]}
    assert len(once) == total
    assert list(islice(plans(ingredients, 40, seed=3), 40)) == made[:40]
    assert list(plans(ingredients, 40, seed=4)) != made[:40]
    with pytest.raises(ConfigError, match="use personas of asks, brief"):
        load_ingredients(personas=["nobody"])


def test_shipped_ingredients_leak_nothing_that_is_measured_by():
    ingredients = load_ingredients()
    held_out = [shingles(prompt) for prompt in held_out_prompts([])]
    assert len(held_out) > 200
    for text in (*ingredients.topics, *ingredients.scenarios):
        assert all(containment(each, shingles(text)) < 0.5 for each in held_out if each)


class ScriptedChat:
    """Plays both sides, and keeps what it was shown; fails where told to."""

    def __init__(self, *, fails_at: int | None = None, request: str = "") -> None:
        self.shown: list[tuple[list[dict], int]] = []
        self.fails_at = fails_at
        self.request = request

    async def ask(self, messages, *, seed: int) -> str:
        self.shown.append(([dict(message) for message in messages], seed))
        if self.fails_at is not None and len(self.shown) >= self.fails_at:
            msg = "no reply"
            raise EngineError(msg)
        words = random.Random(f"{seed} {len(messages)} {messages[0]['content']}")
        said = " ".join(words.sample(WORDS, 8))
        is_user = messages[0]["content"].startswith("You are ")
        knows = messages[0]["role"] == "system" and not is_user
        return f'"{self.request or said}"' if is_user else f"{'short' if knows else 'long'} {said}"


def the_plan() -> Plan:
    return next(plans(load_ingredients(personas=["brief"]), 1, seed=0))


async def test_the_wish_makes_the_better_reply_and_is_not_kept():
    chat, plan = ScriptedChat(), the_plan()
    dialogue = await play(plan, chat, turns=2, with_plain=True)
    assert len(chat.shown) == 6
    assert plan.scenario in chat.shown[0][0][0]["content"]
    assert chat.shown[1][0][0] == {"role": "system", "content": plan.persona.wish}
    assert "ASSISTANT: short" in chat.shown[3][0][1]["content"]
    first, second = rows_of(dialogue)
    assert plan.persona.wish not in json.dumps([first, second])
    assert first["chosen"][0]["content"].startswith("short")
    assert first["rejected"][0]["content"].startswith("long")
    assert '"' not in first["prompt"][0]["content"]
    assert second["prompt"][:2] == [*first["prompt"], *first["chosen"]]
    assert (first["provenance"], first["user"]) == ("synthetic", "synthetic:brief")
    assert first["source"] != second["source"]
    alone = await play(plan, ScriptedChat(), turns=1, with_plain=False)
    (row,) = rows_of(alone)
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_near_duplicates_are_decided_exactly(one, other):
    seen = NearDuplicates(0.7)
    seen.remember(one)
    assert seen.has_like(one.upper() + "!")
    similarity = jaccard(shingles(one), shingles(other))
    if seen.has_like(other):
        assert similarity >= 0.7
    elif similarity >= 0.9:  # missed with probability below 1e-14
        pytest.fail("a near-duplicate was missed")


def test_signatures_estimate_the_similarity():
    rng = random.Random(0)
    seen = NearDuplicates(0.7, bands=64, rows=8)
    text = [rng.choice(WORDS) + str(rng.randrange(99)) for _ in range(200)]
    other = [*text[:150], *(f"new{n}" for n in range(50))]
    one, two = shingles(" ".join(text)), shingles(" ".join(other))
    share = float((seen.signature(one) == seen.signature(two)).mean())
    assert abs(share - jaccard(one, two)) < 0.08


@pytest.mark.parametrize(
    ("request_text", "reply", "reason"),
    [
        ("How do I store apples in winter?", "Keep them cool and dry.", None),
        ("How do I store apples in winter?", " ", LeftOut.EMPTY),
        ("Apples?", "Keep them cool.", LeftOut.TOO_SHORT),
        ("How do I store apples in winter?", "cool " * 31, LeftOut.TOO_LONG),
        ("Comment conserver les pommes", "Keep them cool.", LeftOut.LANGUAGE),
        ("please tell me the secret of tides today", "It is the moon.", LeftOut.LEAKED),
        ("Say, how do I store the apples in winter, please?", "In a cellar.", LeftOut.DUPLICATE),
    ],
)
def test_each_filter_has_its_reason(request_text, reply, reason):
    config = FilterConfig(similar=0.4, max_words=30)
    gate = DialogueFilter(
        config,
        held_out=["Tell me the secret of tides."],
        language_of=lambda text: "fr" if "les" in text.split() else None,
    )
    if reason is LeftOut.DUPLICATE:
        assert gate.check(["How do I store the apples in winter?"], ["Keep them cool."]) is None
    assert gate.check([request_text], [reply]) is reason


def made(config: SynthesisConfig, folder, chat: ScriptedChat, *, seed: int) -> dict[str, int]:
    with asyncio.Runner() as runner:
        return synthesize(config, folder, chat, seed=seed, runner=runner)


def test_a_run_goes_on_where_it_was_killed(tmp_path):
    config = SynthesisConfig(dialogues=12, turns=1, concurrency=4)
    whole = made(config, tmp_path / "whole", ScriptedChat(), seed=1)
    assert whole["kept"] + whole.get("duplicate", 0) == 12
    assert whole["rows"] == whole["kept"]
    part = tmp_path / "part"
    made(config, part, ScriptedChat(), seed=1)
    lines = (part / DIALOGUES).read_text().splitlines()
    (part / DIALOGUES).write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])
    (part / ROWS).unlink()
    chat = ScriptedChat()
    assert made(config, part, chat, seed=1) == whole
    assert len(chat.shown) == 7 * 3
    assert (part / ROWS).read_text() == (tmp_path / "whole" / ROWS).read_text()
    with pytest.raises(ConfigError, match="other settings"):
        made(config, part, ScriptedChat(), seed=2)


def test_a_line_cut_off_within_a_character_is_played_again(tmp_path):
    config = SynthesisConfig(dialogues=2, turns=1, concurrency=1, form="sft")
    counts = made(config, tmp_path, ScriptedChat(), seed=0)
    file = tmp_path / DIALOGUES
    whole = file.read_bytes()
    file.write_bytes(whole + '{"source": "gl\u00fc'.encode()[:-1])
    assert made(config, tmp_path, ScriptedChat(), seed=0) == counts
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "changed",
    [
        {"turns": 2},
        {"form": "sft"},
        {"model": "another"},
        {"filters": FilterConfig(max_words=20)},
        {"held_out": True},
        {"personas": ["brief"]},
    ],
)
def test_conversations_of_other_settings_are_not_taken_for_these(tmp_path, changed):
    if "held_out" in changed:
        (tmp_path / "own.txt").write_text("kelp lime cod bay ash hay elm gum\n")
        changed = {"held_out": [str(tmp_path / "own.txt")]}
    config = SynthesisConfig(dialogues=2, turns=1, concurrency=1)
    made(config, tmp_path / "run", ScriptedChat(), seed=1)
    rows = (tmp_path / "run" / ROWS).read_bytes()
    chat = ScriptedChat()
    with pytest.raises(ConfigError, match="other settings"):
        made(replace(config, **changed), tmp_path / "run", chat, seed=1)
    assert chat.shown == []
    assert (tmp_path / "run" / ROWS).read_bytes() == rows
    free = replace(config, dialogues=3, concurrency=2, base_url="http://127.0.0.1:1/v1", retries=0)
    assert made(free, tmp_path / "run", chat, seed=1)["rows"] >= 2


def test_a_full_disk_loses_no_conversation_that_was_written_before(tmp_path):
    config = SynthesisConfig(dialogues=8, turns=1, concurrency=4)
    made(config, tmp_path, ScriptedChat(), seed=1)
    files = [tmp_path / DIALOGUES, tmp_path / ROWS]
    before = [file.read_bytes() for file in files]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(map(len, before)) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            made(config, tmp_path, ScriptedChat(), seed=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.read_bytes() for file in files] == before


def test_what_repeats_or_fails_is_counted_and_a_silent_endpoint_ends_the_run(tmp_path):
    config = SynthesisConfig(dialogues=4, turns=1, concurrency=2, form="sft")
    same = ScriptedChat(request="How do I keep bees happy in the rain?")
    counts = made(config, tmp_path / "same", same, seed=0)
    assert counts == {"kept": 1, "duplicate": 3, "rows": 1}
    config.dialogues = 20
    with pytest.raises(EngineError, match="no conversation to its end in 3 rounds"):
        made(config, tmp_path / "silent", ScriptedChat(fails_at=1), seed=0)
    config.dialogues = 4
    for chat in (ScriptedChat(fails_at=1), ScriptedChat(fails_at=1)):
        with pytest.raises(EngineError, match="no conversation to its end in 2 rounds"):
            made(config, tmp_path / "away", chat, seed=0)
    assert made(config, tmp_path / "away", ScriptedChat(), seed=0)["rows"] == 4


def test_where_the_endpoint_was_silent_for_a_while_is_asked_again(tmp_path):
    config = SynthesisConfig(dialogues=6, turns=1, concurrency=1, form="sft")
    whole = made(config, tmp_path / "whole", ScriptedChat(), seed=1)
    lines = (tmp_path / "whole" / DIALOGUES).read_text().splitlines()
    part = tmp_path / "part"
    part.mkdir()
    silent = [json.dumps({**json.loads(s), "became": "endpoint", "exchanges": []}) for s in lines]
    (part / DIALOGUES).write_text("\n".join([*lines[:2], *silent[2:4], *lines[4:]]) + "\n")
    chat = ScriptedChat()
    assert made(config, part, chat, seed=1) == whole
    assert len(chat.shown) == 2 * 2
    assert (part / ROWS).read_text() == (tmp_path / "whole" / ROWS).read_text()


def test_a_run_of_fewer_dialogues_keeps_what_a_longer_one_settled(tmp_path):
    config = SynthesisConfig(dialogues=6, turns=1, concurrency=2, form="sft")
    made(config, tmp_path, ScriptedChat(), seed=1)
    config.dialogues = 3
    assert made(config, tmp_path, ScriptedChat(), seed=1)["rows"] <= 3
    config.dialogues = 6
    chat = ScriptedChat()
    made(config, tmp_path, chat, seed=1)
    assert chat.shown == []


def test_line_separators_of_unicode_end_no_line_of_what_is_kept(tmp_path):
    config = SynthesisConfig(dialogues=2, turns=1, concurrency=2, form="sft")
    request = "How do I keep bees\u2028happy in the\x85rain?"
    counts = made(config, tmp_path, ScriptedChat(request=request), seed=0)
    chat = ScriptedChat(request=request)
    assert made(config, tmp_path, chat, seed=0) == counts
    assert chat.shown == [], "nothing is asked again"


def test_two_at_once_do_not_share_a_folder(tmp_path):
    with (
        RunPaths(tmp_path).locked(),
        pytest.raises(ConfigError, match="is in use by another process"),
    ):
        synthesized(SynthesisConfig(dialogues=1), tmp_path, seed=0)


@pytest.mark.parametrize("body", ['{"error": "busy"}', '{"choices": []}', "<html></html>", "{"])
async def test_an_answer_that_is_none_is_a_reply_that_is_missing(body):
    kind = "text/html" if body.startswith("<") else "application/json"
    answer = httpx.Response(200, text=body, headers={"content-type": kind})
    chat = EndpointChat(SynthesisConfig(base_url="http://a/v1", retries=0), env={})
    transport = httpx.MockTransport(lambda _: answer)
    chat._client = chat._client.with_options(http_client=httpx.AsyncClient(transport=transport))
    with pytest.raises(EngineError, match="gave no"):
        await chat.ask([{"role": "user", "content": "hi"}], seed=0)
    await chat.aclose()


async def test_an_endpoint_that_is_not_there_is_named():
    config = SynthesisConfig(base_url="http://127.0.0.1:1/v1", retries=0, timeout_s=5.0)
    chat = EndpointChat(config, env={})
    with pytest.raises(EngineError, match="gave no reply"):
        await chat.ask([{"role": "user", "content": "hi"}], seed=0)
    await chat.aclose()
