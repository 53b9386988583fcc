import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import RulesConfig
from clawjax.errors import ConfigError
from clawjax.records import Message, ToolCall
from clawjax.rewards.rules import (
    RulesReward,
    compile_rules,
    count_paragraphs,
    count_words,
    has_exact_answer,
    has_list,
    is_json,
)

from .reward_records import session_closed, user_says


async def score(config: RulesConfig, reply: str) -> float | None:
    return (await RulesReward(config).judge(make_turn(reply=reply), session_closed())).score


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("one", 1),
        ("- a well-known fact, isn't it?", 5),
        ("two\n\nlines", 2),
        ("--- *** !", 0),
        ("你好世界", 4),
        ("costs 3.50 EUR", 3),
    ],
)
def test_words_are_runs_with_a_letter_or_digit(text, count):
    assert count_words(text) == count


@given(st.lists(st.text("abc", min_size=1), max_size=20), st.sampled_from([" ", "\n", " \t "]))
def test_spacing_does_not_change_the_word_count(words, space):
    assert count_words(space.join(words)) == len(words)


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("a\nb", 1), ("a\n\nb", 2), ("\n\na\n \n\nb\n\n", 2)]
)
def test_paragraphs_are_separated_by_blank_lines(text, count):
    assert count_paragraphs(text) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- eggs\n- milk", True),
        ("1. boil\n2. peel", True),
        ("Steps:\n\n  * one\n  * two", True),
        ("• one\n• two", True),
        ("a) red\nb) blue", True),
        ("One - or two - dashes in a line.", False),
        ("- a single remark", False),
        ("It grew by\n1.5 percent\n2.5 percent", False),
        ("I said so.\nA cat.\nA dog.", False),
    ],
)
def test_lists_are_two_or_more_item_lines(text, expected):
    assert has_list(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, 2]}', True),
        ("3", True),
        ('```json\n{"a": 1}\n```', False),
        ("NaN", False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_json_is_the_whole_reply(text, expected):
    assert is_json(text) is expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("It is 41, no: 42.", "42", True),
        ("It is 42, not 41.", "42", False),
        (r"So \boxed{7}, which beats 9.", "7", True),
        (r"First \boxed{7}, then \boxed{8}.", "7", False),
        ("Total: 1,250.00", "1250", True),
        ("  Paris ", "paris", True),
        ("Paris is in France", "Paris", False),
        ("-3", "3", False),
        ("", "3", False),
    ],
)
def test_the_exact_answer_is_boxed_or_whole_or_the_last_number(text, answer, expected):
    assert has_exact_answer(text, answer) is expected


async def test_the_score_is_the_weighted_share_mapped_to_minus_one_and_one():
    both = RulesConfig(max_words=3, forbid_lists=True)
    assert await score(both, "short reply") == 1.0
    assert await score(both, "a much longer reply") == 0.0
    assert await score(both, "- a longer\n- list here") == -1.0
    weighted = RulesConfig(max_words=3, forbid_lists=True, weights={"max_words": 3.0})
    assert await score(weighted, "a much longer reply") == -0.5


async def test_each_rule_can_fail():
    assert await score(RulesConfig(min_words=2), "one") == -1
    assert await score(RulesConfig(max_paragraphs=1), "one\n\ntwo") == -1
    assert await score(RulesConfig(language="de"), "This is the wrong language.") == -1
    assert await score(RulesConfig(must_match=r"\bplease\b"), "no") == -1
    assert await score(RulesConfig(must_not_match="AI model"), "As an AI model") == -1
    assert await score(RulesConfig(is_json=True), "{") == -1
    assert await score(RulesConfig(exact_answer="4"), "5") == -1


async def test_the_explanation_names_what_failed():
    reward = RulesReward(RulesConfig(max_words=1, min_words=1, is_json=True))
    verdict = await reward.judge(make_turn(reply="two words"), session_closed())
    assert verdict.explanation == "not met: max_words, is_json"


def test_any_next_state_will_do_but_a_pure_tool_call_has_no_words():
    reward = RulesReward(RulesConfig(max_words=1))
    assert reward.applies(make_turn(), session_closed())
    assert reward.applies(make_turn(), user_says("hm"))
    call = Message(role="assistant", tool_calls=(ToolCall("c1", "ls", "{}"),))
    assert not reward.applies(make_turn(reply=call), session_closed())


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (RulesConfig(), "no rule is switched on"),
        (RulesConfig(must_match="(unclosed"), "must_match='\\(unclosed'"),
        (RulesConfig(language="tlh"), "language='tlh' is unknown: use .*en"),
        (RulesConfig(min_words=9, max_words=3), "min_words=9 is above max_words=3"),
        (RulesConfig(max_words=3, weights={"max_word": 1.0}), "names max_word, .*use max_words"),
        (RulesConfig(max_words=3, weights={"max_words": -1.0}), "must not be negative"),
        (RulesConfig(max_words=3, weights={"max_words": 0.0}), "at least one must be positive"),
    ],
)
def test_rules_that_cannot_run_are_refused_at_start_up(config, says):
    with pytest.raises(ConfigError, match=says):
        compile_rules(config)
