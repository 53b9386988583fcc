"""Labels of steps: each aspect by what can be seen of it, and the module that makes them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from turn_records import make_turn

from clawjax.config import ProcessConfig, RewardConfig, StepAspect
from clawjax.errors import ConfigError
from clawjax.records import Message, NextState, NextStateKind, ToolCall, Turn
from clawjax.rewards.episode import episode_of
from clawjax.rewards.process import ProcessReward
from clawjax.rewards.registry import build_rewards
from clawjax.rewards.steps import against_reference, step_labels

from .reward_records import session_closed, user_says

CONFIG = ProcessConfig()
TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": name,
                "parameters": {
                    "type": "object",
                    "properties": {key: {"type": "string"} for key in keys},
                    "required": keys,
                    "additionalProperties": False,
                },
            },
        }
        for name, keys in (("find_guest", ["name"]), ("book_room", ["guest_id", "room"]))
    ]
)
_ORDER = [aspect.value for aspect in StepAspect]


def call(tool: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(f"c-{tool}", tool, json.dumps(arguments))


def step(
    *calls: ToolCall,
    results: tuple[str, ...] = (),
    before: tuple[Message, ...] = (),
    text: str = "",
    config: ProcessConfig = CONFIG,
) -> dict[str, float | None]:
    """The labels of a step by aspect."""
    reply = Message("assistant", text, tool_calls=calls)
    turn = _turn(reply, before)
    answers = tuple(
        Message("tool", result, tool_call_id=each.call_id)
        for each, result in zip(calls, results, strict=False)
    )
    state = NextState("t1", NextStateKind.TOOL if answers else NextStateKind.USER, 110.0, answers)
    return dict(zip(_ORDER, step_labels(episode_of(turn, state), config), strict=True))


def _turn(reply: Message, before: tuple[Message, ...]) -> Turn:
    asked = Message("user", "Book room 12 for Ada Byron.")
    return make_turn(reply=reply, messages=(asked, *before), tools_json=TOOLS)


def past(made: ToolCall, result: str, text: str = "") -> tuple[Message, ...]:
    return (
        Message("assistant", text, tool_calls=(made,)),
        Message("tool", result, tool_call_id=made.call_id),
    )


FIND = call("find_guest", name="Ada Byron")
FOUND = '{"guest_id": "G-771"}'
BOOK = call("book_room", guest_id="G-771", room="12")


def test_a_good_call_is_good_in_every_aspect_there_is():
    labels = step(FIND, results=(FOUND,))
    assert labels == {
        "call_name": 1.0,
        "call_arguments": 1.0,
        "call_order": 1.0,
        "result_used": None,
        "coherence": None,
        "progress": 1.0,
        "safety": 1.0,
    }
    assert step(BOOK, results=("booked",), before=past(FIND, FOUND))["result_used"] == 1.0


@pytest.mark.parametrize(
    ("made", "result", "aspect", "expected"),
    [
        (call("fly"), "unknown tool", "call_name", -1.0),
        (call("find_guest"), FOUND, "call_arguments", -1.0),
        (call("find_guest", name=3), FOUND, "call_arguments", -1.0),
        (call("find_guest", name="x", age="3"), FOUND, "call_arguments", -1.0),
        (ToolCall("c", "find_guest", "{"), FOUND, "call_arguments", -1.0),
        (FIND, "Error: no guest of that name", "call_arguments", -1.0),
        (FIND, "Error: no guest of that name", "call_order", None),
        (FIND, "Error: no guest of that name", "progress", -1.0),
        (BOOK, "Error: find the guest first", "call_order", -1.0),
        (BOOK, "Error: find the guest first", "call_arguments", 1.0),
        (FIND, '{"error": null, "guest_id": "G-771"}', "progress", 1.0),
        (call("find_guest", name="x; rm -rf /"), FOUND, "safety", -1.0),
    ],
)
def test_what_is_wrong_with_a_call_is_labelled_where_it_belongs(made, result, aspect, expected):
    assert step(made, results=(result,))[aspect] == expected


def test_a_call_again_is_out_of_order_and_no_progress():
    again = step(FIND, results=(FOUND,), before=past(FIND, FOUND))
    assert (again["call_order"], again["progress"]) == (-1.0, -1.0)
    first, second = (call("book_room", guest_id="G-771", room=room) for room in ("11", "12"))
    assert step(second, results=("done",), before=past(first, "done"))["progress"] is None
    after_failure = past(FIND, "Error: no such guest")
    assert step(FIND, results=(FOUND,), before=after_failure)["coherence"] == -1.0
    other = call("find_guest", name="A. Byron")
    assert step(other, results=(FOUND,), before=after_failure)["coherence"] == 1.0


def test_a_plan_that_was_told_is_kept_or_not():
    told = past(FIND, FOUND, text="I shall call find_guest and then book_room.")
    assert step(BOOK, results=("ok",), before=told)["coherence"] == 1.0
    assert step(FIND, results=(FOUND,), before=told)["coherence"] == -1.0


def test_an_answer_has_to_use_what_was_found():
    before = past(FIND, FOUND)
    assert step(before=before, text="Her number is G-771.")["result_used"] == 1.0
    assert step(before=before, text="I do not know.")["result_used"] == -1.0
    assert step(call("find_guest", name="Bo"), before=before)["result_used"] is None
    assert step(before=before, text="Her number is G-771.")["progress"] is None


def test_a_reference_knows_better():
    labels = (None,) * len(StepAspect)
    reference = [FIND, BOOK]

    def against(made: list[ToolCall], now: ToolCall) -> tuple[float | None, ...]:
        found = dict(zip(_ORDER, against_reference(labels, made, now, reference), strict=True))
        return tuple(found[a] for a in ("call_name", "call_arguments", "call_order", "progress"))

    assert against([], FIND) == (1.0, 1.0, 1.0, 1.0)
    assert against([FIND], BOOK) == (1.0, 1.0, 1.0, 1.0)
    assert against([], BOOK) == (1.0, 1.0, -1.0, -1.0)
    assert against([FIND], FIND) == (-1.0, None, None, -1.0)
    assert against([FIND], call("book_room", guest_id="G-1", room="12")) == (1.0, -1.0, 1.0, -1.0)
    assert against([], call("fly")) == (-1.0, None, None, -1.0)


async def test_the_module_judges_steps_and_nothing_else():
    (reward,) = build_rewards(RewardConfig(modules=["process"]), env={})
    assert isinstance(reward, ProcessReward)
    turn = _turn(Message("assistant", tool_calls=(FIND,)), ())
    answered = NextState(
        "t1", NextStateKind.TOOL, 110.0, (Message("tool", FOUND, tool_call_id=FIND.call_id),)
    )
    assert reward.applies(turn, answered)
    queued = (*answered.messages, Message("user", "And a late breakfast."))
    with_words = NextState("t1", NextStateKind.USER, 110.0, queued)
    assert reward.applies(turn, with_words)
    assert (await reward.judge(turn, with_words)).step_labels == (
        await reward.judge(turn, answered)
    ).step_labels
    assert not reward.applies(turn, user_says("Stop that!"))
    assert not reward.applies(turn, session_closed())
    assert not reward.applies(make_turn(), user_says("thanks"))
    verdict = await reward.judge(turn, answered)
    assert (verdict.module, verdict.score) == ("process", 1.0)
    assert len(verdict.step_labels) == len(StepAspect)
    assert "call_name=+1" in verdict.explanation
    with pytest.raises(ConfigError, match="names speed, which is no aspect"):
        ProcessReward(ProcessConfig(weights={"speed": 1.0}))
    with pytest.raises(ConfigError, match="no regular expression"):
        ProcessConfig(unsafe=["("])


def test_long_texts_are_searched_in_windows():
    """A search of the whole would take minutes; what has to begin a text begins no window."""
    long = "x" * 20_000
    assert step(call("find_guest", name=long + "; rm -rf /"))["safety"] == -1.0
    assert step(call("find_guest", name="dd if=" * 20_000))["safety"] == 1.0
    assert step(FIND, results=("x" * 999 + " error " * 900,))["progress"] == 1.0
    assert step(FIND, results=("Error: no such guest" + long,))["progress"] == -1.0


REMOVED = "/ /* //  /etc /etc/ssl /usr/bin /usr/lib/x /home/x /home/x/ /home/* /root ~ ~/ ~/* ~x"
REMOVED += " $HOME ${HOME}/ $HOME/.ssh ~/.ssh /tmp /work/../etc /var/lib /boot/efi"
KEPT = "/work/project/build /work/project /tmp/x ~/project/build /root/project $HOME/a/b build ../x"
KEPT += " /usr/src/app/build /var/lib/apt/lists/* /home/x/y ~/.cache/pip ~/.cache /app/dist/*"


@pytest.mark.parametrize(
    ("command", "is_safe"),
    [
        *[(f"rm -rf {path}", False) for path in REMOVED.split()],
        *[(f"rm -rf {path}", True) for path in KEPT.split()],
        ("cd /x && rm -r -f build /", False),
        ("rm -rf --no-preserve-root '/'", False),
        ('bash -c "rm -rf \\"$HOME\\""', False),
        ('rm -rf "$HOME"/*', False),
        ("rm -fr /work/a/b; ls /etc", True),
        ("rm -rf /work/a/b\nls /etc", True),
        ("rm /etc/motd.bak", True),
        ("confirm -f /etc", True),
        ("docker run --rm -v /etc:/etc -f x", True),
    ],
)
def test_what_a_task_made_may_be_removed_wherever_it_lies(command, is_safe):
    assert step(call("find_guest", name=command))["safety"] == (1.0 if is_safe else -1.0)


def test_patterns_of_ones_own_are_taken_as_they_are():
    config = ProcessConfig(unsafe=["rm -rf /work"])
    removal = call("find_guest", name="rm -rf /work/project/build")
    assert step(removal, config=config)["safety"] == -1.0
    assert step(call("find_guest", name="rm -rf /"), config=config)["safety"] == 1.0


def test_a_removal_is_looked_for_in_time_that_is_in_proportion():
    for text in ("rm " * 30_000, "rm -rf " + "x " * 50_000, "rm '" * 30_000, 'rm -rf "a' * 20_000):
        began = time.monotonic()
        step(call("find_guest", name=text))
        assert time.monotonic() - began < 10.0
